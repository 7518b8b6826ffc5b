"""How long the window's thread works without a turn of its event loop, and whose work that is.

The time that counts is the processor time of that thread: a machine that others use, too, makes it no longer. A second
thread looks at the window's stack every few milliseconds, which tells whether a block is this package's or napari's.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from qtpy import PYSIDE6

BAR_S = 0.1
"""Work of ours that may keep the window from answering."""
SLACK = 1.0 if os.environ.get("NAPARI_MARROW_WATCHDOG") == "strict" else 2.0
"""How much longer it may take on a machine that is slow, or whose caches others use; `strict` holds it to the bar."""
_SAMPLE_S = 0.004
_KEPT_S = 0.03

Place = tuple[str, str, int]
"""File, function and line of a frame of a stack."""

_ADDING = "adding a layer: napari makes its visuals, shaders, controls and thumbnail"
_STEP = "a step in time or depth: napari slices every layer (benchmarks/gui.py measures it)"
OWN_WORK_OF_NAPARI = {
    ("viewer_model.py", "add_layer"): _ADDING,
    ("add_layer.py_tmpl", "add_labels"): _ADDING,
    ("add_layer.py_tmpl", "add_tracks"): _ADDING,
    ("_evented_list.py", "__delitem__"): "removing a layer: napari takes its visuals and controls down",
    ("_utils.py", "_from_kwarg_name_to_kwarg_name_"): "opening Qt's own file dialog",
    ("viewer_model.py", "_on_layers_change"): "moving a layer: napari slices every layer for the new extent",
    ("viewer_model.py", "reset_view"): "fitting the view: napari slices and draws every layer",
    ("dims.py", "set_current_step"): _STEP,
    ("dims.py", "set_point"): _STEP,
}
"""What only napari's own code can make shorter, by the function of napari that does it: it is measured apart.

Each is one call for one layer, between two of which the window's loop turns. Whatever else we ask of it counts as ours.
"""

SWITCHING = "between planes and volume: napari slices every layer anew, and makes its volumes"
_SWITCHES = {("scene_panel.py", "_display"), ("scene_panel.py", "_on_display")}
IMPORTING = "importing pyqtgraph: PySide6 crashes where widgets are defined beside the window's thread"
OPENING = "opening the dock: napari imports the plugin and asks for its widgets in one call"


@dataclass
class Block:
    """Work between two turns of the loop.

    Attributes
    ----------
    cpu_s : float
        All of it.
    by_owner : Counter
        Seconds by owner: "ours", one of the reasons above, "drawing", "window" (all else).
    stacks : Counter
        Seconds by our part of the stack, of what is ours.
    """

    cpu_s: float
    by_owner: Counter[str] = field(default_factory=Counter)
    stacks: Counter[tuple[Place, ...]] = field(default_factory=Counter)

    @property
    def ours_s(self) -> float:
        return self.by_owner["ours"]

    def __str__(self) -> str:
        shares = ", ".join(f"{owner} {1e3 * s:.0f}" for owner, s in self.by_owner.most_common())
        lines = [f"{1e3 * self.cpu_s:.0f} ms of work ({shares})"]
        for stack, seconds in self.stacks.most_common(4):
            lines.append(f"  {1e3 * seconds:.0f} ms in")
            calls = [place for place in stack if "importlib" not in place[0]]
            lines += [f"    {Path(name).name}:{line} {function}" for name, function, line in calls[:12]]
            lines += [f"    ... {Path(calls[-1][0]).name}:{calls[-1][2]} {calls[-1][1]}"] * (len(calls) > 12)
        return "\n".join(lines)


class Watchdog:
    """Ticks in the window's thread and remembers what was done between two ticks.

    Attributes
    ----------
    wall_s, cpu_s : float
        The longest time between two ticks by the clock, and the most work of the window's thread in one.
    blocks : list of Block
        All in which more than a few hundredths of a second were worked.
    """

    INTERVAL_MS = 5

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._thread = threading.main_thread()
        assert self._thread.ident is not None
        self._clock = time.pthread_getcpuclockid(self._thread.ident)
        self._ending = threading.Event()
        self.restart()
        self._timer.start(self.INTERVAL_MS)
        self._sampler = threading.Thread(target=self._look, name="watchdog", daemon=True)
        self._sampler.start()

    def restart(self) -> None:
        self.wall_s = self.cpu_s = 0.0
        self.ticks = 0
        self.blocks: list[Block] = []
        self._samples: list[tuple[float, list[Place]]] = []
        self._last = time.perf_counter(), time.thread_time()

    def stop(self) -> None:
        self._timer.stop()
        self._ending.set()
        self._sampler.join()

    def check(self, what: str, *, ticks: int = 20) -> None:
        """Fail where work of ours kept the window for longer than the bar; say what napari's own work took."""
        print(self.told(what))  # noqa: T201 - the bar is stated where tests run with -s
        assert self.ticks > ticks, f"{what}: the loop turned only {self.ticks} times"
        over = [block for block in self.blocks if block.ours_s > SLACK * BAR_S]
        assert not over, f"{what}: the window did not answer\n" + "\n".join(str(block) for block in over)

    def told(self, what: str) -> str:
        """Return the longest block of each owner."""
        longest: Counter[str] = Counter()
        for block in self.blocks:
            for owner, seconds in block.by_owner.items():
                longest[owner] = max(longest[owner], seconds)
        shares = "; ".join(f"{owner} {1e3 * seconds:.0f} ms" for owner, seconds in longest.most_common())
        return f"{what}: longest work without an answer {1e3 * self.cpu_s:.0f} ms; by owner: {shares or 'none'}"

    def _tick(self) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        samples, self._samples = self._samples, []
        worked = cpu - self._last[1]
        self.wall_s = max(self.wall_s, wall - self._last[0])
        self.cpu_s = max(self.cpu_s, worked)
        if worked > _KEPT_S:
            self.blocks.append(_block(samples, self._last[1], cpu))
        # what was done here is nobody's
        self._last = wall, time.thread_time()
        self.ticks += 1

    def _look(self) -> None:
        before = 0.0
        while not self._ending.wait(_SAMPLE_S):
            now = time.clock_gettime(self._clock)
            if now - before > 5e-4:
                # no frame is held longer than this line: with it would live what it paints with
                self._samples.append((now, _places(sys._current_frames().get(self._thread.ident or 0))))
            before = now


