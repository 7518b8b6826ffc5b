"""Graph Exchange File Format (GEFF 1.3): tracks as a graph in a zarr group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from napari_marrow.errors import InputFileError
from napari_marrow.export.ctc import new_folder

_VERSION = "1.3"


def write_geff(folder: Path, nodes: pd.DataFrame, edges: pd.DataFrame, *, extra: dict[str, Any] | None = None) -> None:
    """Write a graph into a new folder, all or nothing.

    Parameters
    ----------
    folder : Path
        Must not exist, or be an empty folder.
    nodes : DataFrame
        A row per detection; node ids are the row numbers. ``t`` becomes the time axis, ``z, y, x`` the space axes;
        every column of numbers becomes a property.
    edges : DataFrame
        ``parent_row, child_row``; every other column of numbers becomes a property.
    extra : dict, optional
        Goes into the metadata as it is (JSON).

    Raises
    ------
    PathExistsError, StorageError
        If something is there, or the disk does not take the files.
    """
    nodes, edges = nodes.reset_index(drop=True), edges.reset_index(drop=True)
    axes: list[dict[str, Any]] = [{"name": "t", "type": "time", **_limits(nodes["t"])}]
    axes += [{"name": a, "type": "space", **_limits(nodes[a])} for a in ("z", "y", "x") if a in nodes.columns]
    node_props, edge_props = _numeric(nodes), _numeric(edges.drop(columns=["parent_row", "child_row"]))
    with new_folder(folder) as scratch:
        root = zarr.create_group(scratch, zarr_format=3)
        root.create_array("nodes/ids", data=np.arange(len(nodes), dtype=np.uint64))
        root.create_array("edges/ids", data=edges[["parent_row", "child_row"]].to_numpy(np.uint64))
        for part, props in (("nodes", node_props), ("edges", edge_props)):
            root.require_group(f"{part}/props")
            for name, values in props.items():
                root.create_array(f"{part}/props/{name}/values", data=values)
        metadata: Any = {
            "geff_version": _VERSION,
            "directed": True,
            "axes": axes,
            "node_props_metadata": _described(node_props),
            "edge_props_metadata": _described(edge_props),
            "extra": extra or {},
        }
        root.attrs["geff"] = metadata


def read_geff(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a graph.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    nodes : DataFrame
        ``node_id`` and a column per property of one number.
    edges : DataFrame
        ``source, target`` (node ids) and the properties of edges.

    Raises
    ------
    InputFileError
        If it is no GEFF.
    """
    try:
        root = zarr.open_group(folder, mode="r")
        metadata = root.attrs["geff"]
        if not isinstance(metadata, dict):
            raise KeyError("geff")
        nodes: dict[str, Any] = {"node_id": np.asarray(root["nodes/ids"])}
        pairs = np.asarray(root["edges/ids"]).reshape(-1, 2)
        edges: dict[str, Any] = {"source": pairs[:, 0], "target": pairs[:, 1]}
        for part, table, count in (("nodes", nodes, len(nodes["node_id"])), ("edges", edges, len(pairs))):
            known = metadata.get(f"{part[:-1]}_props_metadata", {})
            for name in known if isinstance(known, dict) else ():
                values = np.asarray(root[f"{part}/props/{name}/values"])
                if values.shape == (count,) and values.dtype.kind in "iufb":
                    table[name] = values
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise InputFileError(
            f"{folder} is no GEFF folder ({error}): give a zarr group with 'geff' metadata."
        ) from error
    return pd.DataFrame(nodes), pd.DataFrame(edges)


def _limits(column: pd.Series[Any]) -> dict[str, float]:
    return {"min": float(column.min()), "max": float(column.max())} if len(column) else {}


def _numeric(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): table[name].to_numpy() for name in table.columns if table[name].dtype.kind in "iufb"}


def _described(props: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    return {name: {"identifier": name, "dtype": str(v.dtype), "varlength": False} for name, v in props.items()}
