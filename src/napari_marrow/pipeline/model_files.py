"""The user's own models: files of weights, checked and kept by name with a card beside each."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_marrow.errors import ModelError, PathExistsError, SettingsError, write_refused
from napari_marrow.pipeline.label_folder import write_atomically
from napari_marrow.segmentation.registry import ModelCard, card_of_file, models, models_folder
from napari_marrow.segmentation.state_files import kind_of, read_state
from napari_marrow.segmentation.weights import read_weights

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ENDINGS = (".safetensors", ".pth")


def add_model(
    file: Path,
    name: str,
    *,
    source: str | None = None,
    licence: str | None = None,
    limits: str | None = None,
    replaced: bool = False,
    folder: Path | None = None,
) -> ModelCard:
    """Check a file of weights and keep a copy under a name, which then serves wherever a model's name does.

    Parameters
    ----------
    file : Path
        Weights of Cellpose 1-3 or 4. Torch files of Cellpose 1-3 are converted to safetensors, so that using them needs
        no torch. A card beside a safetensors file goes along.
    name : str
        Letters, digits, dots, dashes, underscores.
    source, licence, limits : str, optional
        For the card, where the file has none or says otherwise.
    replaced : bool
        Whether a model of that name may be replaced.
    folder : Path, optional
        Instead of `models_folder`.

    Returns
    -------
    ModelCard
        As it was written.

    Raises
    ------
    PathMissingError, MissingExtraError, ModelError
        If the file is not there, needs torch to be read, or is no network.
    SettingsError
        If the name cannot be one, or belongs to a bundled model.
    PathExistsError
        If there is a model of that name.
    StorageError
        If the disk does not take it.
    """
    place = folder or models_folder()
    _check_name(name, place, replaced)
    card = replace(card_of_file(file), name=name)
    card = replace(
        card,
        source=card.source if source is None else source,
        licence=card.licence if licence is None else licence,
        limits=card.limits if limits is None else limits,
    )
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_refused(place, error) from error
    further = _further_fields(file)
    ending = ".pth" if card.kind == "cellpose4" else ".safetensors"
    target = place / f"{name}{ending}"
    before = target.is_file()
    try:
        card = _write_weights(file, target, card)
        write_atomically(target.with_suffix(".json"), lambda partial: _write_card(partial, card, further))
    except BaseException:
        if not before:
            with suppress(OSError):
                target.unlink(missing_ok=True)
        raise
    for other in _ENDINGS:  # of a replaced model of the other kind
        if other != ending:
            (place / f"{name}{other}").unlink(missing_ok=True)
    return card


def _check_name(name: str, place: Path, replaced: bool) -> None:
    if not _NAME.fullmatch(name) or name.endswith((*_ENDINGS, ".json")):
        raise SettingsError(
            f"A model cannot be named '{name}': give up to 64 letters, digits, dots, dashes and underscores, no ending."
        )
    known = {card.name: card for card in models(place)}.get(name)
    if known is not None and known.origin == "bundled":
        raise SettingsError(f"'{name}' is a model of this package: give another name.")
    if known is not None and known.origin in ("installed", "damaged") and not replaced:
        raise PathExistsError(f"There is a model '{name}' in {place}: give another name, or --replace.")


def _write_weights(file: Path, target: Path, card: ModelCard) -> ModelCard:
    """Check the weights, write them, and return the card with what they say."""
    if card.kind == "cellpose4":
        state = read_state(file)
        if kind_of(state.arrays) != "cellpose4":
            raise ModelError(f"{file} is no Cellpose 4 network.")
        write_atomically(target, lambda partial: shutil.copyfile(file, partial))
        return replace(card, sha256=state.sha256, path=target)
    weights = read_weights(file)
    if card.sha256 and card.sha256 != weights.sha256:
        raise ModelError(f"The weights {file} do not match the card beside them: take both from one source.")
    if file.suffix == ".safetensors":
        write_atomically(target, lambda partial: shutil.copyfile(file, partial))
        return replace(card, sha256=weights.sha256, diameter_px=weights.diam_mean, path=target)
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(value) for name, value in weights.arrays.items()})
    write_atomically(target, lambda partial: partial.write_bytes(content))
    return replace(
        card,
        sha256=hashlib.sha256(content).hexdigest(),
        source=f"{card.source}, converted from the file with SHA-256 {weights.sha256}",
        diameter_px=weights.diam_mean,
        path=target,
    )


def _further_fields(file: Path) -> dict[str, Any]:
    """Return what a card beside the weights says beyond `ModelCard`: how it was trained, on which images."""
    beside = file.with_suffix(".json")
    if file.suffix != ".safetensors" or not beside.is_file():
        return {}
    content = json.loads(beside.read_text(encoding="utf-8"))  # `card_of_file` has read it as a card
    return {k: v for k, v in content.items() if k not in ModelCard.__dataclass_fields__}


def _write_card(partial: Path, card: ModelCard, further: dict[str, Any]) -> None:
    content: dict[str, Any] = {k: v for k, v in asdict(card).items() if k not in ("path", "origin")} | further
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def remove_model(name: str, *, folder: Path | None = None) -> list[Path]:
    """Delete one of the user's own models and return the files that were deleted.

    Raises
    ------
    ModelError
        If it is none of them.
    """
    place = folder or models_folder()
    own = {card.name for card in models(place) if card.origin in ("installed", "damaged")}
    if name not in own:
        have = f"there are {', '.join(sorted(own))}" if own else "there are none"
        raise ModelError(f"'{name}' is no model of yours in {place}: {have}.")
    paths = [place / f"{name}{ending}" for ending in (".json", *_ENDINGS)]
    there = [path for path in paths if path.is_file()]
    for path in there:
        try:
            path.unlink()
        except OSError as error:
            raise write_refused(path, error) from error
    return there
