"""A dock of charts: *Lineage* or *Niche*. Tables are read and charts are made beside the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from napari_marrow.gui.chart_view import ChartView
from napari_marrow.gui.charts import Chart, ChartKind, View, make_chart
from napari_marrow.gui.export_button import ExportButton, Figure
from napari_marrow.gui.job import Job
from napari_marrow.gui.lineage_charts import LINEAGE_CHARTS, LINEAGE_TABLES
from napari_marrow.gui.niche_charts import NICHE_CHARTS, NICHE_TABLES
from napari_marrow.gui.sentences import sentence
from napari_marrow.gui.subset_bar import SharedSubset, SubsetBar
from napari_marrow.palette import condition_order
from napari_marrow.progress import CancelToken, Progress

_Tables = dict[tuple[str, str], pd.DataFrame]


@dataclass(frozen=True)
class _Wanted:
    """What the panel should show; equal ones need no second look."""

    study: Path
    opened: int
    kind: str
    view: View


@dataclass(frozen=True, eq=False)
class _Made:
    chart: Chart
    options: list[str]
    kept: _Tables
    choices: tuple[list[str], list[str], list[int]]


class ChartPanel(QWidget):
    """One of several charts, on the filter that every panel shares, with export.

    Parameters
    ----------
    kinds : sequence of ChartKind
    steps : mapping of str to str
        The tables that the charts read, each with the step whose result it is.
    shared : SharedSubset
    empty : str
        What stands there before anything was computed.

    Signals
    -------
    exported : str
        What was written.
    refused : str
        Nothing could be shown or written; the sentence says why.
    picked : Pick
        Something in a plot was clicked.
    """

    exported = Signal(str)
    refused = Signal(str)
    picked = Signal(object)

    def __init__(self, kinds: Sequence[ChartKind], steps: Mapping[str, str], shared: SharedSubset, empty: str) -> None:
        super().__init__()
        self._kinds = {kind.name: kind for kind in kinds}
        self._steps, self._shared = dict(steps), shared
        self._study: tuple[Path, str, str, str, int] | None = None
        self._opened = 0
        self._shown: _Wanted | None = None
        self._serving: _Wanted | None = None
        self._job: Job | None = None
        self._kept: _Tables = {}
        self.kind, self.option = QComboBox(), QComboBox()
        self.kind.addItems(list(self._kinds))
        self.kind.setToolTip("Which plot.")
        self.option.setToolTip("What of it.")
        self.option.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.option.setVisible(False)
        self.export_button = ExportButton(self._figure)
        self.bar = SubsetBar(shared)
        self.plot = ChartView(empty)
        self._lay_out()
        self.kind.currentTextChanged.connect(self._on_kind)
        self.option.activated.connect(self._renew)
        self.export_button.exported.connect(self.exported)
        self.export_button.refused.connect(self.refused)
        self.plot.picked.connect(self.picked)
        shared.changed.connect(self._renew)
        self.destroyed.connect(partial(_cancel, self.__dict__))
        self._on_drawn()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.kind, 1)
        row.addWidget(self.export_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row)
        layout.addWidget(self.bar)
        layout.addWidget(self.option)
        layout.addWidget(self.plot, 1)

    @property
    def chart(self) -> Chart:
        """What is drawn."""
        return self.plot.chart

    @property
    def busy(self) -> bool:
        """Whether something is read, made or written."""
        return self._job is not None or self.export_button.busy

    def set_study(self, path: Path, name: str, recipe: str, position: str, session: int) -> None:
        """Show a study's results; what it holds is looked at anew.

        Parameters
        ----------
        path : Path
        name, recipe : str
            Its name and the digest of its recipe; an exported figure carries both.
        position : str
        session : int
            What is on display.
        """
        self._study = (path, name, recipe, position, session)
        self._opened += 1
        self._renew()

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Make the chart when it is first looked at."""
        super().showEvent(event)
        self._renew()

    def _on_kind(self, *_: Any) -> None:
        self.option.clear()
        self.option.setVisible(False)
        self._renew()

    def _wanted(self) -> _Wanted | None:
        if self._study is None:
            return None
        path, _, _, position, session = self._study
        view = View(self._shared.subset, position, session, self.option.currentText())
        return _Wanted(path, self._opened, self.kind.currentText(), view)

    def _renew(self, *_: Any) -> None:
        """Make the chart that is asked for, unless nobody looks; of several asked for in a row the last one wins."""
        wanted = self._wanted()
        if wanted is None or wanted == self._shown or not self.isVisible():
            return
        if self._job is not None:
            if wanted != self._serving:
                self._job.cancel()
            return
        self._serving = wanted
        kind = self._kinds[wanted.kind]
        job = Job(partial(_make, wanted, kind, self._steps, self._kept), name="chart")
        self._job = job
        job.succeeded.connect(self._on_made)
        job.failed.connect(self._on_failed)
        job.ended.connect(self._on_ended)
        job.start()

    def _on_made(self, made: _Made) -> None:
        self._kept = made.kept
        self._shared.set_choices(*made.choices)
        if self._wanted() != self._serving:
            return
        chosen = self.option.currentText()
        if [self.option.itemText(i) for i in range(self.option.count())] != made.options:
            self.option.clear()
            self.option.addItems(made.options)
            self.option.setCurrentIndex(max(0, self.option.findText(chosen)))
        self.option.setVisible(bool(made.options))
        self._shown = self._wanted()
        self.plot.draw(made.chart)
        self._on_drawn()

    def _on_failed(self, error: BaseException) -> None:
        self._shown = self._serving
        self.plot.draw(Chart("", "", "", note=sentence(error)))
        self._on_drawn()
        self.refused.emit(sentence(error))

    def _on_ended(self) -> None:
        self._job = None
        if self._wanted() != self._shown:
            self._renew()

    def _on_drawn(self) -> None:
        self.export_button.setEnabled(not self.chart.empty)

    def export(self, path: Path | str) -> Job:
        """Write what is drawn beside the window; what cannot be written is told in a sentence.

        Parameters
        ----------
        path : path
            Ends in ``.pdf``, ``.svg`` or ``.png``.
        """
        return self.export_button.write(path)

    def _figure(self) -> Figure:
        chart, (_, study, recipe, _, _) = self.chart, self._study or (None, "", "", "", 0)
        name = self.kind.currentText().split("(")[0].strip().lower().replace(" ", "_")
        return Figure(name, lambda: chart, study, recipe)


