"""The first ten minutes: simulate organoids, import their images, analyse them, write the report."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from napari_marrow.errors import PathExistsError
from napari_marrow.pipeline.engine import RunSummary, run
from napari_marrow.pipeline.executors import Executor
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.progress import CancelToken, Progress, no_progress

MARK = "demo.json"


@dataclass(frozen=True)
class DemoResult:
    """Where a demonstration left its results.

    Attributes
    ----------
    raw : Path
        Images as a microscope would have left them, with the truth beside.
    study : Path
    report : Path
    run : RunSummary
    simulate_seconds, study_seconds : float
        Wall time of the simulation, and of import and analysis together.
    """

    raw: Path
    study: Path
    report: Path
    run: RunSummary
    simulate_seconds: float
    study_seconds: float


def run_demo(
    out: Path | str,
    *,
    preset: str = "tutorial",
    seed: int = 0,
    executor: Executor | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> DemoResult:
    """Simulate a scenario, import it and run the default recipe; what an earlier call finished is kept.

    Parameters
    ----------
    out : path
        Folder that takes ``raw/``, ``<preset>.marrow/`` and the report in it.
    preset : str
        Name of the scenario.
    seed : int
    executor : Executor, optional
    progress, cancel
        See `run`.

    Raises
    ------
    PathExistsError
        If the folder holds something else than the same demonstration.
    """
    from napari_marrow.ingest import import_files
    from napari_marrow.pipeline.judging import ImportedFrames, judge_frames

    out = Path(out)
    cancel = cancel or CancelToken()
    raw, study = out / "raw", out / f"{preset}.marrow"
    started = time.perf_counter()
    _prepare(out, raw, preset, seed, progress, cancel)
    simulated = time.perf_counter()
    if not (study / "study.json").is_file() or not _imported(out):
        measured = ImportedFrames()
        import_files(
            study, [raw / "raw"], layout=raw / "layout.csv", observe=measured, progress=progress, cancel=cancel
        )
        judge_frames(study, measured=measured, progress=progress, cancel=cancel)
        _mark(out, preset, seed, "imported")
    summary = run(study, Recipe(), executor=executor, progress=progress, cancel=cancel)
    finished = time.perf_counter()
    report = study / "report" / "report.html"
    return DemoResult(raw, study, report, summary, simulated - started, finished - simulated)


def _prepare(out: Path, raw: Path, preset: str, seed: int, progress: Progress, cancel: CancelToken) -> None:
    from napari_marrow.export.raw_set import write_raw_set
    from napari_marrow.simulation import preset as scenario_of
    from napari_marrow.simulation import simulate

    mark = _read_mark(out)
    if mark:
        if (mark.get("preset"), mark.get("seed")) != (preset, seed):
            raise PathExistsError(
                f"'{out}' holds the scenario '{mark.get('preset')}', seed {mark.get('seed')}: choose another --out."
            )
        return
    if out.exists() and not out.is_dir():
        raise PathExistsError(f"'{out}' is a file: choose another --out.")
    if out.exists() and any(out.iterdir()):
        raise PathExistsError(
            f"'{out}' is not empty and holds no finished simulation: choose another --out or remove it."
        )
    write_raw_set(simulate(scenario_of(preset, seed=seed), progress=progress, cancel=cancel), raw, progress=progress,
                  cancel=cancel)  # fmt: skip
    _mark(out, preset, seed, "simulated")


def _read_mark(out: Path) -> dict[str, object]:
    try:
        content = json.loads((out / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _imported(out: Path) -> bool:
    return _read_mark(out).get("state") == "imported"


def _mark(out: Path, preset: str, seed: int, state: str) -> None:
    partial = out / f"{MARK}.partial"
    partial.write_text(json.dumps({"preset": preset, "seed": seed, "state": state}), encoding="utf-8")
    partial.replace(out / MARK)
