"""Train a pixel classifier by scribbles."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation.forest import Forest
from napari_marrow.segmentation.pixel_classifier import (
    FEATURE_VALUES,
    PixelClassifier,
    _features_of,
    _parts,
    as_channels,
)
from napari_marrow.segmentation.pixel_features import GROUPS, SIGMAS, PixelFeatures

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

MOST_CLASSES = 32
FOLDS = 4


@dataclass(frozen=True)
class _Samples:
    """Scribbled pixels: features (n, F), class from 0 (n,), and the stroke that each belongs to (n,)."""

    features: Floats
    classes: Ints
    strokes: Ints


def train_pixel_classifier(
    images: Sequence[npt.ArrayLike],
    scribbles: Sequence[npt.ArrayLike],
    *,
    spacing: Sequence[float],
    classes: Sequence[str] = (),
    channels: Sequence[str] = (),
    sigmas: Sequence[float] = SIGMAS,
    groups: Sequence[str] = GROUPS,
    n_trees: int = 64,
    max_depth: int = 16,
    max_pixels: int = 50_000,
    seed: int = 0,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> PixelClassifier:
    """Train a random forest (Breiman 2001) on the pixels that were scribbled on.

    Parameters
    ----------
    images : sequence of arrays
        Each (Y, X) or (Z, Y, X), with several channels (C, Y, X) or (C, Z, Y, X).
    scribbles : sequence of int arrays
        One for each image, (Y, X) or (Z, Y, X): 0 where nothing was scribbled, 1 for the first class (background), 2
        for the next, and so on.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    classes : sequence of str
        Names of the classes; "background", "class 2", ... by default.
    channels : sequence of str
        Names of the channels.
    sigmas : sequence of float
        Scales of the features, µm.
    groups : sequence of str
        Kinds of features, see `PixelFeatures`.
    n_trees, max_depth : int
    max_pixels : int
        Scribbled pixels that are used of each class, drawn at random where there are more.
    seed : int
        Same data and seed, same forest.
    progress, cancel
        Called and asked between images, and between parts of the training.

    Returns
    -------
    PixelClassifier
        Its card holds the accuracy out of the bag, and on strokes that were left out: the share of pixels of each class
        that is classified rightly, averaged over the classes. Neighbouring pixels are alike, so the first flatters;
        the second is None where a class has fewer than two strokes.

    Raises
    ------
    SettingsError
        If images and scribbles do not fit, or fewer than two classes were scribbled.
    Cancelled
        When asked to stop.
    """
    arrays = [np.asarray(scribble) for scribble in scribbles]
    features, names = _check(images, arrays, spacing, classes, channels, sigmas, groups)
    if not 1 <= n_trees <= 1000 or not 1 <= max_depth <= 64 or max_pixels < 1:
        raise SettingsError(
            f"A forest has 1 to 1000 trees up to 64 deep and learns from some pixels, not {n_trees}, {max_depth} and "
            f"{max_pixels}."
        )
    steps = len(arrays) + 2
    samples = []
    for i, (image, scribble) in enumerate(zip(images, arrays, strict=True)):
        _ask(cancel)
        samples.append(_samples(image, scribble, features, spacing, cancel))
        progress(i + 1, steps, "Computing features")
    together = _drawn(_joined(samples), max_pixels, seed)
    _ask(cancel)
    settings = {"n_estimators": n_trees, "max_depth": max_depth, "min_samples_leaf": 2, "seed": seed}
    left_out = _accuracy_on_strokes(together, len(names), settings, cancel)
    progress(steps - 1, steps, "Training the forest")
    _ask(cancel)
    trained, out_of_bag = _grown(together, len(names), settings, score=True)
    progress(steps, steps, "Training the forest")
    card = {
        "pixels": {name: int((together.classes == k).sum()) for k, name in enumerate(names)},
        "strokes": {name: len(np.unique(together.strokes[together.classes == k])) for k, name in enumerate(names)},
        "images": len(arrays),
        "spacing_um": [float(s) for s in spacing[-features.ndim :]],
        "trees": n_trees,
        "max_depth": max_depth,
        "seed": seed,
        "accuracy_out_of_bag": out_of_bag,
        "accuracy_on_strokes_left_out": left_out,
    }
    return PixelClassifier(Forest.from_sklearn(trained), features, tuple(names), tuple(channels), card)


def _check(
    images: Sequence[npt.ArrayLike],
    scribbles: Sequence[npt.NDArray[Any]],
    spacing: Sequence[float],
    classes: Sequence[str],
    channels: Sequence[str],
    sigmas: Sequence[float],
    groups: Sequence[str],
) -> tuple[PixelFeatures, list[str]]:
    """Return which features are computed and the names of the classes."""
    if not len(images) or len(images) != len(scribbles):
        raise SettingsError(f"There are {len(images)} image(s) and {len(scribbles)} of scribbles: give one for each.")
    ndim = scribbles[0].ndim
    if ndim not in (2, 3):
        raise SettingsError(f"Scribbles of shape {scribbles[0].shape} are no plane and no volume.")
    present: set[int] = set()
    for i, scribble in enumerate(scribbles):
        shape = np.asarray(images[i]).shape
        if scribble.dtype.kind not in "iub" or (scribble.size and int(scribble.min()) < 0):
            raise SettingsError(f"Scribbles are whole numbers from 0, not {scribble.dtype}.")
        if scribble.ndim != ndim or shape[-ndim:] != scribble.shape or len(shape) not in (ndim, ndim + 1):
            raise SettingsError(f"The scribbles have shape {scribble.shape}, the image {shape}: they must fit.")
        present |= {int(v) for v in np.unique(scribble)} - {0}
    n = max(present, default=0)
    if n > MOST_CLASSES:
        raise SettingsError(f"The scribbles hold the class {n}: there may be {MOST_CLASSES}, numbered from 1.")
    if len(present) < 2:
        have = f"only class {n}" if present else "nothing"
        raise SettingsError(
            f"The scribbles show {have}: draw on two classes at least, 1 for background, 2 for the rest."
        )
    missing = sorted(set(range(1, n + 1)) - present)
    if missing:
        raise SettingsError(f"The scribbles hold class {n} but not class {missing[0]}: number classes without a gap.")
    if classes and (len(classes) != n or len(set(classes)) != n):
        raise SettingsError(
            f"There are {n} classes in the scribbles and the names {', '.join(classes)}: give one for each."
        )
    first = np.asarray(images[0])
    n_channels = 1 if first.ndim == ndim else len(first)
    if channels and len(channels) != n_channels:
        raise SettingsError(f"The image has {n_channels} channel(s) and the names are {', '.join(channels)}.")
    features = PixelFeatures(ndim, n_channels, tuple(float(s) for s in sigmas), tuple(groups))
    for image in images:
        as_channels(image, spacing, features)
    names = list(classes) or ["background", *(f"class {k}" for k in range(2, n + 1))]
    return features, names


def _samples(
    image: npt.ArrayLike,
    scribble: npt.NDArray[Any],
    features: PixelFeatures,
    spacing: Sequence[float],
    cancel: CancelToken | None,
) -> _Samples:
    """Return the scribbled pixels of an image, block by block."""
    pixels, size = as_channels(image, spacing, features)
    strokes = np.zeros(scribble.shape, dtype=np.int64)
    for number in np.unique(scribble[scribble > 0]):
        parts, _ = ndimage.label(scribble == number, structure=np.ones((3,) * scribble.ndim))
        strokes += np.where(parts > 0, parts + strokes.max(), 0)
    found, classes, of = [], [], []
    for part in _parts(scribble.shape, features, size, FEATURE_VALUES):
        here = scribble[part.inner] > 0
        if not here.any():
            continue
        _ask(cancel)
        found.append(_features_of(pixels, part, features, size)[:, here].T)
        classes.append(scribble[part.inner][here].astype(np.int64) - 1)
        of.append(strokes[part.inner][here])
    if not found:
        empty = np.zeros(0, dtype=np.int64)
        return _Samples(np.zeros((0, len(features.names)), np.float32), empty, empty)
    return _Samples(np.concatenate(found), np.concatenate(classes), np.concatenate(of))


def _joined(samples: Sequence[_Samples]) -> _Samples:
    first, strokes = 0, []
    for sample in samples:
        strokes.append(sample.strokes + first)
        first = max(first, int(strokes[-1].max(initial=first)))
    return _Samples(
        np.concatenate([s.features for s in samples]),
        np.concatenate([s.classes for s in samples]),
        np.concatenate(strokes),
    )


def _drawn(samples: _Samples, most: int, seed: int) -> _Samples:
    """Return at most so many pixels of each class."""
    rng = np.random.default_rng(seed)
    kept = []
    for k in np.unique(samples.classes):
        mine = np.flatnonzero(samples.classes == k)
        kept.append(np.sort(rng.choice(mine, most, replace=False)) if len(mine) > most else mine)
    chosen = np.sort(np.concatenate(kept))
    return _Samples(samples.features[chosen], samples.classes[chosen], samples.strokes[chosen])


def _grown(samples: _Samples, n_classes: int, settings: dict[str, Any], *, score: bool) -> tuple[Any, float | None]:
    """Return scikit-learn's forest and its balanced accuracy out of the bag."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        n_estimators=settings["n_estimators"],
        max_depth=settings["max_depth"],
        min_samples_leaf=settings["min_samples_leaf"],
        class_weight="balanced_subsample",
        oob_score=score,
        random_state=settings["seed"],
        n_jobs=1,
    )
    with warnings.catch_warnings():
        # Of few trees some pixels are in every bag; they are left out below.
        warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
        warnings.filterwarnings("ignore", message="invalid value encountered in divide")
        forest.fit(samples.features, samples.classes)
    if not score:
        return forest, None
    votes = forest.oob_decision_function_
    judged = np.isfinite(votes).all(axis=1) & (votes.sum(axis=1) > 0)
    if not judged.any():
        return forest, None
    return forest, _balanced_accuracy(samples.classes[judged], votes[judged].argmax(axis=1), n_classes)


