"""A pixel classifier as bytes: safetensors with a JSON card in its head. No code is stored, and none is run."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import ModelError, SettingsError
from napari_marrow.segmentation.forest import Forest
from napari_marrow.segmentation.pixel_classifier import PixelClassifier
from napari_marrow.segmentation.pixel_features import PixelFeatures

FORMAT = "napari-marrow pixel classifier"
VERSION = 1
_MOST_CARD = 1 << 20


def pixel_classifier_to_bytes(classifier: PixelClassifier) -> bytes:
    """Return the content of a classifier's file."""
    from safetensors.numpy import save

    arrays = classifier.forest.arrays()
    card = {
        "format": FORMAT,
        "version": VERSION,
        "classes": list(classifier.classes),
        "channels": list(classifier.channels),
        "features": {
            "ndim": classifier.features.ndim,
            "n_channels": classifier.features.n_channels,
            "sigmas_um": list(classifier.features.sigmas),
            "groups": list(classifier.features.groups),
        },
        "card": classifier.card,
        "sha256": _checksum(arrays),
    }
    return save(arrays, metadata={"card": json.dumps(card, sort_keys=True, ensure_ascii=False)})


def pixel_classifier_from_bytes(content: bytes, *, name: str = "the file") -> PixelClassifier:
    """Return the classifier that a file holds.

    Parameters
    ----------
    content : bytes
    name : str
        What the file is called in a message.

    Raises
    ------
    ModelError
        If it is no pixel classifier, one of a newer version, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    card = _card(content, name)
    try:
        arrays = {key: np.asarray(value) for key, value in load(content).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{name} is a damaged pixel classifier: {error}.") from error
    try:
        described = card["features"]
        features = PixelFeatures(
            int(described["ndim"]),
            int(described["n_channels"]),
            tuple(float(s) for s in described["sigmas_um"]),
            tuple(str(g) for g in described["groups"]),
        )
        classes, channels = tuple(str(c) for c in card["classes"]), tuple(str(c) for c in card["channels"])
        own = dict(card["card"])
        stated = str(card["sha256"])
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise ModelError(f"{name} is a damaged pixel classifier: its card does not fit ({error}).") from error
    forest = Forest.from_arrays(arrays, n_features=len(features.names), n_classes=len(classes), name=name)
    if _checksum(forest.arrays()) != stated:
        raise ModelError(f"{name} is a damaged pixel classifier: its trees are not those that its card was made for.")
    return PixelClassifier(forest, features, classes, channels, own)


def _card(content: bytes, name: str) -> dict[str, Any]:
    """Return the card in the head of a safetensors file."""
    refusal = f"{name} is no pixel classifier: `marrow pixels train` writes them."
    length = int.from_bytes(content[:8], "little") if len(content) > 9 else 0
    if not 2 <= length <= min(len(content) - 8, _MOST_CARD):
        raise ModelError(refusal)
    try:
        card = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["card"])
        known, version = card["format"] == FORMAT, card["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(refusal) from error
    if not known:
        raise ModelError(refusal)
    if version != VERSION:
        raise ModelError(f"{name} is a pixel classifier of version {version}: this program reads version {VERSION}.")
    return dict(card)


def _checksum(arrays: dict[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(str(arrays[name].shape).encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
