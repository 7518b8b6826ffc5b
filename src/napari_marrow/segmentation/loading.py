"""From the name of a model or a file of weights to a segmenter on a device."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from napari_marrow.errors import MissingExtraError, ModelError, SettingsError
from napari_marrow.segmentation.devices import choose_device
from napari_marrow.segmentation.protocol import Segmenter
from napari_marrow.segmentation.registry import DEFAULT_MODEL, ModelCard, find_model
from napari_marrow.segmentation.segmenter import CPnetSegmenter
from napari_marrow.segmentation.tiles import Network
from napari_marrow.segmentation.weights import read_weights


def load_segmenter(
    model: str | Path = DEFAULT_MODEL,
    *,
    device: str = "cpu",
    precision: str = "auto",
    threads: int | None = None,
    streams: int = 1,
) -> Segmenter:
    """Load a network.

    Parameters
    ----------
    model : str or Path
        A name of `models()` or the path of a weights file of Cellpose (safetensors, or torch's format, which needs
        torch).
    device : str
        "cpu" (OpenVINO; Cellpose 4: torch), "cuda", "cuda:1", "mps" (torch), or "auto": a GPU if torch is installed and
        finds one, else the CPU. The segmenter's `device` says which.
    precision : {"auto", "f32", "bf16"}
        "auto" takes bf16 on processors that compute in it, and for Cellpose 4 on GPUs; elsewhere f32.
    threads : int or None
        On the CPU. None takes what the machine has.
    streams : int
        Calls that the network computes side by side on the CPU, sharing the threads: for many small images that several
        threads segment at once.

    Raises
    ------
    ModelError
        If there is no such model, or its file is not what it should be.
    MissingExtraError
        If it needs a package that is not installed.
    SettingsError
        If device or precision cannot be.
    """
    if precision not in ("auto", "f32", "bf16"):
        raise SettingsError(f"Precision '{precision}' is unknown: give auto, f32 or bf16.")
    device = choose_device(device)
    card = find_model(model)
    if card.kind == "cellpose4":
        return _cellpose4(card, device, precision, threads)
    assert card.path is not None
    weights = read_weights(card.path)
    card = replace(_with_checksum(card, weights.sha256), diameter_px=weights.diam_mean)
    network: Network
    if device == "cpu":
        from napari_marrow.segmentation.openvino_network import OpenVINONetwork

        network = OpenVINONetwork(weights, precision=precision, threads=threads, streams=streams)
    else:
        from napari_marrow.segmentation.torch_network import TorchNetwork

        network = TorchNetwork(weights, device=device, precision=precision)
    threads = threads if streams == 1 else 1
    return CPnetSegmenter(card, network, weights.n_channels, threads, usual_diameter=weights.diam_labels)


def _with_checksum(card: ModelCard, sha256: str) -> ModelCard:
    """Return the card with the checksum of its file, which must be the one that it states."""
    if card.sha256 and card.sha256 != sha256:
        remedy = "reinstall napari-marrow" if card.origin == "bundled" else "add the model again"
        raise ModelError(f"The weights of '{card.name}' do not match their card: {remedy}.")
    return replace(card, sha256=sha256)


def _cellpose4(card: ModelCard, device: str, precision: str, threads: int | None) -> Segmenter:
    """Load a network of Cellpose 4, which torch runs on every device."""
    if find_spec("cellpose") is None or find_spec("torch") is None:
        raise MissingExtraError(f"'{card.name}' needs Cellpose 4: pip install 'napari-marrow[cellpose]'.")
    import torch

    from napari_marrow.segmentation.cellpose4_network import read_cellpose4
    from napari_marrow.segmentation.cellpose4_segmenter import Cellpose4Segmenter
    from napari_marrow.segmentation.openvino_network import choose_precision

    if device == "cpu":
        precision = choose_precision(precision)
        if threads is not None:
            torch.set_num_threads(threads)
    elif precision == "auto":
        precision = "bf16"
    assert card.path is not None
    network, sha256 = read_cellpose4(card.path, device=device, precision=precision)
    return Cellpose4Segmenter(_with_checksum(card, sha256), network, 3, threads)
