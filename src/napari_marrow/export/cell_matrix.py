"""AnnData: a row per cell and frame with its measures, for scanpy and its kin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_marrow.errors import MissingExtraError
from napari_marrow.export.new_places import new_file
from napari_marrow.schemas import CELLS

if TYPE_CHECKING:
    from napari_marrow.study import Study

_PLACE = ["position", "session", "t", "label"]
_NO_MEASURE = {*_PLACE, "time_h", "z", "y", "x", "z_reg", "y_reg", "x_reg", "touches_border"}


def write_anndata(study: Study, out: Path) -> tuple[int, int]:
    """Write the cells of the active results as ``.h5ad``.

    ``X`` holds the measures (float64), ``var`` their units; ``obs`` place, time, layout, lineage and track of each
    cell; ``obsm["spatial"]`` the registered centre (x, y, and z in volumes) in µm; ``uns["napari_marrow"]`` study, keys
    and versions.

    Parameters
    ----------
    study : Study
    out : Path
        New file.

    Returns
    -------
    (int, int)
        Cells and measures.

    Raises
    ------
    MissingExtraError
        If anndata is not installed.
    StudyError
        If no cells were measured yet.
    PathExistsError, StorageError
        If something is there, or the disk does not take the file.
    """
    try:
        import anndata
    except ImportError as error:
        raise MissingExtraError(
            "AnnData needs anndata: install it with `pip install 'napari-marrow[anndata]'`."
        ) from error
    cells = study.table("cells").reset_index(drop=True)
    measures = [c for c in cells.columns if c not in _NO_MEASURE and cells[c].dtype.kind in "iuf"]
    obs = _about(study, cells)
    units = {column.name: column.unit for column in CELLS.columns}
    var = pd.DataFrame({"unit": [units.get(name, "") for name in measures]}, index=pd.Index(measures, dtype=object))
    axes = ["x_reg", "y_reg"] + (["z_reg"] if cells["z_reg"].any() else [])
    data = anndata.AnnData(
        X=cells[measures].to_numpy(np.float64),
        obs=obs,
        var=var,
        obsm={"spatial": cells[axes].to_numpy(np.float64)},
        uns={"napari_marrow": _provenance(study)},
    )
    with new_file(out) as scratch:
        data.write_h5ad(scratch)
    return len(cells), len(measures)


def _about(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of each cell beside its measures."""
    obs = cells[[*_PLACE, "time_h", "y", "x", "touches_border"]]
    obs = obs.merge(study.layout, on="position", how="left")
    for table, columns in (("cell_lineages", ["lineage"]), ("track_nodes", ["track_id"])):
        if study.has_table(table):
            more = study.table(table)
            kept = [c for c in columns if c in more.columns]
            obs = obs.merge(more[[*_PLACE, *kept]], on=_PLACE, how="left", validate="one_to_one")
    if "track_id" in obs.columns:
        obs["track_id"] = obs["track_id"].fillna(0).astype(np.int64)
    for column in obs.columns:
        if obs[column].dtype == object:
            obs[column] = pd.Categorical(obs[column].fillna("").astype(str))
    where = obs[_PLACE].astype(str)
    obs.index = pd.Index(
        where["position"] + "-" + where["session"] + "-" + where["t"] + "-" + where["label"], dtype=object
    )
    return obs


def _provenance(study: Study) -> dict[str, Any]:
    runs = study.runs()
    return {
        "study": study.name,
        "study_id": study.id,
        "active": dict(study.active),
        "versions": json.dumps(runs[-1]["info"].get("versions", {}) if runs else {}),
        "recipe": json.dumps(runs[-1]["info"].get("recipe", {}) if runs else {}),
    }
