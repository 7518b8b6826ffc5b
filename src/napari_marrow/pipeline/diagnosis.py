"""What this installation can do: versions, processors, models, window and disk, each with a verdict and a remedy."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from napari_marrow import __version__
from napari_marrow.pipeline.disk_speed import measure_disk
from napari_marrow.progress import CancelToken, Progress, no_progress

State = Literal["fine", "note", "problem"]
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")
_NOT_FOR_USERS = ("all", "test", "docs", "evaluate")  # "all" repeats the others
_LEAST_MEMORY_GB = 4.0
_LEAST_FREE_GB = 5.0
_LEAST_WRITE_MB_S = 50.0
_WINDOW_SECONDS = 90


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    topic : str
        "system", "packages", "processors", "models", "window" or "disk".
    name, value : str
    state : str
        "fine"; "note" for what limits but does not break; "problem" for what has to be mended.
    remedy : str
        What to do; empty where there is nothing to do.
    """

    topic: str
    name: str
    value: str
    state: State = "fine"
    remedy: str = ""


def diagnose(
    folder: Path | str = ".",
    *,
    window: bool = True,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> list[Finding]:
    """Look at everything that an analysis needs.

    Parameters
    ----------
    folder : path
        Where studies are to be kept: its disk is measured with a file of 64 MB, which is removed.
    window : bool
        Whether to open a hidden window in a process of its own, to learn whether Qt and OpenGL work.
    progress : callable
        Called as ``progress(done, total, topic)``.
    cancel : CancelToken, optional

    Returns
    -------
    list of Finding

    Raises
    ------
    Cancelled
        If `cancel` was set.
    """
    cancel = cancel or CancelToken()
    topics: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("system", _system),
        ("packages", _packages),
        ("processors", _processors),
        ("models", _models),
        ("window", lambda: _window() if window else iter(())),
        ("disk", lambda: _disk(Path(folder))),
    ]
    found: list[Finding] = []
    for i, (topic, look) in enumerate(topics):
        cancel.raise_if_cancelled()
        progress(i, len(topics), f"Looking at: {topic}")
        found += look()
    progress(len(topics), len(topics), "Looking at: disk")
    return found


def as_json(findings: list[Finding]) -> str:
    """Return findings as JSON, for a bug report or another program."""
    return json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False) + "\n"


def _system() -> Iterator[Finding]:
    yield Finding("system", "napari-marrow", __version__)
    yield Finding("system", "Python", f"{platform.python_version()} ({platform.python_implementation()})")
    yield Finding("system", "system", f"{platform.system()} {platform.release()} {platform.machine()}")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("system", "usable cores", str(usable))
    memory = _memory_gb()
    if memory is not None:
        little = memory < _LEAST_MEMORY_GB
        yield Finding(
            "system", "memory", f"{memory:.1f} GB", "note" if little else "fine",
            "Large planes and several workers need more: run with --workers 1." if little else "",
        )  # fmt: skip
    encoding = sys.getfilesystemencoding()
    yield Finding(
        "system", "file names", encoding, "fine" if encoding.lower().startswith("utf") else "note",
        "" if encoding.lower().startswith("utf") else "Set PYTHONUTF8=1, or names with accents may fail.",
    )  # fmt: skip


def _memory_gb() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return None


