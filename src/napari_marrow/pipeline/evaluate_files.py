"""Score labels and tracks in plain files against truth."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_marrow.errors import InputFileError, MissingExtraError, PathMissingError
from napari_marrow.pipeline.ctc_folders import CtcFolder, read_ctc_folder
from napari_marrow.pipeline.graph_files import is_graph, read_tracks
from napari_marrow.pipeline.image_files import describe
from napari_marrow.pipeline.label_files import open_labels
from napari_marrow.pipeline.track_tables import read_track_table
from napari_marrow.tracking.points import nearest_neighbour, read_points
from napari_marrow.tracking.scores import links_of, match_rows, score_tracks
from napari_marrow.tracking.settings import TrackingSettings

Scores = dict[str, float | int | str]


def evaluate_labels(truth: Path | Sequence[Path], result: Path | Sequence[Path]) -> Scores:
    """Score label images: average precision at an IoU of .5, .75 and .9, and SEG.

    Parameters
    ----------
    truth, result : Path or sequence of Path
        A TIFF file or stack, or a folder. Of two folders, files of the same name belong together; without common names,
        files belong together in natural order.

    Returns
    -------
    dict
        ``AP@0.50, AP@0.75, AP@0.90`` (TP / (TP + FP + FN), objects of all images together), ``mean_AP@...`` (mean over
        images), ``SEG``, ``images``, ``objects_true``, ``objects_predicted``.

    Raises
    ------
    PathMissingError, InputFileError
        If files are missing, no labels, or do not fit each other.
    """
    from napari_marrow.segmentation.scoring import pool_scores, score_labels

    for path in (p for given in (truth, result) for p in ([given] if isinstance(given, str | Path) else given)):
        if not Path(path).exists():
            raise PathMissingError(f"There is nothing at '{path}': give a label image or a folder of them.")
    scores = []
    for true, found, name in _label_pairs(truth, result):
        if true.shape != found.shape:
            raise InputFileError(
                f"{name}: truth has shape {true.shape}, the result {found.shape}: they must be of one image."
            )
        scores.append(score_labels(true, found))
    total = pool_scores(scores)
    out: Scores = {f"AP@{t:.2f}": total.average_precision[t] for t in total.thresholds}
    for threshold in total.thresholds:
        each = [s.average_precision[threshold] for s in scores]
        known = [value for value in each if not np.isnan(value)]
        out[f"mean_AP@{threshold:.2f}"] = float(np.mean(known)) if known else float("nan")
    return out | {
        "SEG": total.seg,
        "images": len(scores),
        "objects_true": total.n_true,
        "objects_predicted": total.n_predicted,
    }


def _label_pairs(truth: Path | Sequence[Path], result: Path | Sequence[Path]) -> Any:
    if (
        isinstance(truth, str | Path)
        and isinstance(result, str | Path)
        and Path(truth).is_dir()
        and Path(result).is_dir()
    ):
        truth_files = {p.name: p for p in Path(truth).iterdir() if p.suffix.lower() in (".tif", ".tiff")}
        common = [n for n in truth_files if (Path(result) / n).is_file()]
        if common:
            missing = sorted(set(truth_files) - set(common))
            if missing:
                raise PathMissingError(
                    f"The result folder {result} lacks {missing[0]} ({len(missing)} of the truth's files)."
                )
            for name in sorted(common):
                yield from _frame_pairs(truth_files[name], Path(result) / name)
            return
    yield from _frame_pairs(truth, result)


def _frame_pairs(truth: Path | Sequence[Path], result: Path | Sequence[Path]) -> Any:
    true, found = open_labels(truth), open_labels(result)
    if len(true) != len(found):
        raise InputFileError(f"Truth has {len(true)} image(s), the result {len(found)}: they must be as many.")
    for number, (a, b) in enumerate(zip(true, found, strict=True)):
        yield a, b, f"Image {number} ({true.files[min(number, len(true.files) - 1)].path.name})"


def evaluate_tracks(truth: Path, result: Path) -> Scores:
    """Score tracks: two folders in Cell Tracking Challenge format, or two files of points with tracks.

    Parameters
    ----------
    truth : Path
        A ground-truth folder (with ``TRA/man_track.txt``, or itself holding it; ``SEG`` beside it if known), or a CSV
        with ``t, y, x, track_id`` (or ``track``), optionally ``parent_track_id``; a TrackMate file (``.xml``) or a GEFF
        folder (``.geff``), whose edges make the tracks.
    result : Path
        A folder with ``maskNNN.tif`` and ``res_track.txt``, or a file of points as `track_points_file` writes; the two
        files need not be of one format.

    Returns
    -------
    dict
        For folders ``DET, TRA, LNK`` (Matula 2015, Ulicna 2021), ``SEG`` where segmentation truth is there,
        ``division_F1`` (within one frame). For files of points link ``precision, recall, F1`` and ``division_F1``;
        where truth holds only some of the detections, the recall of the links between them.

    Raises
    ------
    MissingExtraError
        If py-ctcmetrics is not installed (folders only).
    PathMissingError, InputFileError, TableError
        If files are missing or not what they should be.
    """
    truth, result = Path(truth), Path(result)
    for path in (truth, result):
        if not path.exists():
            raise PathMissingError(f"There is nothing at {path}.")
    folders = [path.is_dir() and not is_graph(path) for path in (truth, result)]
    if folders[0] != folders[1]:
        raise InputFileError(
            f"{truth} and {result} are not of one kind: give two folders of masks, or two files of points with tracks "
            "(CSV, TrackMate XML, GEFF)."
        )
    return _score_folders(truth, result) if folders[0] else _score_tables(truth, result)


def _score_folders(truth: Path, result: Path) -> Scores:
    """CTC measures by py-ctcmetrics; single-threaded, so that nothing is forked."""
    try:
        from ctc_metrics.metrics import seg as seg_measure
        from ctc_metrics.scripts.evaluate import calculate_metrics, match_computed_to_reference_masks
        from ctc_metrics.utils.filesystem import parse_masks
    except ImportError as error:
        raise MissingExtraError(
            "Scores of tracks need py-ctcmetrics: pip install 'napari-marrow[evaluate]'."
        ) from error
    tra = truth / "TRA" if (truth / "TRA").is_dir() else truth
    true, found = read_ctc_folder(tra, "man_track.txt"), read_ctc_folder(result, "res_track.txt")
    if len(true.masks) != len(found.masks):
        raise InputFileError(
            f"{result} holds {len(found.masks)} masks, the truth {len(true.masks)}: they must be as many."
        )
    _same_shape(true.masks[0], found.masks[0])
    if not len(true.tracks) or not len(found.tracks):
        return _scores_of_nothing(true, found)
    true_masks, masks = [str(p) for p in true.masks], [str(p) for p in found.masks]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        matched = match_computed_to_reference_masks(true_masks, masks, threads=1)
        valid = _valid(masks, found.tracks, matched["labels_comp"])
        if len(masks) == 1:  # a frame without cells after it: the library cannot count links where there is one frame
            matched = {name: [*frames, []] for name, frames in matched.items()}
        if not valid:
            reason = f" ({caught[-1].message})" if caught else ""
            raise InputFileError(f"{result} is no valid result in Cell Tracking Challenge format{reason}.")
        measured = calculate_metrics(found.tracks, true.tracks, matched, {}, _wanted(true, found), valid)
        seg = truth / "SEG" if (truth / "SEG").is_dir() else tra.parent / "SEG"
        if seg.is_dir():
            pairs = [(m, masks[int("".join(c for c in Path(m).stem if c.isdigit()))]) for m in parse_masks(str(seg))]
            compared = match_computed_to_reference_masks([a for a, _ in pairs], [b for _, b in pairs], threads=1)
            measured["SEG"] = seg_measure(compared["labels_ref"], compared["ious"])
    out: Scores = {
        name: float(measured[name]) for name in ("SEG", "DET", "TRA", "LNK") if measured.get(name) is not None
    }
    right, wrong, missed = (int(measured[f"{kind}_div(1)"]) for kind in ("tp", "fp", "fn"))
    total = 2 * right + wrong + missed
    out["division_F1"] = 2 * right / total if total else float("nan")
    return out | {"divisions_true": right + missed, "divisions_predicted": right + wrong}


def _same_shape(true: Path, found: Path) -> None:
    shapes = [describe(path, axes=None).frame_shape for path in (true, found)]
    if shapes[0] != shapes[1]:
        raise InputFileError(f"{true} has shape {shapes[0]}, {found} {shapes[1]}: they must be of one image.")


def _wanted(true: CtcFolder, found: CtcFolder) -> list[str]:
    """Name the measures that are defined: LNK divides by the links of the truth."""
    wanted = ["Valid", "DET", "TRA", "LNK", "BC"]
    return wanted if true.n_links else [name for name in wanted if name != "LNK"]


def _scores_of_nothing(true: CtcFolder, found: CtcFolder) -> Scores:
    """Scores where truth or result hold no cell: nothing is found of something, or there is nothing to be found."""
    nan = float("nan")
    none = 0.0 if len(true.tracks) else nan
    divided = true.n_divisions + found.n_divisions
    return {
        "DET": none,
        "TRA": none,
        "LNK": 0.0 if true.n_links else nan,
        "division_F1": 0.0 if divided else nan,
        "divisions_true": true.n_divisions,
        "divisions_predicted": found.n_divisions,
    }


def _valid(masks: list[str], tracks: Any, labels: list[Any]) -> bool:
    from ctc_metrics.metrics import valid

    return bool(valid(masks, tracks, labels))


def _score_tables(truth: Path, result: Path) -> Scores:
    a, b = _tracks_table(truth), _tracks_table(result)
    axes = ["z", "y", "x"] if {"z"} <= set(a.columns) & set(b.columns) else ["y", "x"]
    keys = ["t", *axes]
    if len(a) == len(b):
        a_order, b_order = (np.lexsort([t[k].to_numpy() for k in keys[::-1]]) for t in (a, b))
        in_a, in_b = a.iloc[a_order].reset_index(drop=True), b.iloc[b_order].reset_index(drop=True)
        if np.allclose(a[keys], b[keys]):  # the rows as they stand: twins at one place keep their identity
            in_a, in_b = a, b
        if np.allclose(in_a[keys], in_b[keys]):
            score = score_tracks(in_a, in_b)
            return {
                "link_precision": score.precision,
                "link_recall": score.recall,
                "link_F1": score.f1,
                "division_F1": score.division_f1,
                "links_true": score.n_true,
                "links_predicted": score.n_predicted,
                "divisions_true": score.divisions_true,
            }
    return _partial_recall(a, b, axes)


def _partial_recall(truth: Any, found: Any, axes: list[str]) -> Scores:
    """Recall of known links: truth holds some of the detections only, or was marked by hand near them."""
    near = nearest_neighbour(read_points(found[["t", *axes]], TrackingSettings()))
    finite = near[np.isfinite(near) & (near > 0)]
    limit = float(np.median(finite)) if len(finite) else np.inf
    t, x = truth["t"].to_numpy(np.int64), truth[axes].to_numpy(np.float64)
    found_t, found_x = found["t"].to_numpy(np.int64), found[axes].to_numpy(np.float64)
    if not np.isfinite(limit):
        limit = float(np.ptp(found_x)) + 1.0 if len(found_x) else 1.0
    row = match_rows((t, x), (found_t, found_x), limit)
    links = np.concatenate(links_of(t, *(truth[c].to_numpy(np.int64) for c in ("track_id", "parent_track_id"))))
    predicted = links_of(found_t, *(found[c].to_numpy(np.int64) for c in ("track_id", "parent_track_id")))
    n = len(found_t) + 1
    keys = np.concatenate(predicted)[:, 0] * n + np.concatenate(predicted)[:, 1]
    both = (row[links] >= 0).all(1)
    right = int((both & np.isin(row[links[:, 0]] * n + row[links[:, 1]], keys)).sum())
    return {
        "link_recall": right / len(links) if len(links) else float("nan"),
        "detection_recall": float((row >= 0).mean()) if len(row) else float("nan"),
        "links_true": len(links),
        "links_found": right,
        "match_distance": limit,
    }


def _tracks_table(path: Path) -> Any:
    return read_tracks(path) if is_graph(path) else read_track_table(path)