def lineage_panel(shared: SharedSubset) -> ChartPanel:
    """Return the *Lineage* panel."""
    note = "Run the recipe: emergence, growth, blood output and clones are drawn here."
    return ChartPanel(LINEAGE_CHARTS, LINEAGE_TABLES, shared, note)


def niche_panel(shared: SharedSubset) -> ChartPanel:
    """Return the *Niche* panel."""
    note = "Run the recipe: distances, pair correlations, compartments, trends and vessels are drawn here."
    return ChartPanel(NICHE_CHARTS, NICHE_TABLES, shared, note)


def _cancel(state: dict[str, Any], *_: Any) -> None:
    if state.get("_job") is not None:
        state["_job"].cancel()


def _make(
    wanted: _Wanted, kind: ChartKind, steps: Mapping[str, str], kept: _Tables, progress: Progress, cancel: CancelToken
) -> _Made:
    """Read what a chart needs and make it, in the worker's thread; tables of the same key are not read again."""
    from napari_marrow.gui.currency import current_steps
    from napari_marrow.gui.warm_up import warm_up_plots
    from napari_marrow.study import Study

    warm_up_plots()
    study = Study.open(wanted.study)
    current = current_steps(study)
    layout = study.layout
    now = {(name, str(study.active_tables.get(name))) for name in steps}
    kept = {key: table for key, table in kept.items() if key in now}
    tables = {"layout": layout}
    for name in dict.fromkeys((*kind.needs, *kind.also)):
        cancel.raise_if_cancelled()
        if name not in steps or steps[name] not in current or not study.has_table(name):
            continue
        key = (name, str(study.active_tables.get(name)))
        if key not in kept:
            kept[key] = study.table(name)
        tables[name] = kept[key]
    cancel.raise_if_cancelled()
    options = kind.options(tables)
    chart = make_chart(kind, tables, wanted.view)
    conditions = condition_order(c for c in layout["condition"].dropna() if str(c)) if "condition" in layout else []
    organoids = sorted({str(o) for o in layout["organoid"].dropna() if str(o)}) if "organoid" in layout else []
    sessions = sorted({int(s) for s in study.frames()["session"].unique()})
    return _Made(chart, options, kept, (conditions, organoids, sessions))
