"""Graph Exchange File Format (GEFF 1.3): tracks as a graph in a zarr group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from napari_marrow.errors import InputFileError, PathMissingError
from napari_marrow.export.ctc import new_folder

_VERSION = "1.3"
_HOURS = {"second": 1 / 3600, "minute": 1 / 60, "hour": 1.0, "day": 24.0, "millisecond": 1 / 3.6e6}


def write_geff(
    folder: Path,
    nodes: pd.DataFrame,
    edges: pd.DataFrame,
    *,
    unit: str | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
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
    unit : str, optional
        Of space, such as micrometer; none where it is not known.
    extra : dict, optional
        Goes into the metadata as it is (JSON).

    Raises
    ------
    PathExistsError, StorageError
        If something is there, or the disk does not take the files.
    """
    nodes, edges = nodes.reset_index(drop=True), edges.reset_index(drop=True)
    axes: list[dict[str, Any]] = [{"name": "t", "type": "time", **_limits(nodes["t"])}]
    of_space: dict[str, Any] = {"type": "space"} if unit is None else {"type": "space", "unit": unit}
    axes += [{"name": a, **of_space, **_limits(nodes[a])} for a in ("z", "y", "x") if a in nodes.columns]
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
            # a property that is called as the ids themselves would take their place
            for name in [n for n in known if n not in table] if isinstance(known, dict) else ():
                values = np.asarray(root[f"{part}/props/{name}/values"])
                if values.shape == (count,) and values.dtype.kind in "iufb":
                    table[name] = _with_gaps(root, f"{part}/props/{name}/missing", values)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise InputFileError(
            f"{folder} is no GEFF folder ({error}): give a zarr group with 'geff' metadata."
        ) from error
    return pd.DataFrame(nodes), pd.DataFrame(edges)


def _with_gaps(root: Any, where: str, values: np.ndarray) -> np.ndarray:
    """Return values with NaN where the graph has none."""
    if where not in root:
        return values
    missing = np.asarray(root[where]).astype(bool)
    return np.where(missing, np.nan, values) if missing.any() else values


def geff_points(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the nodes of a graph as points, and its edges as pairs of rows.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    points : DataFrame
        ``node_id, t, (z,) y, x`` and every other property of one number. The axes of type time and space are taken,
        whatever they are called; a time that is no whole number becomes ``time_h``, and `t` the number of the frame.
    edges : DataFrame
        ``source, target``: rows of `points`, the earlier one first; and the properties of edges.

    Raises
    ------
    PathMissingError
        If there is no such folder.
    InputFileError
        If it is no GEFF, its axes are not those of points in time, or an edge leads to a node that is not there.
    """
    if not folder.is_dir():
        raise PathMissingError(f"There is no folder '{folder}'.")
    nodes, edges = read_geff(folder)
    metadata: Any = zarr.open_group(folder, mode="r").attrs["geff"]
    axes = metadata.get("axes")
    points = _placed(folder, nodes, [a for a in axes if isinstance(a, dict)] if isinstance(axes, list) else [])
    row = pd.Series(np.arange(len(points)), index=points["node_id"].to_numpy())
    try:
        pairs = np.column_stack([row.loc[edges[end].to_numpy()].to_numpy() for end in ("source", "target")])
    except KeyError as error:
        raise InputFileError(f"{folder} has an edge to a node that it does not hold: {error.args[0]}.") from error
    t = points["t"].to_numpy()
    pairs = pairs[np.arange(len(pairs))[:, None], np.argsort(t[pairs], axis=1, kind="stable")]
    return points, edges.assign(source=pairs[:, 0], target=pairs[:, 1])


def _placed(folder: Path, nodes: pd.DataFrame, axes: list[dict[str, Any]]) -> pd.DataFrame:
    """Name the columns of time and space t, (z,) y, x."""
    time = [axis for axis in axes if axis.get("type") == "time" and axis.get("name") in nodes]
    space = [str(axis["name"]) for axis in axes if axis.get("type") == "space" and axis.get("name") in nodes]
    if not axes and {"t", "y", "x"} <= set(nodes.columns):
        time, space = [{"name": "t"}], [name for name in ("z", "y", "x") if name in nodes]
    if len(time) != 1 or len(space) not in (2, 3):
        raise InputFileError(
            f"{folder} has the axes {[axis.get('name') for axis in axes]}: tracking needs one of time and two or three "
            "of space."
        )
    wanted = ("z", "y", "x")[-len(space) :]
    order = wanted if {name.lower() for name in space} == set(wanted) else [name.lower() for name in space]
    names = dict(zip(sorted(space, key=lambda name: order.index(name.lower())), wanted, strict=True))
    table = nodes.rename(columns={**names, str(time[0]["name"]): "t"})
    if not np.isfinite(table[["t", *wanted]].to_numpy(np.float64)).all():
        raise InputFileError(f"{folder} has nodes without a time or a place: remove them.")
    t = table["t"].to_numpy(np.float64)
    if (t % 1 != 0).any():
        unit = _HOURS.get(str(time[0].get("unit", "")).rstrip("s"))
        if unit is None:
            raise InputFileError(
                f"{folder} has times that are no frame numbers, in the unit '{time[0].get('unit')}': give seconds, "
                "minutes, hours or days."
            )
        table = table.assign(t=np.unique(t, return_inverse=True)[1], time_h=t * unit)
    else:
        table = table.assign(t=t.astype(np.int64))
    first = ["node_id", "t", *wanted]
    return table[[*first, *(name for name in table.columns if name not in first)]]


def _limits(column: pd.Series[Any]) -> dict[str, float]:
    return {"min": float(column.min()), "max": float(column.max())} if len(column) else {}


def _numeric(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): table[name].to_numpy() for name in table.columns if table[name].dtype.kind in "iufb"}


def _described(props: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    return {name: {"identifier": name, "dtype": str(v.dtype), "varlength": False} for name, v in props.items()}
