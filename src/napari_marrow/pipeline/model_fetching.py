"""Fetch the weights of Cellpose's own models over the network, when the user asks for it."""

from __future__ import annotations

import http.client
import tempfile
import urllib.request
from pathlib import Path

from napari_marrow.errors import FetchError, MarrowError, ModelError, write_refused
from napari_marrow.pipeline.model_files import add_model
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation.registry import CELLPOSE_FILES, CELLPOSE_MODELS, ModelCard, models_folder

ADDRESSES = {
    "cpnet": "https://www.cellpose.org/models/",
    "cellpose4": "https://huggingface.co/mouseland/cellpose-sam/resolve/main/",
}
"""Where Cellpose publishes its weights."""

_BLOCK = 1 << 20
_TIMEOUT_S = 30


def fetch_model(
    name: str,
    *,
    address: str | None = None,
    replaced: bool = False,
    folder: Path | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> ModelCard:
    """Download the weights of a model of Cellpose and keep them among the user's own models.

    Parameters
    ----------
    name : str
        "cyto3", "nuclei", "cpsam_v2", ... (`CELLPOSE_MODELS`).
    address : str, optional
        Of the file; by default where Cellpose publishes it.
    replaced : bool
        Whether a model of that name may be replaced.
    folder : Path, optional
        Instead of `models_folder`.
    progress : callable
        Called with megabytes done and in all.
    cancel : CancelToken, optional
        Asked after every megabyte.

    Raises
    ------
    ModelError
        If Cellpose has no such model, or what came is no network.
    FetchError
        If the network does not give it.
    StorageError
        If the disk does not take it.
    Cancelled
        If the token was cancelled; nothing is kept.

    Notes
    -----
    Cellpose's own download does not check the server's certificate (and turns the check off for the whole process):
    this one does.
    """
    card = CELLPOSE_MODELS.get(name)
    if card is None:
        raise ModelError(f"'{name}' is no model of Cellpose: give one of {', '.join(CELLPOSE_MODELS)}.")
    url = address or ADDRESSES[card.kind] + CELLPOSE_FILES.get(name, name)
    place = folder or models_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=".fetching-") as room:
            file = Path(room) / CELLPOSE_FILES.get(name, name)
            _download(url, file, name, progress, cancel)
            return add_model(
                file, name, source=f"{card.source}, {url}", licence=card.licence, limits=card.limits, replaced=replaced,
                folder=folder,
            )  # fmt: skip
    except MarrowError:
        raise
    except OSError as error:
        raise write_refused(place, error) from error


def _download(url: str, target: Path, name: str, progress: Progress, cancel: CancelToken | None) -> None:
    try:
        answer = urllib.request.urlopen(url, timeout=_TIMEOUT_S)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _not_fetched(name, url, error) from error
    with answer, target.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        while True:
            if cancel is not None:
                cancel.raise_if_cancelled()
            try:
                block = answer.read(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise _not_fetched(name, url, error) from error
            if not block:
                break
            file.write(block)
            progress(file.tell() >> 20, total >> 20, f"fetching {name} (MB)")
        if total and file.tell() != total:
            raise _not_fetched(name, url, f"{file.tell():,} of {total:,} bytes came")


def _not_fetched(name: str, url: str, reason: object) -> FetchError:
    detail = getattr(reason, "reason", None) or reason
    return FetchError(
        f"'{name}' could not be fetched from {url} ({detail}): check the network, or fetch that address on another "
        f"computer and run 'marrow models add FILE --name {name}' here."
    )
