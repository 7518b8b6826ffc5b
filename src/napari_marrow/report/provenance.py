"""What went into the results: files with their checksums, networks, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from napari_marrow.report.gather import StudyTables
from napari_marrow.report.overviews import method_versions

if TYPE_CHECKING:
    from napari_marrow.study import Study

_NO_PACKAGES = ("python", "system")


def sources(study: Study, data: StudyTables) -> pd.DataFrame:
    """Return the file behind each session of each position, and its SHA-256.

    Returns
    -------
    DataFrame
        Columns position, session, file, sha256; the checksum is '' where the import did not record one.
    """
    rows = []
    for (position, _), part in data["frames"].groupby(["position", "session"], sort=True):
        unit = {"position": str(position), "session": int(part["session"].iloc[0])}
        extra = study.commit_record("frames", "raw", unit).get("extra", {})
        named = [str(name) for name in part["source_file"].dropna().unique() if str(name)]
        file = named[0] + (f" and {len(named) - 1} more" if len(named) > 1 else "") if named else ""
        rows.append({**unit, "file": file, "sha256": str(extra.get("source_sha256", ""))})
    return pd.DataFrame(rows, columns=["position", "session", "file", "sha256"])


def networks(data: StudyTables) -> list[str]:
    """Return a sentence for every network that the active results were made with."""
    found = {}
    for run in data.runs:
        config = run.get("config")
        step = str(run.get("step", ""))
        if isinstance(config, dict) and config.get("weights") and data.active.get(step) == run.get("key"):
            found[step] = f"{config.get('model', 'network')} (step {step}), SHA-256 {config['weights']}"
    return list(found.values())


def requirements(data: StudyTables) -> str:
    """Return the recorded versions as a file for ``pip install -r``."""
    versions = method_versions(data)
    python = versions.get("python", "")
    lines = [
        f"# Python {python}" if python else "",
        *(f"{n}=={v}" for n, v in versions.items() if n not in _NO_PACKAGES),
    ]
    return "\n".join(line for line in lines if line) + "\n"
