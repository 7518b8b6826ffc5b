"""One step of training: the loss of a Cellpose network, the optimiser's step, the running mean of the weights.

Imports torch; never import this module at the top of one that users' first commands load.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

LARGEST_GRADIENT = 2.0
"""Norm to which gradients are clipped."""


def take_step(
    network: Any,
    optimiser: Any,
    trained: list[Any],
    images: Any,
    targets: Any,
    known: Any | None = None,
    *,
    half: bool = True,
) -> float:
    """Take one optimiser step and return the loss.

    Parameters
    ----------
    network : torch module
        In the mode that it is to be trained in.
    optimiser : torch optimiser
    trained : list of parameters
        Those whose gradients are clipped.
    images : tensor, shape (N, C, Y, X)
    targets : tensor, shape (N, 3, Y, X)
        Unit flow y, x, and 1 inside cells.
    known : tensor, shape (N, 1, Y, X), optional
        1 where pixels are annotated; the others do not count.
    half : bool
        Compute in bfloat16.

    Returns
    -------
    float
        Half the mean squared error of 5 x flow plus the cross-entropy of the cell probability (Stringer et al. 2021,
        Nature Methods 18:100).
    """
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        output, _ = network(images.to(memory_format=torch.channels_last))
    output = output.float()
    known = torch.ones_like(targets[:, :1]) if known is None else known
    n = known.sum().clamp(min=1)
    loss = (known * (output[:, :2] - 5 * targets[:, :2]) ** 2).sum() / (4 * n)
    cross = functional.binary_cross_entropy_with_logits(output[:, 2], targets[:, 2], reduction="none")
    loss = loss + (known[:, 0] * cross).sum() / n
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, LARGEST_GRADIENT)
    optimiser.step()
    return float(loss.detach())


def update_mean(mean: dict[str, Any], network: Any, decay: float) -> None:
    """Move the running mean of all parameters and statistics towards the network's, in place."""
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            mean[name].lerp_(value.detach(), 1 - decay)
        else:
            mean[name].copy_(value)
