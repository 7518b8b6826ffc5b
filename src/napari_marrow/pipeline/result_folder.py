"""A folder of tables and figures that is put in place whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from napari_marrow.errors import PathExistsError, write_refused
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ResultFolder:
    """Where a command writes its tables as CSV, its figures as PNG and what it found as sentences.

    Attributes
    ----------
    path : Path
        New, empty, or written by the same command before.
    subject : str
        What the tables are of, such as "niche"; the sentences go into a text file of that name.
    """

    path: Path
    subject: str

    def check(self) -> None:
        """Refuse a folder that holds something else.

        Raises
        ------
        PathExistsError
        """
        ours = (self.path / f"{self.subject}.txt").is_file()
        if self.path.exists() and not ours and (not self.path.is_dir() or any(self.path.iterdir())):
            raise PathExistsError(
                f"'{self.path}' exists and holds no {self.subject} tables: choose another --out or remove it."
            )

    def write(
        self,
        tables: Mapping[str, pd.DataFrame],
        figures: Mapping[str, Callable[[], Figure]],
        notes: Sequence[str],
        cancel: CancelToken,
    ) -> None:
        """Write everything beside the folder and put it in place at the end.

        Raises
        ------
        Cancelled
            Before the next figure; the folder stays as it was.
        StorageError
            If the disk does not take it.
        """
        from napari_marrow.report.style import drawing

        building = self.path.with_name(f".{self.path.name}.partial")
        shutil.rmtree(building, ignore_errors=True)
        try:
            (building / "figures").mkdir(parents=True)
            for name, table in tables.items():
                table.to_csv(building / f"{name}.csv", index=False)
            for name, draw in figures.items():
                cancel.raise_if_cancelled()
                with drawing():
                    draw().savefig(building / "figures" / f"{name}.png", dpi=150)
            (building / f"{self.subject}.txt").write_text("\n".join(notes) + "\n", encoding="utf-8")
            if self.path.exists():
                shutil.rmtree(self.path)
            os.replace(building, self.path)
        except OSError as error:
            raise write_refused(self.path, error) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
