"""The command that answers who lives where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_marrow.cli.console import working


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("niche", rich_help_panel="Study")(niche)


def niche(
    source: Annotated[
        list[str],
        typer.Argument(
            help="A study (*.marrow folder), a CSV of cells, or NAME=FILE.csv for each class.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables (CSV) and figures (PNG).", show_default=False)],
    structure: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: mask (TIFF) or spots (CSV) of a structure; repeat it.")
    ] = None,
    tissue: Annotated[Path | None, typer.Option(help="Mask (TIFF) of the tissue; the whole image by default.")] = None,
    spacing: Annotated[str | None, typer.Option(help="Voxel size of the masks in µm: z,y,x or y,x.")] = None,
    class_column: Annotated[str | None, typer.Option(help="Column of a CSV that names each cell's class.")] = None,
    solid: Annotated[str, typer.Option(help="Structures that are no tissue, comma separated.")] = "scaffold",
    vessels: Annotated[str, typer.Option(help="Structures that get a vessel graph, comma separated.")] = "vessel",
    coverage: Annotated[
        str | None, typer.Option(help="Surface and what covers it, such as vessel:pericyte; several by comma.")
    ] = None,
    r_max: Annotated[float, typer.Option(help="Largest distance to a structure, µm.")] = 100.0,
    simulations: Annotated[int, typer.Option(help="Simulations of each null model.", min=19)] = 999,
    strata_column: Annotated[
        str | None, typer.Option(help="Column within whose quantiles labels are shuffled, such as z.")
    ] = None,
    window_voxel: Annotated[float, typer.Option(help="Grid of a tissue guessed from points, µm.")] = 10.0,
    window_closing: Annotated[float, typer.Option(help="Radius that closes gaps between points, µm.")] = 50.0,
    seed: Annotated[int, typer.Option(help="Seed of the null models.", min=0)] = 0,
) -> None:
    """Measure vessels, distances and who lives where, against null models; write tables and figures.

    A study gives the results of its last run, over time and with n = organoids. Plain files give one sample: positions
    in µm in columns x, y and, in volumes, z.
    """
    from napari_marrow.niche import NicheSettings
    from napari_marrow.pipeline.niche_files import Window, niche_of_files, niche_of_study

    with working() as (_, cancel):
        if len(source) == 1 and Path(source[0]).is_dir():
            notes = niche_of_study(Path(source[0]), out, cancel=cancel)
        else:
            settings = NicheSettings(
                n_simulations=simulations, n_uniform=min(simulations, 99), r_max=r_max, seed=seed,
                cross_r_max=min(r_max, 60.0), interaction_r=min(r_max, 30.0), solid=_names(solid),
                vessels=_names(vessels), strata_column=strata_column, coverage=_couples(coverage),
            )  # fmt: skip
            notes = niche_of_files(
                _files(source, alone=True), out, structures=_files(structure or [], alone=False), tissue=tissue,
                spacing=_lengths(spacing), class_column=class_column, window=Window(window_voxel, window_closing),
                settings=settings, cancel=cancel,
            )  # fmt: skip
    for note in notes:
        typer.echo(note)
    typer.echo(f"Tables and figures: {out}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _couples(text: str | None) -> tuple[tuple[str, str], ...]:
    from napari_marrow.errors import SettingsError

    couples = [tuple(part.split(":")) for part in _names(text or "")]
    if any(len(couple) != 2 or not all(couple) for couple in couples):
        raise SettingsError(f"--coverage is '{text}': give a surface and what covers it, such as vessel:pericyte.")
    return tuple((couple[0], couple[1]) for couple in couples)


def _files(texts: list[str], *, alone: bool) -> dict[str, Path]:
    from napari_marrow.errors import SettingsError

    files: dict[str, Path] = {}
    for text in texts:
        name, mark, path = text.partition("=")
        if not mark:
            if not alone or len(texts) > 1:
                raise SettingsError(f"'{text}' has no name: write NAME=FILE, such as vessel=vessel.tif.")
            return {"": Path(text)}
        if not name or name in files:
            raise SettingsError(f"'{text}' needs a name of its own: write NAME=FILE, each name once.")
        files[name] = Path(path)
    return files


def _lengths(text: str | None) -> tuple[float, ...] | None:
    from napari_marrow.errors import SettingsError

    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"--spacing is '{text}': give µm separated by commas, such as 2,0.5,0.5.") from error
