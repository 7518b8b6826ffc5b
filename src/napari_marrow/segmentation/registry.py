"""Which models there are, where they come from and where they run.

A name is looked for among the bundled models, then among the user's own (`models_folder`), then in Cellpose's folder.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from napari_marrow.errors import ModelError, PathMissingError
from napari_marrow.segmentation.state_files import file_kind

DEFAULT_MODEL = "marrow-nuclei"
MODELS_VARIABLE = "NAPARI_MARROW_MODELS"
"""Environment variable that names another folder for the user's models."""

Origin = Literal["bundled", "installed", "cellpose", "file", "absent", "damaged"]


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
        Of the weights file, "" where the file is not here or was not read yet.
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
    second_channel : bool
        Whether it was (or may have been) trained with a second channel. A card that does not say so means one channel.
    path : Path or None
        The weights file; None where the user has to bring it.
    origin : str
        "bundled", "installed" (in the user's folder), "cellpose" (in Cellpose's folder), "file", "absent" (known, but
        its weights are not here) or "damaged" (its card cannot be read; `limits` says why).
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
    second_channel: bool = True
    path: Path | None = None
    origin: Origin = "file"


RUNS_ON = {"cpnet": "CPU (OpenVINO), GPU (torch)", "cellpose4": "GPU (torch), slow on CPU"}
_CELLPOSE = "Cellpose (Howard Hughes Medical Institute)"
_CELLPOSE_LICENCE = "BSD-3-Clause (weights), CC-BY-NC (training data)"
CELLPOSE_FILES = {"cyto": "cytotorch_0", "cyto2": "cyto2torch_0", "nuclei": "nucleitorch_0"}
"""Names of Cellpose 3's files where they are not the model's name."""


def _of_cellpose(name: str, kind: str, diameter: float, limits: str) -> ModelCard:
    return ModelCard(
        name, kind, _CELLPOSE, "", _CELLPOSE_LICENCE, diameter, RUNS_ON[kind], limits=limits, origin="absent"
    )


CELLPOSE_MODELS = {
    card.name: card
    for card in (
        _of_cellpose("cyto3", "cpnet", 30.0, "whole cells, with nuclei as second channel where there are any"),
        _of_cellpose("cyto2", "cpnet", 30.0, "whole cells, with nuclei as second channel where there are any"),
        _of_cellpose("cyto", "cpnet", 30.0, "whole cells, with nuclei as second channel where there are any"),
        _of_cellpose("nuclei", "cpnet", 17.0, "fluorescent nuclei"),
        _of_cellpose("cpsam_v2", "cellpose4", 30.0, "needs the package cellpose"),
        _of_cellpose("cpsam", "cellpose4", 30.0, "needs the package cellpose"),
        _of_cellpose("cpdino", "cellpose4", 30.0, "needs the packages cellpose and dinov3"),
    )
}
"""Models of Cellpose that are known by name; their weights are brought by the user, or fetched when asked for."""


