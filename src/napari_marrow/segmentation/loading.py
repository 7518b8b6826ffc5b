"""From the name of a model or a file of weights to a segmenter on a device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_marrow.errors import MissingExtraError, ModelError, SettingsError
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
        A name of `models()` or the path of a Cellpose 1-3 weights file (safetensors, or torch's format, which needs
        torch).
    device : str
        "cpu" runs through OpenVINO; "cuda", "cuda:1", "mps" through torch.
    precision : {"auto", "f32", "bf16"}
        On the CPU. "auto" takes bf16 where the processor computes in it.
    threads : int or None
        None takes what the machine has.
    streams : int
        Calls that the network computes side by side on the CPU, sharing the threads: for many small images that several
        threads segment at once.

    Raises
    ------
    ModelError
        If there is no such model, its file is not what it should be, or it is of a kind that this version does not run.
    MissingExtraError
        If it needs a package that is not installed.
    SettingsError
        If device or precision cannot be.
    """
    card = find_model(model)
    if card.kind != "cpnet":
        raise _cellpose4_error(card)
    if precision not in ("auto", "f32", "bf16"):
        raise SettingsError(f"Precision '{precision}' is unknown: give auto, f32 or bf16.")
    if device != "cpu" and device != "mps" and not device.startswith("cuda"):
        raise SettingsError(f"Device '{device}' is unknown: give cpu, cuda or mps.")
    assert card.path is not None
    weights = read_weights(card.path)
    if card.sha256 and card.sha256 != weights.sha256:
        raise ModelError(f"The weights of '{card.name}' do not match their card: reinstall napari-marrow.")
    card = replace(card, sha256=weights.sha256, diameter_px=weights.diam_mean)
    network: Network
    if device == "cpu":
        from napari_marrow.segmentation.openvino_network import OpenVINONetwork

        network = OpenVINONetwork(weights, precision=precision, threads=threads, streams=streams)
    else:
        try:
            from napari_marrow.segmentation.torch_network import TorchNetwork
        except ImportError as error:
            raise MissingExtraError(
                f"Device '{device}' needs torch: pip install 'napari-marrow[cellpose]', or use device='cpu'."
            ) from error
        network = TorchNetwork(weights, device=device)
    return CPnetSegmenter(card, network, weights.n_channels, threads if streams == 1 else 1)


def _cellpose4_error(card: ModelCard) -> Exception:
    from importlib.util import find_spec

    if find_spec("cellpose") is None:
        return MissingExtraError(f"'{card.name}' needs Cellpose 4: pip install 'napari-marrow[cellpose]'.")
    return ModelError(
        f"'{card.name}' is a Cellpose 4 transformer, which this version does not run yet: use '{DEFAULT_MODEL}' or a "
        "Cellpose 1-3 weights file."
    )