def _packages() -> Iterator[Finding]:
    """Compare what is installed with what this package asks for: the same lines that pip reads."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires("napari-marrow") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "napari-marrow", "not installed, run from its source", "note")
        return
    left_out: dict[str, list[str]] = {}
    for line in lines:
        needed = Requirement(line)
        extra = _EXTRA.search(str(needed.marker or ""))
        if needed.name == "napari-marrow" or (extra and extra[1] in _NOT_FOR_USERS):
            continue
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            if extra:
                left_out.setdefault(extra[1], []).append(needed.name)
            else:
                yield Finding("packages", needed.name, "missing", "problem", f"pip install '{needed.name}'")
            continue
        right = needed.specifier.contains(version, prereleases=True)
        yield Finding(
            "packages", needed.name, version, "fine" if right else "problem",
            "" if right else f"{needed.specifier} is asked for: pip install '{needed.name}{needed.specifier}'",
        )  # fmt: skip
    for name, missing in left_out.items():
        remedy = f"Only where you need it: pip install 'napari-marrow[{name}]'"
        yield Finding("packages", f"extra '{name}'", f"without {', '.join(missing)}", "note", remedy)


def _processors() -> Iterator[Finding]:
    try:
        import openvino

        core = openvino.Core()
        for device in core.available_devices:
            yield Finding("processors", f"OpenVINO {device}", str(core.get_property(device, "FULL_DEVICE_NAME")))
    except Exception as error:
        yield Finding(
            "processors", "OpenVINO", f"{type(error).__name__}: {error}", "problem",
            "pip install --force-reinstall openvino",
        )  # fmt: skip
    if find_spec("torch") is None:
        yield Finding("processors", "GPU", "torch is not installed: the CPU computes")
        return
    from napari_marrow.segmentation.devices import choose_device

    try:
        yield Finding("processors", "device 'auto'", choose_device("auto"))
    except Exception as error:
        yield Finding(
            "processors", "torch", f"{type(error).__name__}: {error}", "problem",
            "Install the torch that fits your driver (pytorch.org), or use --device cpu.",
        )  # fmt: skip


def _models() -> Iterator[Finding]:
    from napari_marrow.errors import MarrowError
    from napari_marrow.segmentation import models
    from napari_marrow.segmentation.weights import read_weights

    for card in models():
        if card.path is None:
            continue
        if card.kind != "cpnet":
            yield Finding("models", card.name, f"{card.origin}, sha256 {card.sha256 or 'not on its card'}")
            continue
        try:
            sha256 = read_weights(card.path).sha256
        except (MarrowError, OSError) as error:
            yield Finding("models", card.name, str(error), "problem", _model_remedy(card.origin, card.name))
            continue
        damaged = bool(card.sha256) and sha256 != card.sha256
        yield Finding(
            "models", card.name, f"{card.origin}, sha256 {sha256}" + (" is not that of its card" if damaged else ""),
            "problem" if damaged else "fine", _model_remedy(card.origin, card.name) if damaged else "",
        )  # fmt: skip


def _model_remedy(origin: str, name: str) -> str:
    if origin == "bundled":
        return "pip install --force-reinstall --no-deps napari-marrow"
    return f"marrow models remove {name}, and add it again"


def _window() -> Iterator[Finding]:
    """Ask a process of its own: a wrong driver or a missing screen ends the process that tries."""
    if find_spec("napari") is None or find_spec("qtpy") is None:
        yield Finding(
            "window", "napari", "not installed: command line only", "note", "pip install 'napari-marrow[gui]'"
        )
        return
    command = [sys.executable, "-m", "napari_marrow.gui.window_check"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_WINDOW_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("window", "window", f"did not open within {_WINDOW_SECONDS} s", "problem", _screen_remedy())
        return
    last = answer.stdout.strip().splitlines()[-1:] or ["{}"]
    try:
        facts = json.loads(last[0])
    except ValueError:
        facts = {}
    for name, value in facts.items():
        yield Finding("window", str(name), str(value))
    if answer.returncode or "OpenGL" not in facts:
        reason = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
        yield Finding(
            "window", "window", f"does not open: {reason}", "note" if _no_screen() else "problem", _screen_remedy()
        )


def _no_screen() -> bool:
    return sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _screen_remedy() -> str:
    if _no_screen():
        return "There is no screen (DISPLAY is not set): work on the command line, or start with xvfb-run."
    return "Install the graphics driver and Qt's system libraries (the README lists them)."


def _disk(folder: Path) -> Iterator[Finding]:
    try:
        speed = measure_disk(folder)
    except OSError as error:
        yield Finding(
            "disk", "folder", f"cannot be written: {error.strerror or error}", "problem",
            "Give a folder of yours: marrow doctor --folder FOLDER",
        )  # fmt: skip
        return
    little = speed.free_gb < _LEAST_FREE_GB
    yield Finding(
        "disk", "free", f"{speed.free_gb:.1f} GB", "note" if little else "fine",
        "A study takes about as much as its images: free some space." if little else "",
    )  # fmt: skip
    slow = speed.write_mb_s < _LEAST_WRITE_MB_S
    yield Finding(
        "disk", "write", f"{speed.write_mb_s:.0f} MB/s", "note" if slow else "fine",
        "Slow, perhaps a network disk: keep the study on a local one while it runs." if slow else "",
    )  # fmt: skip
    yield Finding("disk", "read", f"{speed.read_mb_s:.0f} MB/s" + ("" if speed.uncached else " (from memory)"))