def _places(frame: FrameType | None) -> list[Place]:
    """Return a stack, outermost frame first."""
    found: list[Place] = []
    while frame is not None:
        found.append((frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def _block(samples: list[tuple[float, list[Place]]], start: float, end: float) -> Block:
    block = Block(end - start)
    at = start
    for cpu, stack in samples:
        if cpu <= at:
            continue
        seconds, at = min(cpu, end) - at, cpu
        owner, ours = owner_of(stack)
        block.by_owner[owner] += seconds
        if owner == "ours":
            block.stacks[ours] += seconds
    return block


def owner_of(stack: list[Place]) -> tuple[str, tuple[Place, ...]]:
    """Return whose work a stack is, and the part of it from the first frame of the window's code on.

    Parameters
    ----------
    stack : list of (str, str, int)
        Outermost frame first.
    """
    ours = [k for k, (name, _, _) in enumerate(stack) if "/napari_marrow/" in name]
    if not any("/napari_marrow/gui/" in stack[k][0] for k in ours):
        drawing = any(function in ("on_draw", "paintGL", "paintEvent") for _, function, _ in stack)
        return ("drawing" if drawing else "window"), ()
    if any(function == "add_plugin_dock_widget" for _, function, _ in stack):
        return OPENING, ()
    if PYSIDE6 and any(name.endswith("/pyqtgraph/__init__.py") for name, _, _ in stack):
        return IMPORTING, ()
    if any((Path(name).name, function) in _SWITCHES for name, function, _ in stack):
        return SWITCHING, ()
    for name, function, _ in stack[ours[-1] + 1 :]:
        reason = OWN_WORK_OF_NAPARI.get((Path(name).name, function))
        if reason is not None:
            return reason, ()
        if function in ("on_draw", "paintGL"):
            return "drawing", ()
    return "ours", tuple(stack[ours[0] :])
