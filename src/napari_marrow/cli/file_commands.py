"""Commands on plain files, so that the pieces serve without a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_marrow.cli.console import working

if TYPE_CHECKING:
    from napari_marrow.segmentation import Segmenter


_MOST_FRAMES = 100_000


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("segment", rich_help_panel="Plain files")(segment)
    app.command("track", rich_help_panel="Plain files")(track)
    app.command("convert", rich_help_panel="Plain files")(convert)
    app.command("evaluate", rich_help_panel="Plain files")(evaluate)


def segment(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Images (TIFF: planes, T stacks or Z stacks; PNG, JPEG, BMP), folders of them, or patterns.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the label TIFFs, each named as its image.", show_default=False)],
    model: Annotated[str, typer.Option(help="Name of a bundled model, or a file of weights.")] = "marrow-nuclei",
    diameter: Annotated[
        float | None, typer.Option(help="Diameter of a cell in pixels; estimated when left out.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Channel to segment where an image has several: number from 0, name, or 'grey'.")
    ] = None,
    second_channel: Annotated[
        str | None, typer.Option(help="Channel for the network's second input: for whole cells, their nuclei.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="Order of the axes where the file does not say, such as TYX.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, mps, or auto: a GPU where torch finds one. By default as preferred, else cpu."),
    ] = None,
    precision: Annotated[str, typer.Option(help="Arithmetic of the network: auto, f32 or bf16.")] = "auto",
    flow_threshold: Annotated[float, typer.Option(help="Largest flow error of a mask; larger keeps more masks.")] = 0.4,
    cellprob_threshold: Annotated[float, typer.Option(help="Least cell probability (logit).")] = 0.0,
    min_size: Annotated[int, typer.Option(help="Smallest mask in pixels.", min=0)] = 15,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Mend cells missed, merged or split in one frame of a series by its neighbours."),
    ] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write pictures with the outlines of the cells, in OUT/overlays.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(help="Threads; by default as many as preferred, else all usable cores.", min=1)
    ] = None,
    volume: Annotated[
        str, typer.Option(help="Volumes: 'planes', joined where they overlap, or 'flows' in three orientations.")
    ] = "planes",
    anisotropy: Annotated[
        float, typer.Option(help="Distance of a volume's planes over the pixel size, for 'flows'.")
    ] = 1.0,
    flow_smoothing: Annotated[
        float, typer.Option(help="Gaussian over the flows of a volume, in pixels, for 'flows'.", min=0)
    ] = 0.0,
) -> None:
    """Write a label image for every image, and counts.csv. The same command again goes on where it was stopped."""
    from napari_marrow.pipeline.preferences import preferences
    from napari_marrow.pipeline.segment_files import segment_files

    preferred, _ = preferences()
    with working() as (progress, cancel):
        counts = segment_files(
            images,
            out,
            model=model,
            diameter=diameter,
            channel=_channel(channel),
            second_channel=_channel(second_channel),
            axes=axes,
            device=device or preferred.device,
            precision=precision,
            flow_threshold=flow_threshold,
            cellprob_threshold=cellprob_threshold,
            min_size=min_size,
            repair=repair,
            overlays=overlay,
            threads=threads or preferred.threads,
            volume_mode=volume,
            anisotropy=anisotropy,
            flow_smoothing=flow_smoothing,
            on_loaded=_say_device,
            progress=progress,
            cancel=cancel,
        )
    typer.echo(f"{int(counts['cells'].sum())} cells in {len(counts)} file(s), in {out} (counts.csv)")


def _channel(wish: str | None) -> int | str | None:
    return int(wish) if wish is not None and wish.isdigit() else wish


def _say_device(segmenter: Segmenter) -> None:
    typer.echo(f"{segmenter.card.name} on {segmenter.device} ({segmenter.precision}) ...", err=True)


def track(
    source: Annotated[
        list[Path],
        typer.Argument(
            help="A TIFF stack or folder of label images, or points: a CSV, TrackMate XML or GEFF.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for Cell Tracking Challenge files, a CSV for points, or a name in .geff or .xml (TrackMate).",
            show_default=False,
        ),
    ],
    times: Annotated[Path | None, typer.Option(help="Text file with the time of every frame in hours.")] = None,
    frame_interval: Annotated[float | None, typer.Option(help="Minutes between frames, where they are even.")] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Size of a voxel or pixel of label images, such as 2,0.5,0.5.")
    ] = None,
    max_displacement: Annotated[
        float | None, typer.Option(help="Largest step between two frames, unit of the coordinates; learned by default.")
    ] = None,
    max_gap: Annotated[int, typer.Option(help="Frames over which a lost cell is found again.")] = 3,
    candidates: Annotated[int, typer.Option(help="Detections that compete for a cell.")] = 6,
    rounds: Annotated[int, typer.Option(help="Rounds of learning.")] = 4,
    features: Annotated[
        str | None, typer.Option(help="Columns to use, separated by commas; all measurements by default.")
    ] = None,
    divisions: Annotated[bool, typer.Option(help="Whether cells divide.")] = True,
    division_rate: Annotated[
        float, typer.Option(help="Divisions per cell and frame that learning starts from.")
    ] = 0.003,
    second_order: Annotated[bool, typer.Option(help="Whether a cell's own velocity and speed count.")] = True,
    drift: Annotated[bool, typer.Option(help="Whether shifts of the whole field are taken away first.")] = True,
    blobs: Annotated[bool, typer.Option(help="Whether one outline may hold two cells.")] = True,
    appearance: Annotated[bool, typer.Option(help="Whether size and other measurements count.")] = True,
    decisions: Annotated[
        Path | None, typer.Option(help="CSV for the least certain decisions, each with its reason.")
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the decisions that --decisions lists.")] = 0.05,
    figure: Annotated[Path | None, typer.Option(help="PNG or PDF of the distributions that were learned.")] = None,
) -> None:
    """Link cells from frame to frame, through divisions, each link with its probability.

    Label images give Cell Tracking Challenge files (maskNNN.tif and res_track.txt); a CSV with columns t, y, x
    (and z, area, any features), a TrackMate file or a GEFF folder is returned with track_id, parent_track_id and
    link_probability; tracks that a file already has are left aside.
    Settings and what was learned go to a .tracking.json beside it.
    """
    from napari_marrow.pipeline.track_files import track_labels_files, track_points_file
    from napari_marrow.pipeline.track_outputs import TrackOutputs, beside
    from napari_marrow.tracking import TrackingSettings

    settings = TrackingSettings(
        max_gap=max_gap,
        candidates=candidates,
        rounds=rounds,
        divisions=divisions,
        division_rate=division_rate,
        second_order=second_order,
        drift=drift,
        blobs=blobs,
        appearance=appearance,
        features=tuple(name.strip() for name in features.split(",")) if features else None,
        search_radius=max_displacement,
    )
    outputs = TrackOutputs(beside(out), decisions, figure, share)
    with working() as (progress, cancel):
        hours = _hours(times, frame_interval)
        if len(source) == 1 and source[0].suffix.lower() in (".csv", ".xml", ".geff"):
            tracking = track_points_file(
                source[0], out, settings=settings, times_h=hours, outputs=outputs,
                progress=progress, cancel=cancel,
            )  # fmt: skip
        else:
            tracking = track_labels_files(
                source[0] if len(source) == 1 else source, out, spacing=_lengths(spacing), settings=settings,
                times_h=hours, outputs=outputs, progress=progress, cancel=cancel,
            )  # fmt: skip
    typer.echo(f"{int(tracking.track_id.max(initial=0))} tracks, in {out}")


def convert(
    source: Annotated[
        Path,
        typer.Argument(help="Tracks: a CTC folder, CSV, TrackMate XML or GEFF.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="New name in .csv, .xml (TrackMate) or .geff, or a folder for Cell Tracking Challenge files.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="Label images that points lie on: the masks of a CTC folder.", show_default=False),
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Size of a voxel or pixel of the label images, such as 2,0.5,0.5.")
    ] = None,
) -> None:
    """Write tracks that exist in another format; nothing is linked anew."""
    from napari_marrow.pipeline.track_conversion import convert_tracks

    with working() as (progress, cancel):
        n_tracks = convert_tracks(
            source, out, labels=labels or None, spacing=_lengths(spacing), progress=progress, cancel=cancel
        )
    typer.echo(f"{n_tracks} tracks, in {out}")


def _hours(times: Path | None, frame_interval: float | None) -> list[float] | None:
    from napari_marrow.errors import SettingsError
    from napari_marrow.pipeline.track_files import read_times

    if times is not None and frame_interval is not None:
        raise SettingsError("--times and --frame-interval were both given: one of them says when frames were taken.")
    if frame_interval is not None:
        if not 0 < frame_interval < float("inf"):
            raise SettingsError(f"--frame-interval is {frame_interval}: give minutes above 0.")
        return [k * frame_interval / 60 for k in range(_MOST_FRAMES)]
    return read_times(times) if times is not None else None


def _lengths(text: str | None) -> list[float] | None:
    from napari_marrow.errors import SettingsError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise SettingsError(f"--spacing is '{text}': give lengths separated by commas, such as 2,0.5,0.5.") from error


def evaluate(
    truth: Annotated[
        Path,
        typer.Argument(
            help="True label image(s), CTC folder, or tracks as CSV, TrackMate XML or GEFF.", show_default=False
        ),
    ],
    result: Annotated[Path, typer.Argument(help="Result: labels for labels, tracks for tracks.", show_default=False)],
    tracks: Annotated[bool, typer.Option("--tracks", help="Score tracks: CTC measures, division F1, link F1.")] = False,
) -> None:
    """Score labels (average precision at IoU .5, .75 and .9) or tracks (CTC measures) against truth."""
    from napari_marrow.pipeline.evaluate_files import evaluate_labels, evaluate_tracks

    scores = evaluate_tracks(truth, result) if tracks else evaluate_labels(truth, result)
    for name, value in scores.items():
        typer.echo(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
