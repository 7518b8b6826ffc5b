"""What a study withstands, and what it costs: kills, bit flips, full disks, reading, writing and opening.

python benchmarks/study.py kills --number 50        # kill -9 over every step and executor, then resume
python benchmarks/study.py flips --number 200       # single-bit flips over all files
python benchmarks/study.py disk --number 20         # a full disk (a small tmpfs: needs root), then resume
python benchmarks/study.py rates                    # beside zarr-python with the same layout
python benchmarks/study.py opening                  # a frame of 100 GB; opening over the number of frames
python benchmarks/study.py workers                  # segmentation by one process and by two (on a quiet machine)
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from napari_marrow.errors import MarrowError, StorageError
from napari_marrow.pipeline import run
from napari_marrow.pipeline.steps import STEPS
from napari_marrow.pipeline.verification import verify_study
from napari_marrow.study import Study
from study_small import RECIPE, differences, results, write_small_study

_RUN = """
import sys, json
from napari_marrow.pipeline import executor_for, parse_recipe, run

def report(done, total, message):
    print(message, flush=True)

if __name__ == "__main__":
    recipe = parse_recipe(json.loads(sys.argv[3]))
    run(sys.argv[1], recipe, executor=executor_for(sys.argv[2], workers=2), progress=report)
"""
_SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
COMMITS = {step.tables[0] for step in STEPS}


def _prepared(folder: Path) -> tuple[Path, Path, dict[str, float]]:
    """Return a study that nothing was run on, a finished copy, and the seconds of each step of the second run."""
    raw, finished = folder / "raw.marrow", folder / "finished.marrow"
    write_small_study(raw)
    shutil.copytree(raw, folder / "warm.marrow")
    run(folder / "warm.marrow", RECIPE)  # numba compiles
    shutil.copytree(raw, finished)
    summary = run(finished, RECIPE)
    return raw, finished, {step.name: step.seconds for step in summary.steps}


def kills(number: int, executors: list[str], seed: int) -> None:
    """Kill runs at random moments of every step, resume, and compare with a run that was left alone."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        raw, finished, seconds = _prepared(Path(scratch))
        script = Path(scratch) / "run.py"
        script.write_text(_RUN)
        expected = results(finished)
        hits: Counter[str] = Counter()
        repeated, wrong, unsound = 0, [], 0
        for k, executor in enumerate(executors):
            quota = number * (k + 1) // len(executors)  # kills so far, this executor's included
            path = Path(scratch) / f"{executor}.marrow"
            shutil.copytree(raw, path)
            committed: dict[Path, tuple[int, int]] = {}
            for step in itertools.cycle(STEPS):
                if sum(hits.values()) >= quota:
                    break
                killed = _killed(script, path, executor, step.title, rng.random() * (seconds[step.name] + 0.3))
                unsound += len(_unsound(path))
                now = _commits(path)
                repeated += sum(now.get(file) != mark for file, mark in committed.items())
                committed = now
                if killed != "end":
                    hits[f"{executor}, {killed}"] += 1
                    continue
                wrong += differences(expected, results(path))  # it came to its end before: compare, and start anew
                shutil.rmtree(path)
                shutil.copytree(raw, path)
                committed = {}
            subprocess.run(_command(script, path, executor), check=True, **_SILENT)
            now = _commits(path)
            repeated += sum(now.get(file) != mark for file, mark in committed.items())
            wrong += differences(expected, results(path))
            unsound += len(verify_study(Study.open(path)))
        for name, count in sorted(hits.items()):
            print(f"{count:3d} killed: {name}")
        print(f"{sum(hits.values())} kills")
        print(f"labels and tables that differ: {len(wrong)} of {len(expected)} {wrong[:5]}")
        print(f"units computed again after their commit: {repeated}")
        print(f"files that verify calls damaged, missing or orphan after a kill (partial files apart): {unsound}")


def _command(script: Path, path: Path, executor: str) -> list[str]:
    return [sys.executable, str(script), str(path), executor, RECIPE.model_dump_json()]


def _killed(script: Path, path: Path, executor: str, title: str, delay: float) -> str:
    """Start a run, kill it `delay` seconds after it began the step of that title, and return what it was at."""
    process = subprocess.Popen(
        _command(script, path, executor), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    at = "start"
    for line in process.stdout:
        at = line.strip()
        if at == title:
            break
    time.sleep(delay)
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    at = "end" if ended else [at, *process.stdout.read().split("\n")[:-1]][-1]
    process.wait()
    process.stdout.close()
    time.sleep(0.5)  # workers notice that their parent is gone
    return at


def _commits(path: Path) -> dict[Path, tuple[int, int]]:
    """Return inode and time of every commit record of a step."""
    parts = [p for p in path.glob("tables/*/*/**/*.parquet") if p.relative_to(path).parts[1] in COMMITS]
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in parts}


def _unsound(path: Path) -> list[str]:
    """Return what verify says of a study whose writer was killed, but for partial files."""
    problems = verify_study(Study.open(path))
    return [str(p) for p in problems if not p.path.endswith(".partial") and p.kind != "unfinished"]


