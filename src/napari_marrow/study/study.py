"""The study: one folder with everything that was imaged and found. The only code that knows the disk layout."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_marrow.errors import FetchError, PathExistsError, PathMissingError, SettingsError, StudyError
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.study import remote, sessions
from napari_marrow.study.durable import storing, sync_folder, write_document
from napari_marrow.study.migration import SCHEMA_VERSION
from napari_marrow.study.naming import printable
from napari_marrow.study.record import DOCUMENT, as_utc
from napari_marrow.study.results import StudyResults

if TYPE_CHECKING:
    import pandas as pd

    from napari_marrow.study.cleaning import UnusedResult
    from napari_marrow.study.verify import Problem


class Study(StudyResults):
    """A study on disk; made by `Study.create` or `Study.open`.

    Reading needs nothing else. Whoever adds sessions, or runs steps, holds `write_lock` (adding a session takes it by
    itself); worker processes of that holder open the study with ``mode="a"`` and write labels and parts without it,
    each unit by one worker.

    Attributes
    ----------
    path : Path
        The study's folder.
    mode : {"r", "a"}
    """

    # --- making and opening

    @classmethod
    def create(
        cls, path: str | Path, *, name: str | None = None, t0: str | None = None, layout: pd.DataFrame | None = None
    ) -> Study:
        """Make an empty study and open it for writing.

        Parameters
        ----------
        path : path-like
            Where nothing is yet; by custom it ends in ``.marrow``.
        name : str, optional
            By default the folder's name.
        t0 : str, optional
            Time zero, ISO 8601 with a time zone (UTC is assumed without one); all ``time_h`` count from it.
        layout : DataFrame, optional
            See `set_layout`.

        Raises
        ------
        PathExistsError
            If there is something at the path.
        SettingsError
            If t0 is no time.
        """
        path = Path(path).absolute()
        if os.path.lexists(path):
            raise PathExistsError(f"'{path}' exists already: choose another name, or open it.")
        document = {
            "format": "napari-marrow study",
            "schema_version": SCHEMA_VERSION,
            "id": str(uuid.uuid4()),
            "name": printable(name or path.stem) or "study",
            "t0": None if t0 is None else as_utc(t0),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "layout": [] if layout is None else sessions.layout_records(layout),
            "active": {},
            "active_tables": {},
        }
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write_document(draft / DOCUMENT, document)
                draft.rename(path)
                sync_folder(path.parent)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        return cls(path, "a")

    @classmethod
    def open(
        cls, path: str | Path, *, mode: Literal["r", "a"] = "r", storage_options: Mapping[str, Any] | None = None
    ) -> Study:
        """Open a study.

        Parameters
        ----------
        path : path-like or URL
            A URL (``https://``, ``s3://`` and whatever fsspec knows) is read without listing folders.
        mode : {"r", "a"}
            ``"a"`` may write, not at a URL.
        storage_options : mapping, optional
            How fsspec reaches a URL, such as ``{"anon": True}``.

        Raises
        ------
        PathMissingError
            If there is nothing at the path.
        StudyError
            If it is no study, or one of a newer schema.
        CorruptDataError
            If its document is damaged.
        """
        if mode not in ("r", "a"):
            raise SettingsError(f"A study is opened with mode 'r' or 'a', not '{mode}'.")
        if remote.is_url(path) or remote.is_remote(path):
            return cls._open_remote(path, mode, dict(storage_options or {}))
        path = Path(path).absolute()
        if not path.exists():
            raise PathMissingError(f"There is no study at '{path}'.")
        if not (path / DOCUMENT).is_file():
            raise StudyError(f"'{path}' is no study: it has no {DOCUMENT}.")
        study = cls(path, mode)
        study._check_version()
        return study

    @classmethod
    def _open_remote(cls, url: Any, mode: Literal["r", "a"], storage_options: dict[str, Any]) -> Study:
        if mode != "r":
            raise SettingsError(f"The study at '{url}' can only be read: copy it to this machine to change it.")
        path = remote.remote_path(url, storage_options) if isinstance(url, str) else url
        try:
            there = (path / DOCUMENT).is_file()
        except Exception as error:  # every protocol has errors of its own
            raise FetchError(f"'{url}' cannot be reached ({type(error).__name__}: {error}).") from error
        if not there:
            raise PathMissingError(f"There is no study at '{url}': no {DOCUMENT} is there.")
        study = cls(path, mode)
        study._check_version()
        return study

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.mode)

    def __repr__(self) -> str:
        return f"Study({str(self.path)!r}, mode={self.mode!r})"

    # --- keeping it safe

    def verify(self, progress: Progress = no_progress, cancel: CancelToken | None = None) -> list[Problem]:
        """Read every file again and return what is damaged, missing or does not belong; see `verify.verify`."""
        from napari_marrow.study.verify import verify

        if remote.is_remote(self.path):
            raise SettingsError(f"'{self.path}' is verified where its files are: run `marrow verify` on that machine.")
        return verify(self, progress=progress, cancel=cancel)

    def discard(
        self, problem: Problem, *, commits: Sequence[str], with_it: Sequence[str] = ()
    ) -> list[Mapping[str, Any]]:
        """Take a damaged or lost result out, so that it is computed again; see `cleaning.discard`."""
        from napari_marrow.study import cleaning

        self._check_writable()
        with self.write_lock():
            return cleaning.discard(self, problem, commits=commits, with_it=with_it)

    def unused_results(self) -> list[UnusedResult]:
        """Return the results that no active step or table refers to, see `cleaning.unused_results`."""
        from napari_marrow.study import cleaning

        return cleaning.unused_results(self)

    def remove_results(self, results: Sequence[UnusedResult], *, first: Sequence[str] = ()) -> int:
        """Delete results and return the bytes that were freed, see `cleaning.remove_results`."""
        from napari_marrow.study import cleaning

        self._check_writable()
        with self.write_lock():
            return cleaning.remove_results(self, results, first=first)

    def has_leftovers(self) -> bool:
        """Whether an interrupted removal has left files; `remove_results` of nothing deletes them."""
        from napari_marrow.study import cleaning

        return (self.path / cleaning.REMOVED).is_dir()

    def summary(self) -> dict[str, Any]:
        """Return what the study holds, as plain values for display."""
        from napari_marrow.study.summary import summary

        return summary(self)


def _reopen(path: Path, mode: Literal["r", "a"]) -> Study:
    return Study.open(path, mode=mode)
