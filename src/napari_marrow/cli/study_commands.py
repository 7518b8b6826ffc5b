"""Commands that make, fill, run and inspect a study."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_marrow.cli.console import working

if TYPE_CHECKING:
    from napari_marrow.pipeline.engine import RunSummary

Study = Annotated[Path, typer.Argument(help="The study, a *.marrow folder.", show_default=False)]
Workers = Annotated[int | None, typer.Option(help="Processes; as many as preferred, else all usable cores.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("demo", rich_help_panel="First steps")(demo)
    app.command("simulate", rich_help_panel="First steps")(simulate)
    app.command("run", rich_help_panel="Study")(run)
    app.command("template", rich_help_panel="Study")(template)
    app.command("recipe", rich_help_panel="Study")(recipe)
    app.command("report", rich_help_panel="Study")(report)
    app.command("info", rich_help_panel="Study")(info)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the raw images, the study and the report.")] = Path("demo"),
    preset: Annotated[
        str, typer.Option(help="Scenario that is simulated: tutorial, sample, null, coupled or volume.")
    ] = "tutorial",
    seed: Annotated[int, typer.Option(help="Seed of the simulation.", min=0)] = 0,
    executor: Annotated[str, typer.Option(help="serial, processes or dask.")] = "processes",
    workers: Workers = None,
) -> None:
    """Simulate organoids followed for weeks, analyse them, and write the report."""
    from napari_marrow.pipeline.demo import run_demo
    from napari_marrow.pipeline.executors import executor_for

    with working() as (progress, cancel):
        result = run_demo(
            out,
            preset=preset,
            seed=seed,
            executor=executor_for(executor, workers=workers),
            progress=progress,
            cancel=cancel,
        )
    _print_summary(result.run)
    typer.echo(f"Study:  {result.study}")
    typer.echo(f"Report: {result.report}")
    typer.echo(f"Simulated in {result.simulate_seconds:.0f} s, imported and analysed in {result.study_seconds:.0f} s.")


def simulate(
    out: Annotated[
        Path, typer.Argument(help="New folder for the raw images, the layout and the truth.", show_default=False)
    ],
    preset: Annotated[
        str, typer.Option(help="tutorial, sample, benchmark, null (no effects), coupled (niche drives fate) or volume.")
    ] = "tutorial",
    seed: Annotated[int, typer.Option(help="Seed.", min=0)] = 0,
) -> None:
    """Write simulated organoids as a microscope would leave them, with the whole truth beside."""
    from napari_marrow.export.raw_set import write_raw_set
    from napari_marrow.simulation import preset as scenario_of
    from napari_marrow.simulation import simulate as simulate_scenario

    with working() as (progress, cancel):
        experiment = simulate_scenario(scenario_of(preset, seed=seed), progress=progress, cancel=cancel)
        written = write_raw_set(experiment, out, progress=progress, cancel=cancel)
    typer.echo(f"Wrote {written}")


def run(
    study: Study,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe (YAML); when left out every default, on the preferred device.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last step to run.")] = None,
    executor: Annotated[str, typer.Option(help="serial, processes or dask.")] = "serial",
    workers: Workers = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, such as tcp://host:8786.")] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="Cluster file (YAML): jobs of SLURM, LSF, PBS and others as Dask workers.")
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(help="Compute only a share of the frames, such as 3/10 in a job array.", metavar="I/N"),
    ] = None,
) -> None:
    """Run a recipe: correct, register, segment, measure, track, colonies, niche, lineage, report."""
    from functools import partial

    from napari_marrow.pipeline import load_recipe
    from napari_marrow.pipeline import run as run_recipe
    from napari_marrow.pipeline.executors import executor_for
    from napari_marrow.pipeline.preferences import preferred_recipe
    from napari_marrow.pipeline.shares import Share, run_share

    chosen = load_recipe(recipe) if recipe is not None else preferred_recipe()
    work = run_recipe if units is None else partial(run_share, share=Share.parse(units))
    with working() as (progress, cancel):
        summary = work(
            study,
            recipe=chosen,
            until=until,
            executor=executor_for(executor, workers=workers, scheduler=scheduler, cluster=cluster),
            progress=progress,
            cancel=cancel,
        )
    _print_summary(summary)
    if units is not None:
        typer.echo("`marrow run` without --units makes the results active when every share has come.")
        return
    page = study / "report" / "report.html"
    if page.is_file() and until in (None, "report"):
        typer.echo(f"Report: {page}")


def _print_summary(summary: RunSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{summary.study.name}, recipe {summary.recipe_digest}, {summary.seconds:.1f} s")
    table.add_column("step")
    for name in ("units", "computed", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("counts")
    for step in summary.steps:
        counts = ", ".join(f"{value:g} {name}" for name, value in step.counts.items())
        table.add_row(step.name, str(step.units), str(step.computed), f"{step.seconds:.1f}", counts)
    Console().print(table)
    for note in summary.notes:
        typer.echo(f"Note: {note}")


def template(
    system: Annotated[str, typer.Argument(help="slurm or snakemake.", show_default=False)],
    study: Study,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe (YAML); when left out every default, on the preferred device.")
    ] = None,
    shares: Annotated[int, typer.Option(help="Jobs that the frames are shared by.", min=1, max=100_000)] = 100,
    out: Annotated[Path | None, typer.Option(help="File to write; printed when left out.")] = None,
) -> None:
    """Print a script that runs a recipe as jobs: a job array for what works frame by frame, one job for the rest."""
    from napari_marrow.pipeline.job_templates import job_template
    from napari_marrow.study import Study as StudyStore

    StudyStore.open(study)
    _write_text(job_template(system, study.absolute(), None if recipe is None else recipe.absolute(), shares), out)


def recipe(
    out: Annotated[Path | None, typer.Option(help="File to write; printed when left out.")] = None,
) -> None:
    """Print a recipe with every default, explained line by line."""
    from napari_marrow.pipeline import Recipe, dump_recipe

    _write_text(dump_recipe(Recipe()), out)


def _write_text(text: str, out: Path | None) -> None:
    """Write a new file at once, or print without one."""
    from napari_marrow.errors import PathExistsError, write_refused

    if out is None:
        typer.echo(text, nl=False)
        return
    if out.exists():
        raise PathExistsError(f"'{out}' exists: choose another name, or remove it first.")
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.rename(out)
    except OSError as error:
        raise write_refused(out, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    typer.echo(f"Wrote {out}")


def report(
    study: Study,
    out: Annotated[Path | None, typer.Option(help="Folder for the report; by default inside the study.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print report.pdf, too (by Chromium, Chrome or Edge).")] = False,
) -> None:
    """Write the report of the active results once more."""
    from napari_marrow.report import write_report
    from napari_marrow.study import Study as StudyStore

    with working() as (progress, cancel):
        page = write_report(StudyStore.open(study), out, recipe=None, pdf=pdf, progress=progress, cancel=cancel)
    typer.echo(f"Report: {page}")


def info(
    study: Annotated[str, typer.Argument(help="The study, a *.marrow folder or a URL.", show_default=False)],
) -> None:
    """Show what a study holds and which results are active."""
    from rich.console import Console
    from rich.table import Table

    from napari_marrow.pipeline.judging import flags_of
    from napari_marrow.study import Study as StudyStore

    store = StudyStore.open(study)
    held = store.summary()
    console = Console()
    console.width = max(console.width, 110)  # a pipe has no width, and a table cut to 80 columns says little
    console.print(f"[bold]{held['name']}[/bold]  {held['path']}", highlight=False)
    console.print(
        f"time zero {held['t0'] or 'is the first frame'}, schema {held['schema_version']}, {held['n_frames']} frames"
    )
    sessions = Table(
        "position", "session", "frames", "from (h)", "to (h)", "channels", "size (px)", "pixel (µm)", box=None
    )
    for row in held["sessions"]:
        _, channels, z, y, x = row["shape"]
        sessions.add_row(
            row["position"],
            str(row["session"]),
            str(row["frames"]),
            f"{row['start_h']:.4g}",
            f"{row['end_h']:.4g}",
            str(channels),
            " x ".join(str(n) for n in ([z] if z > 1 else []) + [y, x]),
            f"{row['spacing_um'][2]:.4g}",
        )
    console.print(sessions)
    for names in dict.fromkeys(", ".join(row["channels"]) for row in held["sessions"]):
        console.print(f"channels: {names}", highlight=False)
    layout = Table(*store.layout.columns, box=None)
    for _, line in store.layout.iterrows():
        layout.add_row(*("-" if value != value else str(value) for value in line))
    console.print(layout)
    for left_out in store.exclusions:
        where = f"{left_out.position} " if left_out.position else ""
        console.print(f"left out: {where}session {left_out.session}, {left_out.reason}", highlight=False)
    for event in store.events:
        where = f", {event.position}" if event.position else ""
        note = f": {event.note}" if event.note else ""
        console.print(f"event at {event.time_h:g} h: {event.kind}{where}{note}", highlight=False)
    for found in flags_of(store):
        if found.flags:
            console.print(f"flags: {found}", highlight=False)
    active = store.active
    console.print(
        "results: " + (", ".join(f"{step} {key}" for step, key in active.items()) or "none yet: `marrow run`")
    )
