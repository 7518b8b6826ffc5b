"""The pipeline: recipes, steps, executors, and the commands on plain files.

The command line, the GUI and Python call the same `run` with the same `Recipe`.
"""

from napari_marrow.pipeline.dask_executor import DaskExecutor
from napari_marrow.pipeline.engine import RunSummary, StepSummary, run
from napari_marrow.pipeline.executors import Executor, ProcessExecutor, SerialExecutor, executor_for
from napari_marrow.pipeline.recipe import Recipe, dump_recipe, load_recipe, parse_recipe

__all__ = [
    "DaskExecutor",
    "Executor",
    "ProcessExecutor",
    "Recipe",
    "RunSummary",
    "SerialExecutor",
    "StepSummary",
    "dump_recipe",
    "executor_for",
    "load_recipe",
    "parse_recipe",
    "run",
]
