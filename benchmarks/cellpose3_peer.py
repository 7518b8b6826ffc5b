"""What Cellpose 3 itself computes; run by its own interpreter (see `cellpose3_venv`), never by this project's.

Usage: ``python cellpose3_peer.py outputs IN.npz OUT.npz`` or ``python cellpose3_peer.py masks IN.npz OUT.npz``.
"""

from __future__ import annotations

import resource
import sys
import time
import warnings

import numpy as np
import torch
from cellpose import core, dynamics, models, resnet_torch, transforms


class AnyWidth(torch.nn.Module):
    """A network whose style is padded to the 256 values that `core.run_net` wants, whatever its width."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net
        self.device, self.mkldnn, self.nout = torch.device("cpu"), False, 3

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return output and padded style."""
        y, style = self.net(x)[:2]
        return y, torch.nn.functional.pad(style, (0, 256 - style.shape[1]))


def network(given: dict[str, np.ndarray]) -> resnet_torch.CPnet:
    """Return Cellpose's network with the parameters under ``w:``."""
    state = {name[2:]: torch.from_numpy(value) for name, value in given.items() if name.startswith("w:")}
    widths = [int(w) for w in given["widths"]]
    net = resnet_torch.CPnet(nbase=widths, nout=3, sz=3, mkldnn=False)
    missing = net.load_state_dict(state, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    return net.eval()


def model(net: resnet_torch.CPnet) -> models.CellposeModel:
    """Return Cellpose's model around a network of any width."""
    whole = models.CellposeModel.__new__(models.CellposeModel)
    whole.net, whole.device, whole.gpu, whole.nchan = AnyWidth(net), torch.device("cpu"), False, 2
    whole.diam_mean, whole.diam_labels = float(net.diam_mean), float(net.diam_labels)
    whole.net_ortho, whole.pretrained_model = None, "given"
    return whole


def outputs(given: dict[str, np.ndarray], saved: str) -> dict[str, np.ndarray]:
    """Return output and style of tiles, of a plane in tiles, and of `eval` of two channels; save the network's file."""
    net = network(given)
    net.save_model(saved)
    torch.save(torch.nn.DataParallel(net).state_dict(), saved + "-parallel")
    with torch.no_grad():
        y, style = net(torch.from_numpy(given["x"]))[:2]
    tiled, tiled_style = core.run_net(AnyWidth(net), given["plane"][None], batch_size=8)
    whole = model(net)
    _, flows, whole_style = whole.eval(
        given["image"], channels=[1, 2], channel_axis=-1, diameter=float(given["diameter"]), compute_masks=False
    )
    return {
        "y": y.numpy(),
        "style": style.numpy(),
        "tiled": tiled[0].transpose(2, 0, 1),
        "tiled_style": tiled_style[0, : style.shape[1]],
        "eval": np.concatenate([flows[1], flows[2][None]]),
        "eval_style": np.ravel(whole_style)[: style.shape[1]],
        "normalised": transforms.normalize_img(given["image"].astype(np.float32), axis=-1),
    }


def masks(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the labels of frames, and the seconds that the whole way and its parts took."""
    whole = model(network(given))
    found: dict[str, np.ndarray] = {}
    timed: dict[str, float] = {}
    run_net, compute = core.run_net, dynamics.resize_and_compute_masks

    def clocked(name: str, function: object) -> object:
        def call(*arguments: object, **options: object) -> object:
            started = time.perf_counter()
            result = function(*arguments, **options)
            timed[name] = timed.get(name, 0) + time.perf_counter() - started
            return result

        return call

    models.run_net = clocked("network", run_net)
    models.dynamics.resize_and_compute_masks = clocked("masks", compute)
    names = sorted(name for name in given if name.startswith("frame:"))
    whole.eval(given[names[0]][:256, :256], channels=[0, 0], diameter=20.0)  # warm up
    for name in names:
        timed.clear()
        started, used = time.perf_counter(), time.process_time()
        labels = whole.eval(given[name], channels=[0, 0], diameter=float(given["diameter"]))[0]
        seconds = (time.perf_counter() - started, time.process_time() - used, timed["network"], timed["masks"])
        found[name], found["seconds:" + name[6:]] = labels.astype(np.int32), np.array(seconds)
    found["peak_mb"] = np.array(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def main() -> None:
    """Run one of the commands."""
    command, source, target = sys.argv[1:4]
    warnings.simplefilter("ignore")
    with np.load(source) as file:
        given = dict(file)
    if "threads" in given:
        torch.set_num_threads(int(given["threads"]))
    result = outputs(given, target + ".model") if command == "outputs" else masks(given)
    np.savez(target, **result)


if __name__ == "__main__":
    main()