def models_folder() -> Path:
    """Return the folder of the user's own models: that of the environment variable, or the system's for user data."""
    import platformdirs

    named = os.environ.get(MODELS_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("napari-marrow", appauthor=False) / "models"


def cellpose_folder() -> Path:
    """Return the folder in which Cellpose keeps the weights that it fetched."""
    return Path(os.environ.get("CELLPOSE_LOCAL_MODELS_PATH") or Path.home() / ".cellpose" / "models")


def models(folder: Path | None = None) -> list[ModelCard]:
    """Return the cards of all known models: the bundled ones, the user's own, and those of Cellpose.

    Parameters
    ----------
    folder : Path, optional
        Folder of the user's models instead of `models_folder`.
    """
    own = _installed(folder or models_folder())
    taken = {card.name for card in own}
    return [*_bundled(), *own, *(_placed(card) for name, card in CELLPOSE_MODELS.items() if name not in taken)]


def find_model(name: str | Path, folder: Path | None = None) -> ModelCard:
    """Return the card of a model by its name or by the path of its weights file (with its card, if one lies beside it).

    Parameters
    ----------
    name : str or Path
        Bundled models come first, then the user's own, then Cellpose's, then files.
    folder : Path, optional
        Folder of the user's models instead of `models_folder`.

    Raises
    ------
    ModelError
        If the name is unknown, known but its weights are not here, or the file is no network.
    PathMissingError
        If it is a path and there is no file.
    """
    known = {card.name: card for card in reversed(models(folder))}
    card = known.get(str(name))
    if card is not None:
        return _usable(card)
    path = Path(name)
    if path.is_file():
        return card_of_file(path)
    if path.suffix in (".safetensors", ".pth", ".pt", ".npy") or len(path.parts) > 1:
        raise PathMissingError(f"There is no model file {path}.")
    raise ModelError(
        f"There is no model '{name}': give one of {', '.join(reversed(known))}, or the path of a Cellpose weights file."
    )


def _usable(card: ModelCard) -> ModelCard:
    """Return the card if its weights are here."""
    if card.origin == "damaged":
        raise ModelError(card.limits)
    if card.path is None:
        raise ModelError(
            f"The weights of '{card.name}' are not in this package: give the path of the weights file, or fetch them "
            f"with 'marrow models fetch {card.name}'."
        )
    return card


def card_of_file(path: Path) -> ModelCard:
    """Return the card beside a file of weights, or one that says what the file itself tells.

    Raises
    ------
    PathMissingError, MissingExtraError, ModelError
        If there is no file, it needs torch to be read, or is no network.
    """
    if path.suffix == ".safetensors" and path.with_suffix(".json").is_file():
        return read_card(path.with_suffix(".json"), path)
    kind = file_kind(path)
    return ModelCard(
        path.stem, kind, f"file {path.name}", "", "as its author says", 30.0, RUNS_ON[kind], path=path, origin="file"
    )


def _bundled() -> list[ModelCard]:
    folder = Path(str(resources.files("napari_marrow.segmentation") / "weights"))
    names = sorted((p.stem for p in folder.glob("*.json")), key=lambda name: (name != DEFAULT_MODEL, name))
    return [
        replace(read_card(folder / f"{name}.json", folder / f"{name}.safetensors"), origin="bundled") for name in names
    ]


def _installed(folder: Path) -> list[ModelCard]:
    """Return the user's models; one whose card cannot be read is shown as damaged."""
    found = []
    for card in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        weights = next((p for p in (card.with_suffix(".safetensors"), card.with_suffix(".pth")) if p.is_file()), None)
        try:
            if weights is None:
                raise ModelError(f"The weights of '{card.stem}' are gone from {folder}: add the model again.")
            found.append(replace(read_card(card, weights), name=card.stem, origin="installed"))
        except ModelError as error:
            kind, limits = "unknown", str(error)
            found.append(ModelCard(card.stem, kind, str(card), "", "", 0.0, "nowhere", limits=limits, origin="damaged"))
    return found


def _placed(card: ModelCard) -> ModelCard:
    """Return a card of Cellpose with its file, if that is in Cellpose's folder."""
    path = cellpose_folder() / CELLPOSE_FILES.get(card.name, card.name)
    return replace(card, path=path, origin="cellpose") if path.is_file() else card


_TEXTS = ("name", "kind", "source", "sha256", "licence", "runs_on", "limits")


def read_card(card: Path, weights: Path) -> ModelCard:
    """Read the card that training or `marrow models add` wrote beside the weights.

    Raises
    ------
    ModelError
        If it is none.
    """
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
        own = set(ModelCard.__dataclass_fields__) - {"path", "origin"}
        fields = {"second_channel": False} | {key: content[key] for key in own if key in content}
        wrong = [key for key in _TEXTS if not isinstance(fields.get(key, ""), str)]
        wrong += [key for key in ("smooth_reduction", "second_channel") if not isinstance(fields.get(key, False), bool)]
        if wrong or not isinstance(fields.get("diameter_px"), (int, float)):
            raise ValueError(f"'{(wrong or ['diameter_px'])[0]}' is not of its type")
        if fields.get("kind") not in RUNS_ON or not isinstance(fields.get("held_out", {}), (dict, type(None))):
            raise ValueError("'kind' or 'held_out' is not what it should be")
        return ModelCard(**fields, path=weights)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{card} is no model card: {error}.") from error