def flips(number: int, seed: int) -> None:
    """Flip one bit at a time in files of a finished study; read everything; verify."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        _, path, _ = _prepared(Path(scratch))
        truth = _everything(path)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        found = harmless = silent = missed = 0
        kinds: Counter[str] = Counter()
        for _ in range(number):
            file = rng.choice(files)
            kinds[_kind(file.relative_to(path))] += 1
            good = file.read_bytes()
            bit = rng.randrange(8 * len(good))
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            file.write_bytes(bytes(bad))
            try:
                problems = [p.path for p in verify_study(Study.open(path))]
            except MarrowError as error:  # study.json itself
                problems = [str(error)]
            named = any(file.relative_to(path).as_posix() in problem for problem in problems)
            try:
                changed = differences(truth, _everything(path)) != []
                silent += changed and file.relative_to(path).parts[0] not in ("report", "runs")
                unreadable = False
            except MarrowError:
                unreadable = True
            found += named
            missed += (unreadable or changed) and not named
            harmless += not named and not unreadable and not changed
            file.write_bytes(good)
        print(f"{number} flips over {len(files)} files: " + ", ".join(f"{n} {k}" for k, n in sorted(kinds.items())))
        print(f"found by verify: {found}; changed nothing that is read (white space of JSON): {harmless}")
        print(f"changed data and not found: {missed}; read silently as other data: {silent}")


def _kind(file: Path) -> str:
    return "documents" if file.suffix == ".json" else file.parts[0].replace("images.ome.zarr", "shards")


def _everything(path: Path) -> dict[str, object]:
    """Return all that a study gives to read: results, images at every resolution, frames, layout, runs, report."""
    study = Study.open(path)
    found: dict[str, object] = dict(results(path))
    for position in study.positions:
        for session in study.sessions(position):
            image = study.image(position, session)
            found[f"about {position} {session}"] = study.frames()
            for t in range(image.shape[0]):
                for level in range(image.levels):
                    found[f"image {position} {session} {t} {level}"] = image.read(t, level=level)
    found["layout"] = study.layout
    return found


def disk(number: int, seed: int, first: int = 0) -> None:
    """Fill a small disk at a random moment of each step from `first` on; resume after room was made."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        raw, finished, _ = _prepared(Path(scratch))
        expected = results(finished)
        place = Path(scratch) / "disk"
        place.mkdir()
        clear = opened = equal = 0
        where: Counter[str] = Counter()
        for k in range(first, first + number):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], check=True)
            try:
                path = place / "small.marrow"
                shutil.copytree(raw, path)
                step = STEPS[k % len(STEPS)]
                message = _run_into_full_disk(path, place / "ballast", step.title, rng)
                where[step.name] += bool(message)
                clear += message.startswith("The disk is full: '") and message.endswith("run the same command again.")
                unsound = _unsound(path)
                print("\n".join(f"after {step.name}: {problem}" for problem in unsound) or "", end="\n" * bool(unsound))
                opened += unsound == [] and Study.open(path).positions != []
                (place / "ballast").unlink(missing_ok=True)
                run(path, RECIPE)
                same = differences(expected, results(path)) == [] and verify_study(Study.open(path)) == []
                equal += same
                print(
                    f"{k}: {step.name}: {message or 'met no full disk'} resumed to the same result: {same}", flush=True
                )
            finally:
                subprocess.run(["umount", str(place)], check=True)
        print(
            f"{sum(where.values())} of {number} runs met the full disk: "
            + ", ".join(f"{n} {s}" for s, n in where.items())
        )
        print(f"one clear sentence: {clear}; study opens and is sound: {opened}; resumed to the same result: {equal}")


def _run_into_full_disk(path: Path, ballast: Path, title: str, rng: random.Random) -> str:
    """Run until the disk is full, which it is from a random unit of the step on; return the error's sentence."""
    at = rng.randrange(4)

    def fill(done: int, total: int, message: str) -> None:
        if message == title and done >= min(at, total - 1) and not ballast.exists():
            free = shutil.disk_usage(ballast.parent).free - rng.choice([0, 0, 4096, 16384])
            ballast.write_bytes(b"\0" * max(free, 0))

    try:
        run(path, RECIPE, progress=fill)
    except StorageError as error:
        return str(error)
    return ""


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["kills", "flips", "disk", "rates", "opening", "workers"])
    parser.add_argument("--number", type=int, default=50)
    parser.add_argument("--executors", default="serial,processes,dask")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="step that a full disk begins with, to run in parts")
    args = parser.parse_args()
    if args.part == "kills":
        kills(args.number, args.executors.split(","), args.seed)
    elif args.part == "flips":
        flips(args.number, args.seed)
    elif args.part == "disk":
        disk(args.number, args.seed, args.first)
    else:
        import study_rates

        {"rates": study_rates.rates, "opening": study_rates.opening, "workers": study_rates.workers}[args.part]()


if __name__ == "__main__":
    main()
