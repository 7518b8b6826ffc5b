"""Compare the project's network with Cellpose 3.1.1.2: outputs, styles, tiling, normalisation, resizing, files.

Usage: ``python benchmarks/cellpose3_equality.py [--venv FOLDER] [--write]``. Makes an environment with Cellpose 3 if
the folder has none. Prints one markdown table: the largest difference, relative to the largest absolute value, in f32.
``--write`` renews the reference arrays of the tests.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from cellpose3_venv import DEFAULT, interpreter, run_peer
from napari_marrow.segmentation.intensities import scale_channels
from napari_marrow.segmentation.openvino_network import OpenVINONetwork
from napari_marrow.segmentation.registry import find_model
from napari_marrow.segmentation.resizing import resize
from napari_marrow.segmentation.style import StyleRecorder
from napari_marrow.segmentation.tiles import run_network
from napari_marrow.segmentation.weights import NetworkWeights, expected_shapes, read_weights

REFERENCE = Path(__file__).parents[1] / "tests" / "segmentation" / "data" / "cellpose3_reference.npz"
WIDTHS = {"full": (2, 32, 64, 128, 256), "half": (2, 16, 32, 64, 128), "narrow": (2, 5, 6, 7, 8)}
DIAMETER = 11.0
STORED = {
    "full": ("y", "style"),
    "half": ("y", "style"),
    "narrow": ("tiled", "tiled_style", "eval", "eval_style", "normalised"),
}
THINNED = {"tiled": 7, "eval": 3, "normalised": 3}
"""Every how many pixels of a plane are stored."""


def random_arrays(widths: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Return parameters of a network with values of a trained one's size; the same on every machine."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in sorted(expected_shapes(widths).items()):
        values = rng.standard_normal(shape, dtype=np.float32)
        if name.endswith("running_var"):
            values = np.exp(values / 4)
        elif len(shape) == 1:
            values = values / 5 + (1 if ".0.weight" in name else 0)
        else:
            values *= np.sqrt(2 / np.prod(shape[1:]), dtype=np.float32)
        arrays[name] = values.astype(np.float32)
    arrays["diam_mean"] = np.array([17], np.float32)
    arrays["diam_labels"] = np.array([15.5], np.float32)
    return arrays


def inputs(widths: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return tiles, a plane and an image of two channels to compare on."""
    rng = np.random.default_rng(7)
    return {
        "widths": np.array(widths),
        "x": rng.uniform(-0.2, 1.2, (2, 2, 64, 64)).astype(np.float32),
        "plane": rng.uniform(-0.2, 1.2, (250, 300, 2)).astype(np.float32),
        "image": (rng.gamma(2, 90, (170, 190, 2)) * [1, 40]).astype(np.uint16),
        "diameter": np.array(DIAMETER),
    }


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference, relative to the largest absolute value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def ours_of(network: object, given: dict[str, np.ndarray], diam_mean: float = 17.0) -> dict[str, np.ndarray]:
    """Return what this project computes for the same input, under the peer's names."""
    y, style = network.with_style(given["x"])
    recorder = StyleRecorder(network)
    tiled = run_network(recorder, given["plane"].transpose(2, 0, 1), whole_pixels=0)
    image = given["image"]
    scaled = scale_channels(image[..., 0], image[..., 1]).part(slice(None))
    scale = diam_mean / float(given["diameter"])
    small = resize(scaled, (int(scaled.shape[1] * scale), int(scaled.shape[2] * scale)))
    whole = StyleRecorder(network)
    return {
        "y": y,
        "style": style,
        "tiled": tiled,
        "tiled_style": recorder.style,
        "eval": resize(run_network(whole, small, whole_pixels=0), image.shape[:2]),
        "eval_style": whole.style,
        "normalised": scaled.transpose(1, 2, 0),
    }


def networks(weights: NetworkWeights) -> dict[str, object]:
    """Return the two runtimes."""
    from napari_marrow.segmentation.torch_network import TorchNetwork

    return {"OpenVINO": OpenVINONetwork(weights, precision="f32"), "torch": TorchNetwork(weights, device="cpu")}


def thinned(name: str, values: np.ndarray) -> np.ndarray:
    """Return what is stored of an array."""
    step = THINNED.get(name, 1)
    return values[::step, ::step] if name == "normalised" else values[..., ::step, ::step] if step > 1 else values


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=DEFAULT)
    parser.add_argument("--write", action="store_true", help="renew the reference arrays of the tests")
    parser.add_argument("--only", help="one of the networks: full, half, narrow, marrow-nuclei")
    options = parser.parse_args()
    python = interpreter(options.venv)
    cases = {name: random_arrays(widths) for name, widths in WIDTHS.items()}
    bundled = read_weights(find_model("marrow-nuclei").path)
    cases["marrow-nuclei"] = bundled.arrays
    cases = {options.only: cases[options.only]} if options.only else cases
    kept = {}
    columns = ("y", "style", "tiled", "tiled_style", "eval", "eval_style", "normalised")
    print("| weights | runtime | output | style | tiled | its style | `eval`, 2 channels | its style | normalised |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as room:
        for name, arrays in cases.items():
            given = inputs(WIDTHS.get(name, bundled.widths))
            source, target = Path(room) / f"{name}-in.npz", Path(room) / f"{name}-out.npz"
            np.savez(source, **given, **{f"w:{key}": value for key, value in arrays.items()})
            run_peer(python, "outputs", source, target)
            with np.load(target) as file:
                theirs = dict(file)
            weights = read_weights(Path(f"{target}.model"))  # as Cellpose 3 saved it
            parallel = read_weights(Path(f"{target}.model-parallel"))
            names = [*expected_shapes(weights.widths), "diam_mean", "diam_labels"]
            assert all(np.array_equal(weights.arrays[key], arrays[key]) for key in names)
            assert all(np.array_equal(parallel.arrays[key], arrays[key]) for key in names)
            for runtime, network in networks(weights).items():
                ours = ours_of(network, given, weights.diam_mean)
                cells = [f"{relative(ours[column], theirs[column]):.1e}" for column in columns]
                print(
                    f"| {name} {'x'.join(map(str, weights.widths[1:]))} | {runtime} | {' | '.join(cells)} |", flush=True
                )
            kept |= {f"{name}:{key}": thinned(key, theirs[key]).astype(np.float32) for key in STORED.get(name, ())}
    if options.write:
        np.savez_compressed(REFERENCE, **kept)
        print(f"\nWrote {REFERENCE} ({REFERENCE.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
