"""RO-Crate: what a study holds and how it was made, as linked data that repositories read.

Reference: RO-Crate Metadata Specification 1.1, https://w3id.org/ro/crate/1.1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow import __version__, schemas
from napari_marrow.export.new_places import new_file

if TYPE_CHECKING:
    from napari_marrow.study import Study

NAME = "ro-crate-metadata.json"
_SOFTWARE = "#napari-marrow"


def ro_crate(study: Study, *, license_url: str | None = None, authors: list[str] | None = None) -> dict[str, Any]:
    """Return the crate's metadata: the study as a dataset, its parts, and an action for each step that was run.

    Parameters
    ----------
    study : Study
    license_url : str, optional
        Of the data.
    authors : list of str, optional
        Names, or ORCID URLs.

    Returns
    -------
    dict
        JSON-LD.
    """
    parts = _parts(study)
    people = [_person(author) for author in authors or []]
    created = str(study.created)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": study.name,
        "identifier": f"urn:uuid:{study.id}",
        "description": _description(study),
        "datePublished": created[:10],
        "dateCreated": created,
        "hasPart": [{"@id": part["@id"]} for part in parts],
        **({"license": {"@id": license_url}} if license_url else {}),
        **({"author": [{"@id": person["@id"]} for person in people]} if people else {}),
    }
    descriptor = {
        "@id": NAME,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    software = {"@id": _SOFTWARE, "@type": "SoftwareApplication", "name": "napari-marrow", "version": __version__}
    terms = [{"@id": license_url, "@type": "CreativeWork", "name": license_url}] if license_url else []
    measured = [part["@id"].split("/")[1] for part in parts if "variableMeasured" in part]
    columns = [column for table in measured for column in _columns(table)]
    actions = _actions(study, {part["@id"] for part in parts})
    graph = [descriptor, root, *people, *terms, software, *parts, *columns, *actions]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}


def write_ro_crate(
    study: Study, out: Path | None = None, *, license_url: str | None = None, authors: list[str] | None = None
) -> Path:
    """Write the crate's metadata, by default into the study's folder, which thereby becomes a crate.

    Raises
    ------
    PathExistsError, StorageError
        If something is there, or the disk does not take the file.
    """
    out = study.path / NAME if out is None else out
    text = json.dumps(ro_crate(study, license_url=license_url, authors=authors), indent=2, ensure_ascii=False)
    with new_file(out, replace=out == study.path / NAME) as scratch:
        scratch.write_text(text + "\n", encoding="utf-8")
    return out


def _person(author: str) -> dict[str, Any]:
    if author.startswith("https://orcid.org/"):
        return {"@id": author, "@type": "Person"}
    return {"@id": f"#{author.replace(' ', '-')}", "@type": "Person", "name": author}


def _description(study: Study) -> str:
    layout = study.layout
    conditions = ", ".join(sorted(set(layout["condition"].astype(str)))) or "no condition"
    sessions = sum(len(study.sessions(position)) for position in study.positions)
    return (
        f"Images of {layout['organoid'].nunique()} organoids in {len(study.positions)} positions and {sessions} "
        f"sessions ({conditions}), with the results of napari-marrow."
    )


def _parts(study: Study) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {
            "@id": "study.json",
            "@type": "File",
            "name": "What the study is",
            "encodingFormat": "application/json",
        },
        {
            "@id": "images.ome.zarr/",
            "@type": "Dataset",
            "name": "Images and label images",
            "conformsTo": {"@id": "https://ngff.openmicroscopy.org/0.5/"},
        },
    ]
    for table, key in {"frames": "raw", **study.active_tables}.items():
        if not study.has_table(table):
            continue
        schema = schemas.ALL.get(table)
        columns = _columns(table) if schema is not None else []
        parts.append(
            {
                "@id": f"tables/{table}/{key}/",
                "@type": "Dataset",
                "name": f"Table {table}",
                "encodingFormat": "application/vnd.apache.parquet",
                **({"variableMeasured": [{"@id": column["@id"]} for column in columns]} if columns else {}),
            }
        )
    if (study.path / "report" / "report.html").is_file():
        parts.append({"@id": "report/report.html", "@type": "File", "name": "Report", "encodingFormat": "text/html"})
    return parts


def _columns(table: str) -> list[dict[str, Any]]:
    """Return the columns of a table as entities of their own: the format knows no nested ones."""
    return [
        {
            "@id": f"#{table}.{column.name}",
            "@type": "PropertyValue",
            "name": column.name,
            "unitText": column.unit,
            "description": column.meaning,
        }
        for column in schemas.ALL[table].columns
    ]


def _actions(study: Study, parts: set[str]) -> list[dict[str, Any]]:
    """Return an action for the last run of each active step."""
    last = {(run["step"], run["key"]): run for run in study.runs()}
    actions = []
    for step, key in study.active.items():
        run = last.get((step, key))
        if run is None:
            continue
        results = [part for part in sorted(parts) if part.endswith(f"/{key}/")]
        info = run["info"]
        settings = json.dumps(info.get("config", {}), sort_keys=True, ensure_ascii=False)
        actions.append(
            {
                "@id": f"#{step}-{key}",
                "@type": "CreateAction",
                "name": f"Step {step}",
                "description": f"Settings: {settings}",
                "endTime": run["utc"],
                "instrument": {"@id": _SOFTWARE},
                "object": [{"@id": "images.ome.zarr/"}],
                "result": [{"@id": part} for part in results],
                "actionStatus": "http://schema.org/CompletedActionStatus",
                "softwareRequirements": [f"{name} {version}" for name, version in info.get("versions", {}).items()],
            }
        )
    return actions
