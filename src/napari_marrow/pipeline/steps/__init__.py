"""The steps of the pipeline, in the order in which they run."""

from collections.abc import Sequence

from napari_marrow.pipeline.step import Step
from napari_marrow.pipeline.steps.cell_classes import CellClassesStep
from napari_marrow.pipeline.steps.classify import ClassifyStep
from napari_marrow.pipeline.steps.colonies import ColoniesStep
from napari_marrow.pipeline.steps.correct import CorrectStep
from napari_marrow.pipeline.steps.curate import CurateStep
from napari_marrow.pipeline.steps.lineage import LineageStep
from napari_marrow.pipeline.steps.measure import MeasureStep
from napari_marrow.pipeline.steps.niche import NicheStep
from napari_marrow.pipeline.steps.niche_over_time import NicheOverTimeStep
from napari_marrow.pipeline.steps.paint import PaintStep
from napari_marrow.pipeline.steps.quality import QualityStep
from napari_marrow.pipeline.steps.register import RegisterStep
from napari_marrow.pipeline.steps.report import ReportStep
from napari_marrow.pipeline.steps.segment import SegmentStep
from napari_marrow.pipeline.steps.structures import StructuresStep
from napari_marrow.pipeline.steps.surroundings import SurroundingsStep
from napari_marrow.pipeline.steps.track import TrackStep

STEPS: Sequence[Step] = (
    QualityStep(),
    CorrectStep(),
    RegisterStep(),
    StructuresStep(),
    SegmentStep(),
    PaintStep(),
    MeasureStep(),
    ClassifyStep(),
    CellClassesStep(),
    SurroundingsStep(),
    TrackStep(),
    CurateStep(),
    ColoniesStep(),
    NicheStep(),
    NicheOverTimeStep(),
    LineageStep(),
    ReportStep(),
)

__all__ = ["STEPS"]
