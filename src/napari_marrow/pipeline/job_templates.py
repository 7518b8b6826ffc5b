"""Scripts that run a recipe as jobs of a cluster: SLURM job arrays, Snakemake rules."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from napari_marrow.errors import SettingsError

SYSTEMS = ("slurm", "snakemake")


@dataclass(frozen=True)
class Stage:
    """Steps in a row that run in one job, or frame by frame in many.

    Attributes
    ----------
    steps : tuple of str
    by_frame : bool
    """

    steps: tuple[str, ...]
    by_frame: bool

    @property
    def name(self) -> str:
        """First and last step."""
        return self.steps[0] if len(self.steps) == 1 else f"{self.steps[0]}_to_{self.steps[-1]}"


def stages() -> list[Stage]:
    """Return the steps of the pipeline by whether they work frame by frame."""
    from napari_marrow.pipeline.steps import STEPS

    return [Stage(tuple(s.name for s in group), kind) for kind, group in groupby(STEPS, lambda step: step.by_frame)]


def job_template(system: str, study: Path, recipe: Path | None, shares: int) -> str:
    """Return a script for a cluster.

    Parameters
    ----------
    system : {"slurm", "snakemake"}
    study : Path
        Where every job finds it.
    recipe : Path, optional
        Every default when left out.
    shares : int
        Jobs that the frames are shared by.

    Raises
    ------
    SettingsError
        For an unknown system.
    """
    if system not in SYSTEMS:
        raise SettingsError(f"There is no template '{system}': choose one of {', '.join(SYSTEMS)}.")
    if system == "slurm":
        return _slurm(stages(), study, recipe, shares)
    return _snakemake(stages(), study, recipe, shares)


def _command(study: str, recipe: str | None, stage: Stage, last: bool) -> str:
    parts = ["marrow run", study]
    parts += ["--recipe", recipe] if recipe is not None else []
    parts += [] if last else ["--until", stage.steps[-1]]
    return " ".join(parts if stage.by_frame else [*parts, "--executor processes"])


def _slurm(found: Sequence[Stage], study: Path, recipe: Path | None, shares: int) -> str:
    lines = [
        "#!/usr/bin/env bash",
        "# Submits a recipe of napari-marrow to SLURM: bash this file on the login node.",
        "# Jobs wait for the ones they need. A job that fails keeps the later ones waiting: mend the cause, cancel",
        "# them, and submit again; finished units are not computed again.",
        "set -euo pipefail",
        "",
        "# Adapt to the cluster: partition, account, memory, time.",
        "ONE=(--cpus-per-task=4 --mem=16G --time=04:00:00)    # a job of whole-study steps",
        "EACH=(--cpus-per-task=1 --mem=4G --time=04:00:00)    # a job of frames",
        f"SHARES={shares}",
        "",
    ]
    before = ""
    for k, stage in enumerate(found):
        command = _command(
            shlex.quote(str(study)), None if recipe is None else shlex.quote(str(recipe)), stage, k == len(found) - 1
        )
        after = f" --dependency=afterok:${before}" if before else ""
        wrapped, kind = shlex.quote(command), '"${ONE[@]}"'
        if stage.by_frame:
            wrapped = shlex.quote(command + " --units ") + '"\\$SLURM_ARRAY_TASK_ID/$SHARES"'
            kind = '"${EACH[@]}" --array=1-$SHARES'
        name = f"--job-name=marrow-{stage.name}"
        lines.append(f"{stage.name}=$(sbatch --parsable {kind} {name}{after} --wrap {wrapped})")
        before = stage.name
    look = f"See how far it is: marrow status {shlex.quote(str(study))}"
    lines += ["", f'echo "Submitted; the last job is ${before}. {look}"']
    return "\n".join(lines) + "\n"


def _snakemake(found: Sequence[Stage], study: Path, recipe: Path | None, shares: int) -> str:
    lines = [
        "# Runs a recipe of napari-marrow by Snakemake: snakemake --snakefile THIS --cores 8, or with a profile.",
        "# Marks of finished jobs are kept in marrow_jobs/ beside; remove it to look at every step anew.",
        "",
        f"STUDY = {json.dumps(str(study), ensure_ascii=False)}",
        f"SHARES = {shares}",
    ]
    if recipe is not None:
        lines.append(f"RECIPE = {json.dumps(str(recipe), ensure_ascii=False)}")
    lines += ["", "", "rule all:", f'    input: "marrow_jobs/{found[-1].name}.done"', ""]
    before = ""
    for k, stage in enumerate(found):
        lines += ["", f"rule {stage.name}:"]
        lines += [f"    input: {before}"] if before else []
        done = f"marrow_jobs/{stage.name}.{{share}}.done" if stage.by_frame else f"marrow_jobs/{stage.name}.done"
        lines += [f'    output: touch("{done}")', "    params: study=STUDY" + (", recipe=RECIPE" if recipe else "")]
        lines += [f"    resources: mem_mb={4000 if stage.by_frame else 16000}"]
        command = _command("{params.study:q}", "{params.recipe:q}" if recipe else None, stage, k == len(found) - 1)
        share = " --units {wildcards.share}/{SHARES}" if stage.by_frame else ""
        lines += [f'    shell: "{command}{share}"', ""]
        before = f'expand("{done}", share=range(1, SHARES + 1))' if stage.by_frame else f'"{done}"'
    return "\n".join(lines).rstrip() + "\n"
