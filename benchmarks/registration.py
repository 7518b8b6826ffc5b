"""Registration against the simulator's truth: drift within a session, and sessions after remounting.

    python benchmarks/registration.py [--seeds N] [--peer FOLDER]

Errors are distances in the sample between where a pixel is placed and where it truly lies: within a session in px (the
field only moves), between sessions in µm, the mean over the field's centre and corners. Wrong: accepted, and off by
more than 10 µm. `--peer FOLDER` installs pystackreg into an environment in FOLDER and runs it on the same images.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_marrow import simulation
from napari_marrow.imaging import DriftTracker, register_sessions
from napari_marrow.simulation import Design, Faults, Geometry, Imaging, SessionPlan

Image = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
"""3 x 3, from the moving image into the reference, µm (y, x, 1)."""

CHANNELS = ("nuclei", "CD31", "CD235a", "CD41", "CD11b", "scaffold")
SPACING = (1.02, 1.02)
WRONG_UM = 10.0


def scenario(seed: int, *, light: float = 1.0, swelling: float = 0.0) -> simulation.Scenario:
    """One organoid: 16 frames on day 4 with drift, and one frame each on days 10 and 16, far away and turned."""
    imaging = Imaging(shape=(1, 512, 512))
    imaging = replace(imaging, electrons={name: light * value for name, value in imaging.electrons.items()})
    return replace(
        simulation.preset("tutorial", seed=seed),
        name="registration",
        sessions=(
            SessionPlan("dense", 96.0, 16, 1.0, CHANNELS),
            SessionPlan("sparse", 240.0, channels=CHANNELS),
            SessionPlan("sparse", 384.0, channels=CHANNELS),
        ),
        geometry=Geometry(radius_um=230.0),
        imaging=imaging,
        faults=Faults(
            shift_um=(0.0, 200.0), rotation_deg=(0.0, 5.0), drift_um_per_h=0.8, drift_jitter_um=0.4,
            swelling_per_day=swelling,
        ),
        design=Design(),
    )  # fmt: skip


def homogeneous(matrix: Matrix, shift: Matrix) -> Matrix:
    """Return a 3 x 3 matrix."""
    result = np.eye(3)
    result[:2, :2], result[:2, 2] = matrix, shift
    return result


def places(shape: tuple[int, ...]) -> Matrix:
    """Return the centre and corners of a field, µm, as columns (3, 5)."""
    y, x = (n * s for n, s in zip(shape, SPACING, strict=True))
    return np.array([[y / 2, 0, 0, y, y], [x / 2, 0, x, 0, x], [1, 1, 1, 1, 1]], dtype=float)


def error_um(found: Matrix, true: Matrix, shape: tuple[int, ...]) -> float:
    """Return the mean distance over the field's centre and corners."""
    at = places(shape)
    return float(np.linalg.norm(((found - true) @ at)[:2], axis=0).mean())


def plane(session: simulation.experiment.SimulatedSession, t: int, channel: str) -> Image:
    """Return a channel of a frame as the pipeline compares it."""
    return session.frame(t)[list(session.channels).index(channel)].max(axis=0).astype(np.float32)


def true_transform(first: simulation.experiment.SimulatedSession, a: int, other: object, b: int) -> Matrix:
    """Return the map from a frame of the other session into frame a of the first."""
    onto_first = homogeneous(*first.acquisition.registration(a))
    return np.linalg.inv(onto_first) @ homogeneous(*other.acquisition.registration(b))  # type: ignore[attr-defined]


def drift_of(stack: list[Image]) -> list[Matrix]:
    """Place every frame on the first, as the step *register* does."""
    tracker = DriftTracker(spacing=SPACING)
    return [homogeneous(found.matrix, found.shift) for found in map(tracker.add, stack)]


