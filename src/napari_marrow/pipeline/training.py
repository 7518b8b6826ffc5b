"""Train a bundled network on a folder of images and masks: ``python -m napari_marrow.pipeline.training``.

For the layout of the folder see `training_data.list_files`. A deterministic fifth of the images (SHA-1 of the name
divisible by 5) is never trained on; its list is written beside the weights. At the end, and with
``--evaluate WEIGHTS``, the model is scored on it the way users run it: on the CPU path, diameters estimated.

torch is needed to train, not to evaluate (``pip install 'napari-marrow[cellpose]'``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_marrow.errors import MarrowError, MissingExtraError, SettingsError
from napari_marrow.pipeline.bundled_models import BUNDLED_MODELS, write_card
from napari_marrow.pipeline.training_data import (
    Pair,
    digest,
    image_name,
    list_files,
    load_examples,
    read_pair,
    simulated_examples,
    split,
)
from napari_marrow.segmentation.diameter import median_diameter
from napari_marrow.segmentation.learning_rate import one_cycle

if TYPE_CHECKING:
    from napari_marrow.segmentation.augmentation import AugmentationSettings, Example


CHECKPOINT = "last.pt"


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the result, apart from the data.

    Attributes
    ----------
    steps : int
        Optimiser steps at most.
    minutes : float or None
        When given, the learning-rate cycle is laid over this wall time and training ends with it: on a busy machine
        fewer steps are taken, but the cycle is always finished. Results then depend on the machine's speed.
    batch : int
        Crops per step.
    rate : float
        Highest learning rate of the one-cycle schedule.
    weight_decay : float
        AdamW's.
    widths : tuple of int
        The network's encoder widths behind its two input channels.
    seed : int
        Seeds weights and crops.
    ema : float
        Decay of the running mean of the weights, which is what is exported.
    start : str
        SHA-256 of the weights that training began with, "" for random ones; set by `train`.
    """

    steps: int = 3000
    minutes: float | None = None
    batch: int = 8
    rate: float = 2e-3
    weight_decay: float = 1e-4
    widths: tuple[int, ...] = (2, 16, 32, 64, 128)
    seed: int = 0
    ema: float = 0.998
    start: str = ""


def evaluate(pairs: Sequence[Pair], weights: Path, *, threads: int | None = None) -> dict[str, Any]:
    """Score a model on images with known labels, diameters estimated.

    Returns
    -------
    dict
        `images`, `nuclei`, pooled `average_precision` (TP/(TP+FP+FN)) at IoU .5, .75, .9, the mean over images, `seg`
        of the Cell Tracking Challenge, the median ratio of estimated to true diameter, and the milliseconds per image.
    """
    from napari_marrow.segmentation import load_segmenter, pool_scores, score_labels

    segmenter = load_segmenter(weights, threads=threads)
    scores, ratios = [], []
    started = time.perf_counter()
    for pair in pairs:
        image, truth = read_pair(pair)
        found = segmenter.segment(image)
        scores.append(score_labels(truth, found.labels))
        if truth.any():
            ratios.append(found.diameter / median_diameter(truth))
    pooled = pool_scores(scores)
    means = np.nanmean([list(score.average_precision.values()) for score in scores], axis=0)
    return {
        "images": len(pairs),
        "nuclei": pooled.n_true,
        "average_precision": {str(t): round(ap, 4) for t, ap in pooled.average_precision.items()},
        "mean_over_images": {str(t): round(float(m), 4) for t, m in zip(pooled.thresholds, means, strict=True)},
        "seg": round(pooled.seg, 4),
        "diameter_ratio": round(float(np.median(ratios)), 3),
        "ms_per_image": round(1000 * (time.perf_counter() - started) / len(pairs), 1),
        "precision": segmenter.precision,
    }


