"""All that is known of a model, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_marrow.segmentation.registry import ModelCard, find_model, models
from napari_marrow.segmentation.state_files import read_state
from napari_marrow.segmentation.weights import read_weights


def describe_model(model: str | Path, folder: Path | None = None) -> dict[str, str]:
    """Return what a model is, as names and texts; where its weights are here, they are read and checked.

    Parameters
    ----------
    model : str or Path
        As for `find_model`. A model of Cellpose whose weights are not here is described as far as it is known.
    folder : Path, optional
        Of the user's models.

    Raises
    ------
    ModelError, PathMissingError, MissingExtraError
        As `find_model` and `read_weights`.
    """
    absent = {card.name: card for card in models(folder) if card.origin == "absent"}
    card = absent.get(str(model)) or find_model(model, folder)
    return {
        "name": card.name,
        "kind": {"cpnet": "residual U-net of Cellpose 1-3", "cellpose4": "transformer of Cellpose 4"}[card.kind],
        "source": card.source,
        "licence": card.licence,
        "weights": str(card.path or f"not here: marrow models fetch {card.name}"),
        **(_of_weights(card) if card.path is not None else {}),
        "runs on": card.runs_on,
        "limits": card.limits or "none stated",
        **{f"held out, {key}": text for key, text in _scores(card.held_out or {}).items()},
    }


def _of_weights(card: ModelCard) -> dict[str, str]:
    assert card.path is not None
    if card.kind == "cellpose4":
        state = read_state(card.path)
        n = sum(int(value.numel() if hasattr(value, "numel") else value.size) for value in state.arrays.values())
        return {"sha256": _checked(card, state.sha256), "parameters": f"{n:,}", "cell diameter": "any"}
    weights = read_weights(card.path)
    return {
        "sha256": _checked(card, weights.sha256),
        "parameters": f"{sum(value.size for value in weights.arrays.values()):,}",
        "widths": " ".join(str(width) for width in weights.widths[1:]),
        "channels": "one, and a second one if there is any" if card.second_channel else "one",
        "cell diameter": f"{weights.diam_mean:g} px in the network's input (images are rescaled to it)",
        "trained on": f"cells of {weights.diam_labels:.3g} px (median)",
    }


def _checked(card: ModelCard, sha256: str) -> str:
    wrong = card.sha256 and card.sha256 != sha256
    return f"{sha256} (its card says {card.sha256}: do not use it)" if wrong else sha256


def _scores(held_out: dict[str, Any]) -> dict[str, str]:
    """Return scores as texts; nested ones in one line."""

    def text(value: Any) -> str:
        return ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)

    return {key.replace("_", " "): text(value) for key, value in held_out.items()}