def phase_correlation(stack: list[Image]) -> list[Matrix]:
    """Place every frame on the first with scikit-image."""
    from skimage.registration import phase_cross_correlation

    shifts = [phase_cross_correlation(stack[0], frame, upsample_factor=10)[0] for frame in stack]
    return [homogeneous(np.eye(2), shift * np.asarray(SPACING)) for shift in shifts]


class StackReg:
    """pystackreg in an environment of its own."""

    SCRIPT = (
        "import sys, numpy as np\nfrom pystackreg import StackReg\n"
        "stack = np.load(sys.argv[1])\nkind = getattr(StackReg, sys.argv[2])\n"
        "if len(stack) == 2:\n    m = StackReg(kind).register(stack[0], stack[1])[None]\n"
        "    m = np.concatenate([np.eye(3)[None], m])\n"
        "else:\n    m = StackReg(kind).register_stack(stack, reference='first')\n"
        "np.save(sys.argv[3], m)\n"
    )

    def __init__(self, folder: Path) -> None:
        self.python = folder / "pystackreg" / "bin" / "python"
        if not self.python.exists():
            venv.create(folder / "pystackreg", with_pip=True)
            subprocess.run([self.python, "-m", "pip", "install", "--quiet", "pystackreg"], check=True)

    def __call__(self, stack: list[Image], kind: str) -> list[Matrix]:
        """Place every image on the first; StackReg maps the reference's (x, y) pixels into the moving image."""
        with tempfile.TemporaryDirectory() as folder:
            images, result = Path(folder) / "stack.npy", Path(folder) / "found.npy"
            np.save(images, np.stack(stack))
            subprocess.run([self.python, "-c", self.SCRIPT, images, kind, result], check=True)
            swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])
            scale = np.diag([*SPACING, 1.0])
            found = np.load(result)
        return [scale @ swap @ np.linalg.inv(m) @ swap @ np.linalg.inv(scale) for m in found]


def within(seeds: range, peer: StackReg | None) -> None:
    """Print the errors of drift within a session."""
    methods: dict[str, Callable[[list[Image]], list[Matrix]]] = {
        "marrow": drift_of,
        "scikit-image, phase correlation": phase_correlation,
    }
    if peer is not None:
        methods["pystackreg, translation"] = lambda stack: peer(stack, "TRANSLATION")
    print("\n| within a session | channel | method | median, px | 95 % below, px | largest, px | CPU ms per frame |")
    print("|---|---|---|---|---|---|---|")
    for light in (1.0, 0.2):
        sessions = [first_session(scenario(seed, light=light)) for seed in seeds]
        for channel in ("nuclei", "CD31"):
            stacks = [[plane(s, t, channel) for t in range(s.shape[0])] for s in sessions]
            jobs: dict[str, Callable[[], list[list[Matrix]]]] = {
                name: partial(lambda way, films: [way(film) for film in films], method, stacks)
                for name, method in methods.items()
            }
            if channel == "nuclei":
                jobs["the cells' true steps, their mean"] = partial(
                    lambda films: [true_steps(f) for f in films], sessions
                )
            for name, job in jobs.items():
                errors = []
                begin = time.process_time()
                founds = job()
                used = 1000 * (time.process_time() - begin) / sum(map(len, stacks))
                for session, found in zip(sessions, founds, strict=True):
                    for t, matrix in enumerate(found[1:], start=1):
                        errors.append(error_um(matrix, true_transform(session, 0, session, t), (512, 512)) / SPACING[0])
                cost = "" if name.startswith(("pystackreg", "the cells")) else f"{used:.0f}"
                print(
                    f"| light {light:g} | {channel} | {name} | {np.median(errors):.2f} | "
                    f"{np.quantile(errors, 0.95):.2f} | {max(errors):.2f} | {cost} |",
                    flush=True,
                )


