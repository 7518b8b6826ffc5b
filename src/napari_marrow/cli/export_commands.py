"""The command that writes a study in other programs' formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_marrow.cli.console import working

if TYPE_CHECKING:
    from napari_marrow.study import Study as StudyStore

FORMATS = ("ome-zarr-0.4", "csv", "anndata", "ctc", "geff", "trackmate", "ro-crate")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export", rich_help_panel="Study")(export)


def export(
    study: Annotated[str, typer.Argument(help="The study, a *.marrow folder or a URL.", show_default=False)],
    to: Annotated[str, typer.Option("--as", help=f"One of {', '.join(FORMATS)}.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="New file or folder; by default beside the study.", show_default=False)
    ] = None,
    position: Annotated[str | None, typer.Option(help="Only this position; ctc, geff and trackmate need one.")] = None,
    session: Annotated[int | None, typer.Option(help="Session, for ctc, geff and trackmate.", min=0)] = None,
    license_url: Annotated[str | None, typer.Option("--license", help="URL of the data's licence (ro-crate).")] = None,
    author: Annotated[list[str] | None, typer.Option(help="Name or ORCID URL (ro-crate); may be repeated.")] = None,
) -> None:
    """Write a study's images, labels, tables, tracks or provenance in a format that other programs read."""
    from napari_marrow.errors import SettingsError
    from napari_marrow.study import Study as StudyStore

    if to not in FORMATS:
        raise SettingsError(f"There is no format '{to}': choose one of {', '.join(FORMATS)}.")
    store = StudyStore.open(study)
    if to == "ro-crate":
        from napari_marrow.export.ro_crate import write_ro_crate

        typer.echo(f"Wrote {write_ro_crate(store, out, license_url=license_url, authors=author)}")
        return
    target = out or Path(f"{Path(store.path.name).stem}{_ENDINGS[to]}")
    typer.echo(f"Wrote {target}: {_write(store, to, target, position, session)}")


_ENDINGS = {
    "ome-zarr-0.4": ".ome.zarr", "csv": "-csv", "anndata": ".h5ad", "ctc": "-ctc", "geff": ".geff", "trackmate": ".xml",
}  # fmt: skip


def _write(store: StudyStore, to: str, target: Path, position: str | None, session: int | None) -> str:
    """Write one of the formats and return what was written."""
    from napari_marrow.errors import SettingsError
    from napari_marrow.export import cell_matrix, csv_tables, ome_zarr_04, study_tracks

    with working() as (progress, cancel):
        if to == "ome-zarr-0.4":
            positions = None if position is None else [position]
            ome_zarr_04.write_ome_zarr_04(store, target, positions=positions, progress=progress, cancel=cancel)
            return "a plate of OME-Zarr 0.4"
        if to == "csv":
            return f"{len(csv_tables.write_csv(store, target, progress=progress))} tables"
        if to == "anndata":
            cells, measures = cell_matrix.write_anndata(store, target)
            return f"{cells} cells with {measures} measures"
        if position is None or session is None:
            raise SettingsError(f"--as {to} writes one session: give --position and --session.")
        store.image(position, session)  # refuses what is not there
        if to == "ctc":
            return f"{study_tracks.write_session_ctc(store, position, session, target, progress=progress)} tracks"
        write = study_tracks.write_session_trackmate if to == "trackmate" else study_tracks.write_session_geff
        return f"{write(store, position, session, target)} cells"
