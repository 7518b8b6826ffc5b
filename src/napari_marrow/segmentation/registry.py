"""Which models there are, where they come from and where they run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from napari_marrow.errors import ModelError

DEFAULT_MODEL = "marrow-nuclei"


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model.

    Attributes
    ----------
    name : str
    kind : str
        "cpnet" (residual U-net of Cellpose 1-3) or "cellpose4" (transformer).
    source : str
        Where the weights come from.
    sha256 : str
        Of the weights file, "" where the file is not here.
    licence : str
        Of the weights or their training data.
    diameter_px : float
        Diameter that cells have in the network's input.
    runs_on : str
    limits : str
        What it is not for.
    held_out : dict
        Scores on images that were not trained on.
    smooth_reduction : bool
        Whether images are smoothed before they are made smaller (the model was trained so). Cellpose does not.
    path : Path or None
        The weights file; None where the user has to bring it.
    """

    name: str
    kind: str
    source: str
    sha256: str
    licence: str
    diameter_px: float
    runs_on: str
    limits: str = ""
    held_out: dict[str, Any] | None = None
    smooth_reduction: bool = False
    path: Path | None = None


_ANY = "CPU (OpenVINO), GPU (torch)"
_CELLPOSE = "Cellpose (Howard Hughes Medical Institute)"
_BRING = (
    ModelCard("cyto3", "cpnet", _CELLPOSE, "", "as Cellpose states", 30.0, _ANY, "bring the weights file"),
    ModelCard("nuclei", "cpnet", _CELLPOSE, "", "as Cellpose states", 17.0, _ANY, "bring the weights file"),
    ModelCard("cpsam_v2", "cellpose4", _CELLPOSE, "", "as Cellpose states", 30.0, "GPU (torch), slow on CPU", ""),
    ModelCard("cpdino", "cellpose4", _CELLPOSE, "", "as Cellpose states", 30.0, "GPU (torch), slow on CPU", ""),
)


def models() -> list[ModelCard]:
    """Return the cards of all known models, the bundled one first."""
    return [_bundled(DEFAULT_MODEL), *_BRING]


def find_model(name: str | Path) -> ModelCard:
    """Return the card of a model by its name or by the path of its weights file (with its card, if one lies beside it).

    Raises
    ------
    ModelError
        If the name is unknown, or known but its weights are not here.
    """
    path = Path(name)
    if path.is_file():
        if path.suffix == ".safetensors" and path.with_suffix(".json").is_file():
            return _read_card(path.with_suffix(".json"), path)
        source = f"file {path.name}"
        return ModelCard(path.stem, "cpnet", source, "", "as its author says", 0.0, _ANY, path=path)
    known = {card.name: card for card in models()}
    card = known.get(str(name))
    if card is None:
        raise ModelError(
            f"There is no model '{name}': give one of {', '.join(known)}, or the path of a Cellpose 1-3 weights file."
        )
    if card.path is None and card.kind == "cpnet":
        raise ModelError(f"The weights of '{name}' are not in this package: give the path of the weights file instead.")
    return card


def _bundled(name: str) -> ModelCard:
    folder = Path(str(resources.files("napari_marrow.segmentation") / "weights"))
    return _read_card(folder / f"{name}.json", folder / f"{name}.safetensors")


def _read_card(card: Path, weights: Path) -> ModelCard:
    """Read the card that training wrote beside the weights.

    Raises
    ------
    ModelError
        If it is none.
    """
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
        fields = {key: content[key] for key in ModelCard.__dataclass_fields__ if key in content and key != "path"}
        return ModelCard(**fields, path=weights)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{card} is no model card: {error}.") from error
