"""Adapt a Cellpose network to a few annotated images: arrays in, weights out. torch is imported when training begins.

The network keeps what it learned and is trained on with the user's labels, at a low rate or with a frozen encoder. Its
score on images that are held back decides which of its states is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import Cancelled, MissingExtraError, SettingsError
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation.annotation import AnnotatedImage, PreparedImage, prepare
from napari_marrow.segmentation.held_out import Check, score_held_out, segmenter_of
from napari_marrow.segmentation.learning_rate import one_cycle
from napari_marrow.segmentation.registry import ModelCard
from napari_marrow.segmentation.weights import NetworkWeights, check_weights

if TYPE_CHECKING:
    from napari_marrow.segmentation.augmentation import AugmentationSettings

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Freeze = Literal["encoder", "none"]

RATES: dict[str, float] = {"encoder": 2e-3, "none": 1e-3}
"""Highest learning rate by what is frozen."""
_EMA = 0.98  # decay of the running mean of the weights, which is what is scored and kept
_REPORTED = 10  # steps whose losses are averaged for the curve


@dataclass(frozen=True)
class FineTuningSettings:
    """Everything that decides the result, apart from base and data.

    Attributes
    ----------
    steps : int or None
        Optimiser steps. The result then depends on no clock.
    minutes : float
        Without `steps`: the wall time that the learning-rate cycle is laid over.
    freeze : {"encoder", "none"}
        "encoder" trains the decoder alone, with the encoder's normalisation as it was: faster, and safer with very few
        cells that look much like those of the base. "none" trains everything.
    rate : float or None
        Highest learning rate; None takes `RATES`.
    batch : int
        Crops per step.
    weight_decay : float
        AdamW's.
    seed : int
        Of the random crops.
    checks : int
        How often the held-out images are scored, evenly over the training.
    patience : int
        Training ends after so many checks in a row without a better score.
    diameter : float or None
        Diameter in px at which held-out images are scored; None estimates it, as users do.
    threads : int or None
        None takes what torch takes.
    """

    steps: int | None = None
    minutes: float = 5.0
    freeze: Freeze = "none"
    rate: float | None = None
    batch: int = 8
    weight_decay: float = 1e-4
    seed: int = 0
    checks: int = 10
    patience: int = 5
    diameter: float | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise SettingsError(f"{self.steps} training steps cannot be: give 1 or more.")
        if not (np.isfinite(self.minutes) and self.minutes > 0):
            raise SettingsError(f"{self.minutes:g} minutes of training cannot be: give more than 0.")
        if self.freeze not in RATES:
            raise SettingsError(f"'{self.freeze}' cannot be frozen: give {' or '.join(RATES)}.")
        if self.rate is not None and not 0 < self.rate <= 0.1:
            raise SettingsError(f"A learning rate of {self.rate:g} cannot be: give more than 0 and at most 0.1.")
        if self.batch < 1 or self.checks < 1 or self.patience < 1:
            raise SettingsError("Batch, checks and patience are each 1 or more.")


@dataclass(frozen=True)
class FineTuning:
    """A network that was trained on.

    Attributes
    ----------
    weights : NetworkWeights
        The best state by the held-out score; without held-out images the last one.
    step : int
        The step it was reached at.
    steps : int
        Steps taken in all.
    losses : list of (int, float)
        Step, and the mean loss of the steps since the last entry.
    checks : list of Check
        Held-out scores, the base's first; empty without held-out images.
    seconds : float
        Wall time of the training.
    stopped_early : bool
        Whether it ended because the held-out score grew no more.
    """

    weights: NetworkWeights
    step: int
    steps: int
    losses: list[tuple[int, float]]
    checks: list[Check]
    seconds: float
    stopped_early: bool

    @property
    def before(self) -> Check | None:
        """Score of the base."""
        return self.checks[0] if self.checks else None

    @property
    def after(self) -> Check | None:
        """Score of the kept state."""
        return next((check for check in self.checks[1:] if check.step == self.step), None)

    @property
    def improved(self) -> bool:
        """Whether it is better on the held-out images than the base was; without such images nobody knows: True."""
        if not self.checks:
            return True
        before, after = self.before, self.after
        return before is not None and after is not None and after.value > before.value


def fine_tune(
    base: NetworkWeights,
    training: Sequence[AnnotatedImage],
    held_out: Sequence[AnnotatedImage] = (),
    settings: FineTuningSettings = FineTuningSettings(),
    *,
    card: ModelCard | None = None,
    progress: Progress = no_progress,
    on_check: Callable[[Check], None] | None = None,
    cancel: CancelToken | None = None,
) -> FineTuning:
    """Train a network on with annotated images.

    Parameters
    ----------
    base : NetworkWeights
        What it starts from; is not changed.
    training : sequence of AnnotatedImage
        At least one with a label.
    held_out : sequence of AnnotatedImage
        Never trained on; they choose the state that is kept. Without any, the last one is.
    settings : FineTuningSettings
    card : ModelCard, optional
        The base's card, for whether its images are smoothed before they are made smaller.
    progress : callable
        Called after each step, with the loss and the time left in its message.
    on_check : callable, optional
        Called with each scoring of the held-out images, the base's first.
    cancel : CancelToken, optional
        Asked before each step and each held-out image.

    Returns
    -------
    FineTuning
        The same for the same steps, seed, threads and machine; with `minutes` it depends on the machine's speed.

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    SettingsError
        If there is no label to train on.
    Cancelled
        If the token was cancelled.

    Notes
    -----
    The loss is Cellpose's (Stringer et al. 2021, Nature Methods 18:100): half the squared error of five times the flow
    plus the cross-entropy of the cell probability, over annotated pixels. The frozen part keeps the statistics of its
    batch normalisation; the trained part updates them.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Training needs torch: pip install 'napari-marrow[cellpose]'.") from error
    prepared = [example for image in training if (example := prepare(image, base.diam_mean)) is not None]
    if not prepared:
        raise SettingsError("There is no label to train on: at least one image has to hold some.")
    with _torch_threads(settings.threads):
        return _Training(base, prepared, list(held_out), settings, card, progress, on_check, cancel).run()


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class _Training:
    """One call of `fine_tune`."""

    base: NetworkWeights
    examples: list[PreparedImage]
    held_out: list[AnnotatedImage]
    settings: FineTuningSettings
    card: ModelCard | None
    progress: Progress
    on_check: Callable[[Check], None] | None
    cancel: CancelToken | None
    checks: list[Check] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)

    def run(self) -> FineTuning:
        import torch

        from napari_marrow.segmentation.optimisation import take_step, update_mean
        from napari_marrow.segmentation.torch_network import from_weights

        settings = self.settings
        if self.held_out:
            self._check(0, self.base, self.card)
        half = segmenter_of(self.base, threads=settings.threads).precision == "bf16"
        network = from_weights(self.base).to(memory_format=torch.channels_last)
        _set_trained(network, settings.freeze)
        trained = [p for p in network.parameters() if p.requires_grad]
        rate = settings.rate or RATES[settings.freeze]
        optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=settings.weight_decay)
        mean = {name: value.detach().clone() for name, value in network.state_dict().items()}
        rng = np.random.default_rng(settings.seed)
        best, best_step, since_best, stopped = mean, 0, 0, False
        started, step, n_checks = time.monotonic(), 0, 0
        recent: list[float] = []
        while (fraction := self._fraction(step, started)) < 1:
            if self.cancel is not None and self.cancel.cancelled:
                raise Cancelled("Cancelled: the training was not finished, and no model was written.")
            for group in optimiser.param_groups:
                group["lr"] = one_cycle(fraction, rate)
            recent.append(take_step(network, optimiser, trained, *self._batch(rng), half=half))
            step += 1
            update_mean(mean, network, min(_EMA, (1 + step) / (10 + step)))
            self._report(step, started, recent)
            fraction = self._fraction(step, started)
            if self.held_out and fraction >= (n_checks + 1) / settings.checks:
                n_checks = int(fraction * settings.checks + 1e-9)
                if self._check(step, self._weights(mean), None):
                    best, best_step, since_best = {n: v.clone() for n, v in mean.items()}, step, 0
                else:
                    since_best += 1
                network.train()
                _set_trained(network, settings.freeze)
                if since_best >= settings.patience:
                    stopped = fraction < 1
                    break
        if not self.held_out:
            best, best_step = mean, step
        seconds = time.monotonic() - started
        return FineTuning(self._weights(best), best_step, step, self.losses, self.checks, seconds, stopped)

    def _fraction(self, step: int, started: float) -> float:
        if self.settings.steps is not None:
            return step / self.settings.steps
        # The first step always comes, however slow the machine.
        return 0.0 if step == 0 else (time.monotonic() - started) / (60 * self.settings.minutes)

    def _report(self, step: int, started: float, recent: list[float]) -> None:
        elapsed = time.monotonic() - started
        if self.settings.steps is None:
            done, total = int(min(elapsed, 60 * self.settings.minutes)), int(np.ceil(60 * self.settings.minutes))
            left = max(0.0, 60 * self.settings.minutes - elapsed)
        else:
            done, total = step, self.settings.steps
            left = elapsed / step * (total - step)
        loss = float(np.mean(recent))
        if step % _REPORTED == 0 or (self.settings.steps is not None and step == self.settings.steps):
            self.losses.append((step, round(loss, 5)))
            recent.clear()
        self.progress(done, total, f"step {step}, loss {loss:.3f}, {_duration(left)} left")

    def _check(self, step: int, weights: NetworkWeights, card: ModelCard | None) -> bool:
        """Score the held-out images; return whether this is the best state so far."""
        segmenter = segmenter_of(weights, card, threads=self.settings.threads)
        score, _ = score_held_out(segmenter, self.held_out, diameter=self.settings.diameter, cancel=self.cancel)
        check = Check(step, score)
        best = max((c.value for c in self.checks[1:]), default=-1.0)  # of the states that were trained
        self.checks.append(check)
        if self.on_check is not None:
            self.on_check(check)
        return check.value > best

    def _weights(self, state: dict[str, Any]) -> NetworkWeights:
        arrays = {
            name: np.ascontiguousarray(value.detach().float().numpy())
            for name, value in state.items()
            if not name.endswith("num_batches_tracked")
        }
        usual = float(np.median([example.diameter for example in self.examples]))
        arrays["diam_labels"] = np.array([usual], dtype=np.float32)
        return check_weights(arrays, name="the trained network")

    def _batch(self, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        """Return tensors of images (N, C, S, S), targets (N, 3, S, S), and annotated pixels (N, 1, S, S)."""
        import torch

        settings = _augmentation(self.base.diam_mean)
        chosen = rng.integers(len(self.examples), size=self.settings.batch)
        crops = [self.examples[i].random_crop(rng, settings) for i in chosen]
        images = np.zeros((len(crops), self.base.n_channels, settings.crop, settings.crop), dtype=np.float32)
        images[:, 0] = [image for image, _, _ in crops]
        targets = np.stack([target for _, target, _ in crops])
        known = np.stack([annotated for _, _, annotated in crops])[:, None]
        return torch.from_numpy(images), torch.from_numpy(targets), torch.from_numpy(known)


def _augmentation(diam_mean: float) -> AugmentationSettings:
    """Return how crops are changed: as in the base's training, but neither empty nor inverted."""
    from napari_marrow.segmentation.augmentation import AugmentationSettings

    crop = 160 if diam_mean <= 20 else 224
    return AugmentationSettings(crop=crop, diam_mean=diam_mean, p_empty=0.0, p_invert=0.0)


def _set_trained(network: Any, freeze: Freeze) -> None:
    """Put the network in training mode, apart from what is frozen."""
    network.train()
    if freeze == "encoder":
        network.downsample.eval()
        for parameter in network.downsample.parameters():
            parameter.requires_grad_(False)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
