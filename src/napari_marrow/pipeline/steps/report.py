"""Step *report*: the page that a person reads."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow.pipeline.recipe import Recipe, digest
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.design import layout_state
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.study import Study


class ReportStep(Step):
    """Write figures, tables and the page from the results that are active."""

    name = "report"
    title = "Writing the report"
    version = 4
    reads = (
        "quality",
        "correct",
        "register",
        "segment",
        "paint",
        "measure",
        "classify",
        "track",
        "colonies",
        "niche",
        "niche_over_time",
        "lineage",
    )
    tables = ("report_files",)
    whole_study = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `report`."""
        return recipe.report.model_dump(mode="json")

    def state(self, study: Study) -> dict[str, Any]:
        """Return the fingerprints of the layout, of what a person said in an audit, and of what was noted."""
        noted: dict[str, Any] = {"reviews": study.edits().digest("reviews")}
        if study.events or study.exclusions:
            noted["log"] = digest([[asdict(e) for e in study.events], [asdict(e) for e in study.exclusions]])
        return {**layout_state(study), **noted}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit."""
        return [Unit()]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Write the report into the study."""
        from napari_marrow.report import write_report

        page = write_report(study, recipe=context.recipe.model_dump(mode="json"), cancel=cancel)
        files = sorted(path for path in page.parent.rglob("*") if path.is_file())
        table = pd.DataFrame(
            {
                "file": [str(path.relative_to(study.path).as_posix()) for path in files],
                "bytes": [path.stat().st_size for path in files],
            }
        )
        study.commit(self.tables[0], context.keys[self.name], {}, table)
        return {"files": len(files)}
