"""The report as PDF, printed by a browser that is on the machine: the page has a style of its own for paper."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from napari_marrow.errors import MarrowError, PathMissingError, write_refused

BROWSER_VARIABLE = "NAPARI_MARROW_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "msedge")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
_SECONDS = 180


class PrintingError(MarrowError, RuntimeError):
    """There is no browser that can print, or it failed."""


def print_pdf(page: Path, out: Path | None = None) -> Path:
    """Print a report as PDF (A4) with Chromium, Chrome or Edge, without a window and without the network.

    Parameters
    ----------
    page : Path
        ``report.html``.
    out : Path, optional
        ``report.pdf`` beside the page by default; an earlier one is replaced.

    Raises
    ------
    PathMissingError
        If there is no page.
    PrintingError
        If there is no such browser, or it did not print.
    StorageError
        If the disk does not take it.
    """
    page = page.resolve()
    if not page.is_file():
        raise PathMissingError(f"There is no report '{page}': write it with `marrow report STUDY`.")
    out = (out or page.with_suffix(".pdf")).resolve()
    partial = out.with_name(f".{out.name}.partial.pdf")
    try:
        with tempfile.TemporaryDirectory(prefix="marrow-print-", ignore_cleanup_errors=True) as profile:
            _print(page, partial, profile)
        partial.replace(out)
    except OSError as error:
        raise write_refused(out, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return out


def find_browser() -> str:
    """Return the program that prints: that of the environment variable, one on the path, or one in its usual place.

    Raises
    ------
    PrintingError
        If there is none.
    """
    named = os.environ.get(BROWSER_VARIABLE)
    for candidate in (named,) if named else (*_NAMES, *_PLACES):
        found = shutil.which(candidate)
        if found:
            return found
    raise PrintingError(
        f"No browser was found that can print a PDF ({named or 'Chromium, Chrome, Edge'}): open the page and print it "
        f"by hand, or name a browser in {BROWSER_VARIABLE}."
    )


def _print(page: Path, out: Path, profile: str) -> None:
    command = [
        find_browser(), "--headless", "--disable-gpu", "--no-pdf-header-footer", "--disable-extensions",
        "--disable-background-networking", f"--user-data-dir={profile}", f"--print-to-pdf={out}", page.as_uri(),
    ]  # fmt: skip
    if sys.platform.startswith("linux") and os.geteuid() == 0:
        command.insert(
            1, "--no-sandbox"
        )  # as root Chromium's sandbox refuses to start; the page's policy lets no script run but its own
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise PrintingError(
            f"The browser did not print within {_SECONDS} s: open the page and print it by hand."
        ) from error
    if answer.returncode or not out.is_file():
        said = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
        raise PrintingError(f"The browser did not print ({said}): open the page and print it by hand.")
