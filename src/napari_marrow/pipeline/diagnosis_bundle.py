"""A ZIP file to attach to a bug report, without names of people, machines and folders."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari_marrow.errors import PathExistsError, write_refused
from napari_marrow.pipeline.diagnosis import Finding, as_json
from napari_marrow.study.process import NOBODY, user_name

_PATH = re.compile(r"""(?<![\w:/.])(?:[A-Za-z]:)?[\\/](?:[^\s\\/'",;:)(]+[\\/])+([^\s\\/'",;:)(]*)""")
_MOST_RUNS = 40


def write_bundle(path: Path | str, findings: Iterable[Finding], *, study: Path | str | None = None) -> Path:
    """Write findings, versions of all packages and, where asked for, how a study was computed.

    Of a study the ZIP holds ``study.json`` and the records of its last runs: recipe, versions, counts, times; no pixel,
    no table and no layout. In every text the home folder, the user's and the machine's name are replaced, and of other
    absolute paths only the last part is kept.

    Parameters
    ----------
    path : path
        A new file; nothing is overwritten.
    findings : iterable of Finding
    study : path, optional

    Returns
    -------
    Path

    Raises
    ------
    PathExistsError
        If there is something at `path`.
    StudyError
        If `study` is none.
    StorageError
        If the disk does not take it; nothing is left behind.
    """
    path = Path(path)
    if path.exists():
        raise PathExistsError(f"'{path}' exists: choose another name, or remove it first.")
    findings = list(findings)
    texts = {
        "doctor.txt": as_text(findings),
        "doctor.json": as_json(findings),
        "packages.txt": _installed(),
        "environment.txt": _environment(),
    }
    if study is not None:
        texts |= _of_study(Path(study))
    partial = path.with_name(f".{path.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(name, without_private(text))
        partial.rename(path)
    except OSError as error:
        raise write_refused(path, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def as_text(findings: Iterable[Finding]) -> str:
    """Return findings as lines: state, topic, name, value, remedy."""
    lines = [
        f"{f.state:<8}{f.topic:<12}{f.name}: {f.value}" + (f"\n{'':20}-> {f.remedy}" if f.remedy else "")
        for f in findings
    ]
    return "\n".join(lines) + "\n"


def without_private(text: str) -> str:
    """Return text with the home folder as ``~``, user and machine by those words, and other paths by their last part.

    Names of one or two letters stay: they would be found inside other words.
    """
    home = str(Path.home())
    if len(home) > 3:
        for written in (home, home.replace("\\", "\\\\"), home.replace("\\", "/")):
            text = text.replace(written, "~")
    text = _PATH.sub(lambda match: f".../{match[1]}" if match[1] else "...", text)
    for name, word in ((user_name(), "USER"), (platform.node(), "MACHINE")):
        if len(name) > 2 and name != NOBODY:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", word, text)
    return text


def _installed() -> str:
    names = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return "\n".join(sorted(names, key=str.lower)) + "\n"


def _environment() -> str:
    """Return only the variables that change what this package does."""
    ours = re.compile(
        r"(NAPARI_)?MARROW_|NUMBA_NUM|NUMBA_DIS|OMP_NUM|CUDA_VISIBLE|QT_QPA|QT_API|DISPLAY$|WAYLAND_D|SLURM_"
    )
    return "".join(f"{name}={value}\n" for name, value in sorted(os.environ.items()) if ours.match(name))


def _of_study(path: Path) -> dict[str, str]:
    from napari_marrow.study import Study

    study = Study.open(path)
    runs: list[dict[str, Any]] = study.runs()[-_MOST_RUNS:]
    facts = {
        "positions": len(study.layout),
        "sessions": len({int(s) for s in study.table("frames")["session"]}) if study.has_table("frames") else 0,
        "frames": len(study.table("frames")) if study.has_table("frames") else 0,
        "active": dict(study.active),
    }
    return {
        "study/study.json": json.dumps(facts, indent=1, default=str) + "\n",
        "study/runs.json": json.dumps([_without_inputs(run) for run in runs], indent=1, default=str) + "\n",
    }


def _without_inputs(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run's record without the names of image files and organoids."""
    return {key: value for key, value in run.items() if key not in ("inputs", "files", "layout", "source", "host")}