def _accuracy_on_strokes(
    samples: _Samples, n_classes: int, settings: dict[str, Any], cancel: CancelToken | None
) -> float | None:
    """Return the balanced accuracy on strokes that were left out of the training; None with too few strokes."""
    fold = np.full(len(samples.classes), -1)
    n_folds = FOLDS
    rng = np.random.default_rng(settings["seed"])
    for k in range(n_classes):
        strokes = np.unique(samples.strokes[samples.classes == k])
        n_folds = min(n_folds, len(strokes))
    if n_folds < 2:
        return None
    for k in range(n_classes):
        strokes = rng.permutation(np.unique(samples.strokes[samples.classes == k]))
        for i, stroke in enumerate(strokes):
            fold[samples.strokes == stroke] = i % n_folds
    predicted = np.empty(len(fold), dtype=np.int64)
    for f in range(n_folds):
        _ask(cancel)
        train = fold != f
        rest = _Samples(samples.features[train], samples.classes[train], samples.strokes[train])
        forest, _ = _grown(rest, n_classes, settings, score=False)
        predicted[~train] = forest.predict(samples.features[~train])
    return _balanced_accuracy(samples.classes, predicted, n_classes)


def _balanced_accuracy(truth: Ints, predicted: Ints, n_classes: int) -> float:
    shares = [float((predicted[truth == k] == k).mean()) for k in range(n_classes) if (truth == k).any()]
    return float(np.mean(shares))


def _ask(cancel: CancelToken | None) -> None:
    if cancel is not None:
        cancel.raise_if_cancelled()
