"""The cells of a session as labels that can be painted on: only frames that were touched are in memory. Knows no Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.gui.lazy_labels import TrackLookup
from napari_marrow.pipeline.painting import painted

if TYPE_CHECKING:
    from napari_marrow.study import SessionLabels
    from napari_marrow.study.edits import Entry

Labels = npt.NDArray[np.int32]


class PaintableLabels:
    """What napari slices and paints on: (T, Z, Y, X), without Z where `flat`.

    A frame is read when it is looked at, with the strokes that stand on it. What is painted stays in memory until it
    was kept in the study. Slices may be asked for by other threads.

    Parameters
    ----------
    labels : SessionLabels
        As they were segmented.
    flat : bool
    strokes : mapping of int to sequence of Entry
        What was painted, by frame.
    lookup : TrackLookup, optional
        Show tracks instead of labels.
    largest : int
        No label is larger.

    Attributes
    ----------
    on_change : callable or None
        Called after pixels were set.
    """

    def __init__(
        self,
        labels: SessionLabels,
        *,
        flat: bool,
        strokes: Mapping[int, Sequence[Entry]],
        lookup: TrackLookup | None,
        largest: int,
    ) -> None:
        self._labels, self._flat, self._lookup = labels, flat, lookup
        self._strokes = dict(strokes)
        self._written = frozenset(labels.times)
        n_frames, _, height, width = labels.shape
        self.shape: tuple[int, ...] = (n_frames, height, width) if flat else labels.shape
        self.dtype, self.ndim, self.size = np.dtype(np.int32), len(self.shape), int(np.prod(self.shape))
        self._touched: dict[int, Labels] = {}
        self._changes: dict[int, int] = {}
        self._recent: tuple[int, Labels] | None = None
        self._top = largest if lookup is None else lookup.spare + max(largest, lookup.largest_label)
        self._lock = RLock()
        self.on_change: Callable[[], None] | None = None

    # --- as an array

    def __getitem__(self, key: Any) -> Any:
        times, rest = self._parts(key)
        with self._lock:
            if isinstance(times, int):
                return self._shown(times)[rest].copy()
            if isinstance(times, slice):
                frames = [self._shown(t)[rest] for t in range(*times.indices(self.shape[0]))]
                return np.stack(frames) if frames else np.zeros((0, *self.shape[1:]), np.int32)[(slice(None), *rest)]
            found = np.zeros(times.shape, np.int32)
            for t, here in _by_frame(times):
                found[here] = self._shown(t)[tuple(index[here] for index in rest)]
            return found

    def __setitem__(self, key: Any, value: Any) -> None:
        times, rest = self._parts(key)
        values = np.asarray(value)
        with self._lock:
            if isinstance(times, int):
                self._at_hand(times)[rest] = values
            elif isinstance(times, slice):
                frames = range(*times.indices(self.shape[0]))
                for k, t in enumerate(frames):
                    self._at_hand(t)[rest] = values[k] if values.ndim == self.ndim else values
            else:
                values = np.broadcast_to(values, times.shape)
                for t, here in _by_frame(times):
                    self._at_hand(t)[tuple(index[here] for index in rest)] = values[here]
            self._top = max(self._top, int(values.max(initial=0)))
        if self.on_change is not None:
            self.on_change()

    def __deepcopy__(self, memo: dict[int, Any]) -> PaintableLabels:
        """Return labels of their own, for napari's *Duplicate Layer*; the study hears of them when they are saved."""
        with self._lock:
            other = PaintableLabels(
                self._labels, flat=self._flat, strokes=self._strokes, lookup=deepcopy(self._lookup, memo), largest=0
            )
            other._touched = {t: frame.copy() for t, frame in self._touched.items()}
            other._changes, other._top = dict(self._changes), self._top
        return other

    def max(self, *_: Any, **__: Any) -> int:
        """Return a number that no label is shown above: what napari's "new label" asks for, without a look at all."""
        return self._top

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)

    # --- keeping it

    @property
    def touched(self) -> list[int]:
        """Frames that were painted in and not kept yet."""
        return sorted(self._touched)

    def draft(self, t: int) -> tuple[int, Labels]:
        """Return how often a frame was painted in, and a copy of it as it is shown, (Z, Y, X)."""
        with self._lock:
            shown = self._touched[t].copy()
        return self._changes[t], shown[np.newaxis] if self._flat else shown

    def to_keep(self, t: int, shown: Labels) -> Labels:
        """Return the labels of a frame as the study keeps them, from what is shown, both (Z, Y, X).

        A track that was painted where it has no cell gets a label of its own in the frame.
        """
        before = self._standing(t)
        if self._lookup is None:
            return shown
        changed = shown != self._lookup.apply(t, before)
        labels, largest = before.copy(), int(before.max(initial=0))
        for value in np.unique(shown[changed]).tolist():
            label = self._lookup.label_of(t, value)
            if label is None:
                label = max(largest, self._lookup.largest_label) + 1
                self._lookup.show(t, label, value)
            largest = max(largest, label)
            labels[changed & (shown == value)] = label
        return labels

    def settle(self, t: int, change: int, strokes: Sequence[Entry]) -> None:
        """Take in that a frame was kept; what was painted since stays touched.

        Parameters
        ----------
        t, change
            Frame, and what `draft` said of it.
        strokes : sequence of Entry
            What stands on the frame now.
        """
        with self._lock:
            self._strokes[t] = list(strokes)
            if self._changes.get(t) == change:
                self._touched.pop(t, None)
                self._recent = None

    # --- frames

    def _parts(self, key: Any) -> tuple[Any, tuple[Any, ...]]:
        """Return what an index says of the frames, and of the pixels in them."""
        parts = key if isinstance(key, tuple) else (key,)
        if any(part is Ellipsis for part in parts):
            k = next(k for k, part in enumerate(parts) if part is Ellipsis)
            parts = (*parts[:k], *(slice(None),) * (self.ndim - len(parts) + 1), *parts[k + 1 :])
        parts = (*parts, *(slice(None),) * (self.ndim - len(parts)))
        first, rest = parts[0], tuple(parts[1:])
        if isinstance(first, slice):
            return first, rest
        if np.ndim(first) == 0:
            t = int(first)
            if not -self.shape[0] <= t < self.shape[0]:
                raise IndexError(f"There is no frame {t} of {self.shape[0]}.")
            return t % self.shape[0], rest
        indices = np.broadcast_arrays(first, *rest)
        return indices[0], tuple(indices[1:])

    def _shown(self, t: int) -> Labels:
        """Return a frame as it is shown; the caller does not write to it."""
        if t in self._touched:
            return self._touched[t]
        if self._recent is None or self._recent[0] != t:
            labels = self._standing(t)
            shown = labels if self._lookup is None else self._lookup.apply(t, labels)
            self._recent = (t, shown[0] if self._flat else shown)
        return self._recent[1]

    def _at_hand(self, t: int) -> Labels:
        """Return a frame to be written to."""
        if t not in self._touched:
            self._touched[t] = self._shown(t).copy()
        self._changes[t] = self._changes.get(t, 0) + 1
        return self._touched[t]

    def _standing(self, t: int) -> Labels:
        if t not in self._written:
            return np.zeros(self._labels.shape[1:], np.int32)
        return painted(self._labels.read(t), self._strokes.get(t, ()))


def _by_frame(times: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    for t in np.unique(times).tolist():
        yield int(t), times == t
