"""What the two networks that this project trains are made of, and the card that each gets."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class BundledModel:
    """A network that the project trains itself.

    Attributes
    ----------
    name : str
    diameter_px : float
        Diameter that cells have in the network's input.
    channel : str
        Channel of the simulated frames beside the real images.
    p_invert : float
        Share of crops shown with dark and bright exchanged.
    source, licence, limits : str
        For its card.
    """

    name: str
    diameter_px: float
    channel: str
    p_invert: float
    source: str
    licence: str
    limits: str


BUNDLED_MODELS: dict[str, BundledModel] = {
    model.name: model
    for model in (
        BundledModel(
            "marrow-nuclei",
            17.0,
            "nuclei",
            0.03,
            "python -m napari_marrow.pipeline.training on Data Science Bowl 2018 stage 1 fluorescence (BBBC038) and "
            "simulated marrow",
            "BSD-3-Clause (weights), CC0 (training data)",
            "Fluorescent nuclei, bright on dark, 8 to 60 px across. Trained on cultured cells and tissue sections of "
            "few microscopes and on simulated marrow, not on real marrow: check it on your own images. Not for whole "
            "cells, phase contrast, bright field or histology stains.",
        ),
        BundledModel(
            "marrow-brightfield",
            30.0,
            "brightfield",
            0.3,
            "python -m napari_marrow.pipeline.training on phase-contrast images of Usiigaci (OIST) and simulated cells",
            "BSD-3-Clause (weights), MIT (training data)",
            "Whole cells, phase contrast or bright field, 20 to 100 px across. Trained on one cell type (fibroblasts) "
            "of one microscope and on simulated round cells: check it on your own images. Not for fluorescence.",
        ),
    )
}


def write_card(model: BundledModel, weights: Path, held_out: dict[str, Any], training: dict[str, Any]) -> None:
    """Write ``<weights>.json``: what the model is, what it was trained on, what it reached, what it is not for."""
    card = {
        "name": weights.stem,
        "kind": "cpnet",
        "source": model.source,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "licence": model.licence,
        "diameter_px": model.diameter_px,
        "runs_on": "CPU (OpenVINO), GPU (torch)",
        "limits": model.limits,
        "smooth_reduction": True,
        "held_out": {key: value for key, value in held_out.items() if key != "ms_per_image"},
        "training": training,
    }
    partial = weights.with_suffix(".json.partial")
    partial.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, weights.with_suffix(".json"))