def train(
    examples: list[Example],
    settings: TrainingSettings,
    augmentation: AugmentationSettings,
    weights_file: Path,
    *,
    checkpoint_minutes: float = 5.0,
    resume: bool = False,
    start: Path | None = None,
    compiled: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Train and write the weights (their running mean) to `weights_file` at every checkpoint and at the end.

    With `resume` it goes on from the last checkpoint in that folder as if it had not been interrupted. `start` names
    weights to begin with instead of random ones. `compiled` lets torch compile the network (a third faster, needs a
    C++ compiler). `on_step` is called with the number of each finished step; what it raises ends the training.

    Returns
    -------
    dict
        ``steps``, ``minutes`` and the loss curve (mean of every 50 steps).
    """
    import torch

    from napari_marrow.segmentation.augmentation import batch
    from napari_marrow.segmentation.optimisation import take_step, update_mean
    from napari_marrow.segmentation.torch_network import CPnet

    out = weights_file.parent
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    network = CPnet(settings.widths, diam_mean=augmentation.diam_mean).to(memory_format=torch.channels_last)
    if start is not None:
        _load(network, start)
    forward = torch.compile(network) if compiled else network
    mean = {name: value.detach().clone() for name, value in network.state_dict().items()}
    weights = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=settings.rate, weight_decay=settings.weight_decay)
    state: dict[str, Any] = {"step": 0, "minutes": 0.0, "curve": []}
    if resume:
        state = torch.load(out / CHECKPOINT, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        mean = state["mean"]
        rng.bit_generator.state = json.loads(state["rng"])
    started = saved = time.monotonic()
    step, before, curve = int(state["step"]), float(state["minutes"]), list(state["curve"])
    recent: list[float] = []
    while step < settings.steps:
        elapsed = before + (time.monotonic() - started) / 60
        fraction = step / settings.steps if settings.minutes is None else elapsed / settings.minutes
        if fraction >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = one_cycle(fraction, settings.rate)
        images, targets = batch(examples, rng, augmentation, settings.batch)
        network.train()
        recent.append(take_step(forward, optimiser, weights, images, targets))
        step += 1
        update_mean(mean, network, min(settings.ema, (1 + step) / (10 + step)))
        if step % 50 == 0:
            curve.append(float(np.mean(recent)))
            recent.clear()
            _say(f"step {step}  loss {curve[-1]:.4f}  {elapsed:.1f} min  {fraction:.0%}")
        if time.monotonic() - saved > 60 * checkpoint_minutes or step == settings.steps:
            saved = time.monotonic()
            export(mean, weights_file)
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "mean": mean}
            state |= {"step": step, "minutes": elapsed, "curve": curve, "rng": json.dumps(rng.bit_generator.state)}
            torch.save(state, out / f"{CHECKPOINT}.partial")
            os.replace(out / f"{CHECKPOINT}.partial", out / CHECKPOINT)
        if on_step is not None:
            on_step(step)
    network.load_state_dict(mean)
    calibrate(network, examples, augmentation, settings.seed)
    export(network.state_dict(), weights_file)
    return {"steps": step, "minutes": round(before + (time.monotonic() - started) / 60, 1), "loss": curve}


def calibrate(
    network: Any, examples: list[Example], augmentation: AugmentationSettings, seed: int, *, batches: int = 64
) -> None:
    """Measure the means and variances of the network's batch normalisation anew, over many crops and in f32.

    The running ones are those of the last few batches: one sparse image whose nuclei lie above its 99th percentile, and
    so are a hundred times brighter than those of others, makes the input's variance ten times too large, and
    the network misses dim nuclei. Such crops (brighter than 10) are left out here.
    """
    import torch

    from napari_marrow.segmentation.augmentation import batch

    rng = np.random.default_rng([seed, batches])
    layers = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
    network.train()
    with torch.inference_mode():
        for _ in range(batches):
            images, _ = batch(examples, rng, augmentation, 16)
            usual = images[images.amax(dim=(1, 2, 3)) < 10]
            if len(usual):
                network(usual)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def _load(network: Any, path: Path) -> None:
    """Put the weights of a file into the network; both must be of the same widths."""
    import torch

    from napari_marrow.segmentation.weights import read_weights

    kept = ("num_batches_tracked", "diam_mean", "diam_labels")  # torch's counters; the diameters are this network's own
    own = {name: value for name, value in network.state_dict().items() if not name.endswith(kept)}
    arrays = read_weights(path).arrays
    if any(name not in arrays or arrays[name].shape != tuple(value.shape) for name, value in own.items()):
        raise SettingsError(f"{path} is a network of other widths: training cannot start from it.")
    network.load_state_dict({name: torch.from_numpy(arrays[name].copy()) for name in own}, strict=False)


def export(state: dict[str, Any], path: Path) -> None:
    """Write a state dict as safetensors in f32, atomically."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(value.float().numpy()) for name, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(arrays, partial)
    partial.chmod(0o644)
    os.replace(partial, path)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m napari_marrow.pipeline.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of images and labels")
    parser.add_argument("--model", choices=sorted(BUNDLED_MODELS), default="marrow-nuclei")
    parser.add_argument("--out", type=Path, help="folder for weights, held-out list and log")
    parser.add_argument(
        "--evaluate", type=Path, metavar="WEIGHTS", help="score a model on the held-out fifth, train nothing"
    )
    parser.add_argument("--card", action="store_true", help="with --evaluate: write the model's card beside it")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=None, help="lay the schedule over this wall time")
    parser.add_argument("--simulated", type=int, default=300, metavar="N", help="simulated frames beside the images")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--start", type=Path, default=None, metavar="WEIGHTS", help="begin with these weights")
    parser.add_argument("--compile", action="store_true", help="let torch compile the network (needs a C++ compiler)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    if (options.out is None) == (options.evaluate is None):
        parser.error("give either --out (to train) or --evaluate")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the errors of the package end it with one sentence."""
    options = _parse(arguments)
    try:
        pairs = list_files(options.data)
        training, held_out = split(pairs)
        if options.evaluate is None:
            _train_and_score(options, training, held_out)
        else:
            result = evaluate(held_out, options.evaluate, threads=options.threads)
            _say(json.dumps(result, indent=1))
            if options.card:
                _rewrite_card(options, result)
    except MarrowError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _rewrite_card(options: argparse.Namespace, scores: dict[str, Any]) -> None:
    log = options.evaluate.with_name("training.json")
    training = json.loads(log.read_text()) if log.exists() else {}
    write_card(BUNDLED_MODELS[options.model], options.evaluate, scores, training)


def _train_and_score(options: argparse.Namespace, training: list[Pair], held_out: list[Pair]) -> None:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("Training needs torch: pip install 'napari-marrow[cellpose]'.") from error
    from napari_marrow.segmentation.augmentation import AugmentationSettings

    torch.set_num_threads(options.threads)
    model = BUNDLED_MODELS[options.model]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "held_out.txt").write_text("".join(f"{image_name(image)}\n" for image, _ in held_out))
    _say(f"{len(training)} images and {options.simulated} simulated frames to train on, {len(held_out)} held out")
    start = "" if options.start is None else hashlib.sha256(options.start.read_bytes()).hexdigest()
    settings = TrainingSettings(
        steps=options.steps, minutes=options.minutes, rate=options.rate, seed=options.seed, start=start
    )
    augmentation = AugmentationSettings(diam_mean=model.diameter_px, p_invert=model.p_invert)
    examples = load_examples(training) + simulated_examples(options.simulated, options.seed, channel=model.channel)
    weights = options.out / f"{model.name}.safetensors"
    result = train(
        examples, settings, augmentation, weights,
        resume=options.resume, start=options.start, compiled=options.compile
    )  # fmt: skip
    result |= {"settings": asdict(settings), "augmentation": asdict(augmentation), "images": len(training)}
    result |= {"simulated": options.simulated, "data_sha256": digest(training), "threads": options.threads}
    (options.out / "training.json").write_text(json.dumps(result, indent=1))
    write_card(model, weights, {}, result)  # how images are prepared stands in the card, so it comes before the scores
    scores = evaluate(held_out, weights, threads=options.threads) if held_out else {}
    write_card(model, weights, scores, result)
    _say(json.dumps(scores, indent=1))


if __name__ == "__main__":
    sys.exit(main())