def true_steps(session: simulation.experiment.SimulatedSession) -> list[Matrix]:
    """Place every frame by the mean of the cells' true steps: the most that nuclei can tell, were each one known."""
    from scipy import ndimage

    places: list[dict[int, npt.NDArray[np.float64]]] = []
    for t in range(session.shape[0]):
        labels = session.labels(t).max(axis=0) if session.labels(t).ndim == 3 else session.labels(t)
        numbers = np.unique(labels)[1:]
        centres = np.array(ndimage.center_of_mass(np.ones_like(labels), labels, numbers)) * SPACING
        places.append(dict(zip(numbers.tolist(), centres, strict=True)))
    shift, found = np.zeros(2), [np.eye(3)]
    for before, after in pairwise(places):
        shift = shift - np.mean([after[k] - before[k] for k in after.keys() & before.keys()], axis=0)
        found.append(homogeneous(np.eye(2), shift))
    return found


def first_session(chosen: simulation.Scenario) -> simulation.experiment.SimulatedSession:
    """Return the first session of a scenario."""
    experiment = simulation.simulate(chosen)
    return experiment.sessions(experiment.positions[0])[0]


def between(seeds: range, peer: StackReg | None) -> None:
    """Print the errors between sessions six days apart."""
    print("\n| between sessions | channel | method | pairs | accepted | wrong | median, µm | 95 % below, µm | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for swelling in (0.0, 0.004):
        pairs = []
        for seed in seeds:
            experiment = simulation.simulate(scenario(seed, swelling=swelling))
            sessions = experiment.sessions(experiment.positions[0])
            pairs += list(pairwise(sessions))
        for channel in ("scaffold", "CD31", "nuclei"):
            images = [[plane(a, a.shape[0] - 1, channel), plane(b, 0, channel)] for a, b in pairs]
            truths = [true_transform(a, a.shape[0] - 1, b, 0) for a, b in pairs]
            for name, method in session_methods(peer, swelling > 0).items():
                begin = time.process_time()
                results = [method(two) for two in images]
                used = (time.process_time() - begin) / len(images)
                print_between(swelling, channel, name, results, truths, used)


def session_methods(peer: StackReg | None, affine: bool) -> dict[str, Callable[[list[Image]], tuple[Matrix, bool]]]:
    """Return the ways of placing one image on another: matrix, and whether it is accepted."""

    def ours(kind: str) -> Callable[[list[Image]], tuple[Matrix, bool]]:
        def place(two: list[Image]) -> tuple[Matrix, bool]:
            found = register_sessions(two[0], two[1], spacing=SPACING, kind=kind)
            return homogeneous(found.matrix, found.shift), found.accepted

        return place

    methods = {"marrow, rigid": ours("rigid"), "marrow, affine": ours("affine")}
    if peer is not None:
        kind = "AFFINE" if affine else "RIGID_BODY"
        methods[f"pystackreg, {kind.lower().replace('_', ' ')}"] = lambda two: (peer(two, kind)[1], True)
    return methods


def print_between(
    swelling: float, channel: str, name: str, results: list[tuple[Matrix, bool]], truths: list[Matrix], used: float
) -> None:
    """Print a row: errors of the accepted ones."""
    kept = [error_um(m, true, (512, 512)) for (m, good), true in zip(results, truths, strict=True) if good]
    wrong = sum(e > WRONG_UM for e in kept)
    scene = f"gel grows {100 * swelling:g} % a day" if swelling else "rigid"
    median, high = (f"{np.quantile(kept, q):.2f}" if kept else "" for q in (0.5, 0.95))
    cost = "" if name.startswith("pystackreg") else f"{used:.2f}"
    print(
        f"| {scene} | {channel} | {name} | {len(results)} | {len(kept)} | {wrong} | {median} | {high} | {cost} |",
        flush=True,
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--peer", type=Path, help="folder for the environment of pystackreg")
    options = parser.parse_args()
    peer = StackReg(options.peer) if options.peer else None
    within(range(701, 701 + options.seeds // 2), peer)
    between(range(701, 701 + options.seeds), peer)


if __name__ == "__main__":
    sys.exit(main())
