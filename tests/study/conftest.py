from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from napari_marrow.study import Channel, Study

Fill = Callable[..., npt.NDArray[np.uint16]]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.create(tmp_path / "weeks of imaging µ.marrow", name="weeks", t0="2026-01-05T09:00:00+01:00")


@pytest.fixture
def fill() -> Fill:
    """Add a session of random frames and return them, (T, C, Z, Y, X)."""

    def add(
        study: Study,
        position: str = "B02_f00",
        session: int = 0,
        shape: tuple[int, ...] = (3, 2, 1, 40, 52),
        start_h: float = 0.0,
        **more: object,
    ) -> npt.NDArray[np.uint16]:
        rng = np.random.default_rng(session + 10 * shape[0])
        frames = rng.integers(0, 4096, shape).astype(np.uint16)
        options: dict[str, object] = {
            "channels": [Channel("nuclei"), *(Channel(f"marker{n}") for n in range(1, shape[1]))],
            "spacing": (2.5, 0.65, 0.6),
            "shape": shape,
            "dtype": np.uint16,
            "start_h": start_h,
            "time_s": [600.0 * t for t in range(shape[0])],
            **more,
        }
        with study.add_session(position, session, **options) as writer:  # type: ignore[arg-type]
            for t in range(shape[0]):
                writer.write(t, frames[t])
        return frames

    return add
