"""Labels of a plane that is too large to be held, from its flows strip by strip: exactly those of the whole plane.

Nothing is cut and joined again. Rows are taken in, and every step goes as far as what it needs is certain:

1. A pixel is followed as soon as its way stays within the rows at hand.
2. The histogram of end points is complete up to the row that no pixel beyond can reach: it would have to go
   farther than ``n_steps`` times the fastest vertical flow.
3. Seeds, and the basins around them, are known a few rows behind; a pixel has its label when its end lies in them. A
   label is complete when as many pixels have it as end points lie in its basin.
4. The flow error of a label is formed when its neighbours are complete as well, since their heat counts.
5. Holes are filled unless a label that is not decided yet takes part, even by what it may become below the last row.
6. Rows above all undecided labels are numbered and given out.

What is kept are the rows between. The number of cells over a plane in strips is the number without strips, and so are
the labels; only the diffusion steps of the flow error (`dynamics.diffusion_steps`) follow a rule for large planes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.segmentation import row_kernels as kernels
from napari_marrow.segmentation.flows import diffusion_steps
from napari_marrow.segmentation.threads import in_chunks

Labels = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_GROWTH = 5  # rows that a seed grows, and that must be complete around it
_OPEN, _DROPPED, _KEPT, _FINAL = range(4)


class _Rows:
    """A window of rows of a plane that grows below and shrinks above."""

    def __init__(self, width: tuple[int, ...], dtype: npt.DTypeLike, top: int = 0) -> None:
        self.top = top
        self.values: npt.NDArray[Any] = np.zeros((0, *width), dtype=dtype)

    @property
    def end(self) -> int:
        return self.top + len(self.values)

    def append(self, rows: npt.NDArray[Any]) -> None:
        self.values = np.concatenate([self.values, rows]) if len(self.values) else rows

    def extend(self, end: int, fill: int = 0) -> None:
        if end > self.end:
            self.append(np.full((end - self.end, *self.values.shape[1:]), fill, dtype=self.values.dtype))

    def drop(self, top: int) -> None:
        """Forget the rows above `top`."""
        top = min(top, self.end)
        if top > self.top:
            self.values = self.values[top - self.top :].copy()
            self.top = top

    def rows(self, first: int, last: int) -> npt.NDArray[Any]:
        return self.values[first - self.top : last - self.top]


class _Objects:
    """What is known of every label; the arrays grow as seeds are found. Entry 0 is the background."""

    def __init__(self) -> None:
        self.n = 1
        self.boxes = np.zeros((1, 4), dtype=np.int32)
        self.counts = np.zeros(1, dtype=np.int64)
        self.expected = np.zeros(1, dtype=np.int64)
        self.peaks = np.zeros(1, dtype=np.int32)
        self.rows = np.zeros(1, dtype=np.int32)
        self.state = np.full(1, _DROPPED, dtype=np.int8)
        self.numbers = np.zeros(1, dtype=np.int32)

    def add(self, seeds: Labels, peaks: Labels) -> int:
        """Add seeds (y, x) and return the label of the first."""
        first, self.n = self.n, self.n + len(seeds)
        for name in ("boxes", "counts", "expected", "peaks", "rows", "state", "numbers"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros((len(seeds), *old.shape[1:]), old.dtype)]))
        self.peaks[first:] = peaks
        self.rows[first:] = seeds[:, 0]
        return first


class MaskStream:
    """Takes a network's output for a plane from top to bottom and gives its labels from top to bottom.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the plane.
    emit : callable
        Called as ``emit(first_row, labels)`` with int32 rows (n, width), each row once and in order.
    n_steps, cellprob_threshold, flow_threshold, min_size, max_size_fraction, threads
        See `dynamics.compute_masks`.

    Attributes
    ----------
    n_labels : int
        Labels given out.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        emit: Callable[[int, Labels], object],
        *,
        n_steps: int = 200,
        cellprob_threshold: float = 0.0,
        flow_threshold: float | None = 0.4,
        min_size: int = 15,
        max_size_fraction: float = 0.4,
        threads: int | None = None,
    ) -> None:
        self.height, self.width = shape
        self.emit = emit
        self.n_steps = n_steps
        self.cellprob_threshold = cellprob_threshold
        self.flow_threshold = flow_threshold or 0.0
        self.min_size = min_size
        self.max_size = max_size_fraction * self.height * self.width
        self.threads = threads or min(8, os.cpu_count() or 1)
        self.n_labels = 0
        self._objects = _Objects()
        self._fastest = 0.0
        self._closed = False
        self._seeded = self._settled = 0  # rows in which seeds are known, in which basins are final
        padded = self.width + 2 * _GROWTH
        self._field = _Rows((self.width + 2, 2), np.float32, top=-1)
        self._field.extend(0)
        # y * width + x of an end point
        self._place = np.int32 if self.height * self.width < 2**31 else np.int64
        self._ends = _Rows((self.width,), self._place)
        self._counted = _Rows((self.width,), np.bool_)
        self._histogram = _Rows((padded,), np.int32)
        self._basins = _Rows((padded,), np.int32)
        self._labels = _Rows((self.width,), np.int32)
        self._final = _Rows((self.width,), np.int32)

    def push(self, flows: Floats, cellprob: Floats) -> None:
        """Take the next rows: flows (2, n, width) and logits (n, width)."""
        inside = cellprob > self.cellprob_threshold
        rows = np.zeros((len(cellprob), self.width + 2, 2), dtype=np.float32)
        for axis in range(2):
            np.multiply(flows[axis], inside, out=rows[:, 1:-1, axis])
        rows /= np.float32(5)
        self._fastest = max(self._fastest, float(np.abs(rows[..., 0]).max(initial=0)))
        self._field.append(rows)
        ends = np.where(inside, self._place(kernels.UNKNOWN), self._place(kernels.OUTSIDE))
        self._ends.append(ends)
        self._counted.append(np.zeros(ends.shape, dtype=np.bool_))
        if self._field.end == self.height:
            self._closed = True
            self._field.extend(self.height + 1)
        self._advance()

    @property
    def finished(self) -> bool:
        """Whether all rows were given out."""
        return self._final.top == self.height

    @property
    def held_rows(self) -> int:
        """Rows of the network's output that are held."""
        return len(self._field.values)

    def _advance(self) -> None:
        followed = self._follow()
        reach = int(np.ceil(self.n_steps * self._fastest)) + 3
        # The network's last row is in and every pixel followed: nothing is to come any more.
        done = self._closed and followed == self.height
        complete = self.height if done else max(0, followed - reach)
        self._seed(complete, done=done)
        labelled = self._label()
        self._decide(labelled)
        undecided = self._fill(labelled)
        self._give(labelled, undecided)
        self._forget(followed, labelled, reach)

    def _follow(self) -> int:
        """Follow what can be followed; return the first row with a pixel that cannot."""
        ends, field, top = self._ends, self._field.values, self._ends.top
        in_chunks(
            lambda a, b: kernels.follow_rows(
                field, self._field.top, self.height, self.n_steps, ends.values, top, top + a, top + b
            ),
            len(ends.values),
            self.threads,
            least=8,
        )
        # The last step may lead beyond the rows at hand.
        self._histogram.extend(min(self.height, self._field.end + int(np.ceil(self._fastest)) + 1))
        kernels.count_row_ends(ends.values, self._counted.values, self._histogram.values, self._histogram.top)
        return top + int(kernels.first_unknown(ends.values))

    def _seed(self, complete: int, *, done: bool) -> None:
        """Find and grow the seeds of rows whose surroundings are complete."""
        objects, histogram, basins = self._objects, self._histogram, self._basins
        last = self.height if done else max(self._seeded, complete - _GROWTH)
        basins.extend(histogram.end)
        seeds = kernels.find_row_seeds(histogram.values, histogram.top, self._seeded, last)
        if len(seeds):
            peaks = histogram.values[seeds[:, 0] - histogram.top, seeds[:, 1] + _GROWTH]
            first = objects.add(seeds, peaks)
            shift = histogram.top - basins.top
            kernels.grow_row_seeds(histogram.values, basins.values[shift:], histogram.top, seeds, first, objects.peaks)
        self._seeded = last
        settled = self.height if done else max(self._settled, last - _GROWTH)
        shift = histogram.top - basins.top
        kernels.expect(histogram.values, basins.values[shift:], histogram.top, self._settled, settled, objects.expected)
        self._settled = settled
        # A basin reaches a seed's growth below it.
        known = objects.rows + _GROWTH < settled if not done else np.ones(objects.n, dtype=np.bool_)
        large = known & (objects.expected > self.max_size) & (objects.state == _OPEN)
        objects.state[large] = _DROPPED

    def _label(self) -> int:
        """Give pixels their labels as far down as they are known; return that row."""
        objects, ends = self._objects, self._ends
        n = int(kernels.count_settled(ends.values, self._settled))
        rows = np.zeros((n, self.width), dtype=np.int32)
        kernels.label_rows(
            ends.values[:n], ends.top, self._basins.values, self._basins.top, objects.boxes, objects.counts,
            rows,
        )  # fmt: skip
        self._labels.append(rows)
        self._final.extend(self._labels.end)
        ends.drop(ends.top + n)
        self._counted.drop(ends.top)
        return ends.top

    def _complete(self) -> npt.NDArray[np.bool_]:
        """Return, per label, whether all its pixels have it."""
        objects = self._objects
        known = (objects.rows + _GROWTH < self._settled) | (self._settled == self.height)
        complete: npt.NDArray[np.bool_] = known & (objects.counts == objects.expected)
        complete[0] = True
        return complete

    def _decide(self, labelled: int) -> None:
        """Keep or drop the labels that are complete and have complete neighbours."""
        objects, labels = self._objects, self._labels.values
        complete, dropped = self._complete(), self._large()
        open_ = (objects.state == _OPEN) & (objects.counts > 0)
        blocked, needed = np.zeros(objects.n, dtype=np.bool_), open_ & complete
        reach = np.full(objects.n, self.height, dtype=np.int32)
        kernels.neighbourhood(labels, dropped, complete, objects.boxes, blocked, needed, reach)
        self._reach = reach
        ready = open_ & complete & ~blocked
        if labelled < self.height:
            ready &= objects.boxes[:, 1] < labelled  # the row below may hold a neighbour
        if not ready.any():
            return
        kept = ready & (objects.counts >= self.min_size)
        if self.flow_threshold > 0:
            kernels.neighbourhood(labels, dropped, complete, objects.boxes, blocked, needed := ready.copy(), reach)
            kept &= self._flow_errors(ready, needed) <= self.flow_threshold
        objects.state[ready] = _DROPPED
        objects.state[kept] = _KEPT

    def _large(self) -> npt.NDArray[np.bool_]:
        large: npt.NDArray[np.bool_] = self._objects.expected > self.max_size
        large[0] = True
        return large

    def _flow_errors(self, ready: npt.NDArray[np.bool_], needed: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        objects, labels = self._objects, self._labels
        ids = np.flatnonzero(needed).astype(np.int32)
        steps = diffusion_steps(objects.boxes[ids], least=self.n_steps)
        heat = np.zeros((len(labels.values) + 2, self.width + 2), dtype=np.float64)
        in_chunks(
            lambda a, b: kernels.diffuse_labels(labels.values, labels.top, ids, objects.boxes, steps, a, b, heat),
            len(ids),
            self.threads,
            least=100,
        )
        sums = np.zeros(objects.n, dtype=np.float64)
        field = self._field.rows(labels.top, labels.end)
        kernels.flow_error_sums(heat, labels.values, field, ready, sums)
        return sums / np.maximum(objects.counts, 1)

    def _fill(self, labelled: int) -> npt.NDArray[np.bool_]:
        """Fill holes and finish the labels that no undecided one can change; return the unfinished labels."""
        objects = self._objects
        undecided = (objects.state == _OPEN) & (objects.counts > 0) & ~self._large()
        kept = objects.state == _KEPT
        if not kept.any():
            return undecided
        first = int(objects.boxes[kept | undecided, 0].min())
        labels = self._labels.rows(first, labelled)
        work = kernels.select_labels(labels, kept | undecided)
        if self.min_size > 0:
            pairs = kernels.fill_rows(work, first, objects.boxes, ~undecided)
            undecided = _spread(undecided, np.unique(pairs, axis=0))
            counts = np.zeros(objects.n, dtype=np.int64)
            kernels.count_labels(work, counts)
            objects.state[kept & ~undecided & (counts < self.min_size)] = _DROPPED
        taken = (objects.state == _KEPT) & ~undecided
        kernels.take_rows(work, taken, self._final.rows(first, labelled))
        objects.state[taken] = _FINAL
        return undecided

    def _give(self, labelled: int, undecided: npt.NDArray[np.bool_]) -> None:
        """Give numbers to the rows above all unfinished labels and pass them on."""
        objects, final = self._objects, self._final
        last = labelled
        if undecided.any():
            last = min(last, int(objects.boxes[undecided, 0].min()))
        if last > final.top:
            rows = final.rows(final.top, last)
            self.n_labels = int(kernels.number_rows(rows, objects.numbers, self.n_labels))
            first = final.top
            self.emit(first, rows)
            final.drop(last)

    def _forget(self, followed: int, labelled: int, reach: int) -> None:
        """Let go of rows that nothing will look at again."""
        objects = self._objects
        if labelled < self.height:
            unfinished = np.isin(objects.state, (_OPEN, _KEPT)) & (objects.counts > 0) & ~self._large()
            last_row = self._labels.values[-1:] if len(self._labels.values) else np.zeros((1, 1), dtype=np.int32)
            unfinished[last_row] = True  # the next row's labels will be their neighbours
            unfinished[self._large()] = False
            top = min(labelled, int(self._reach[unfinished].min(initial=labelled)))
            top = min(top, int(objects.boxes[unfinished, 0].min(initial=labelled)))
        else:
            top = labelled
        self._labels.drop(top)
        self._field.drop(min(followed - reach - 2, top))
        self._histogram.drop(self._seeded - 2 * _GROWTH)
        self._basins.drop(min(self._histogram.top, labelled - reach - _GROWTH))


def _spread(undecided: npt.NDArray[np.bool_], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return undecided labels with those that they swallow or are swallowed by, and so on."""
    spread = undecided.copy()
    while True:
        touched = spread[pairs].any(axis=1)
        new = pairs[touched].ravel()
        if spread[new].all():
            return spread
        spread[new] = True
