"""The learning rate over a training."""

from __future__ import annotations

import numpy as np


def one_cycle(fraction: float, rate: float, *, warm_up: float = 0.12) -> float:
    """Return the learning rate at a fraction 0..1 of the training: half a cosine up, half a cosine down to nothing."""
    if fraction < warm_up:
        return rate * (0.04 + 0.96 * 0.5 * (1 - float(np.cos(np.pi * fraction / warm_up))))
    rest = (fraction - warm_up) / (1 - warm_up)
    return rate * max(1e-3, 0.5 * (1 + float(np.cos(np.pi * min(rest, 1.0)))))
