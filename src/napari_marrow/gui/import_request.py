"""What a person asks to import, and the work of looking at it and of doing it; no widgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_marrow.errors import SettingsError
from napari_marrow.ingest import ImportSummary, PlannedSession, import_files, parse_pixel_size, preview
from napari_marrow.progress import CancelToken, Progress


@dataclass(frozen=True)
class Fact:
    """Something that files may not say.

    Attributes
    ----------
    option : str
        The command's option for it; `PlannedSession.missing` names it.
    argument : str
        The argument of `import_files`.
    label, unit, help : str
        What is shown beside the field, in it where it is empty, and on hovering.
    """

    option: str
    argument: str
    label: str
    unit: str
    help: str


FACTS = (
    Fact("--pixel-size", "pixel_size", "Pixel size", "µm", "0.65, or y,x, or z,y,x for stacks; in µm."),
    Fact("--frame-interval", "frame_interval_h", "Time between frames", "h", "Hours from one frame to the next."),
    Fact("--start", "start_h", "Start", "h since seeding", "Hours from the study's beginning to the first frame."),
    Fact("--channels", "channel_names", "Channels", "names", "Names in their order, comma separated."),
    Fact("--axes", "axes", "Axes", "such as TCYX", "Order of the axes, letters of TCZYX."),
    Fact("--position", "position", "Position", "such as B02_f00", "Well and field, where all files are of one."),
    Fact("--session", "session", "Session", "number", "Number of the session, where all files are of one."),
    Fact(
        "--pattern", "pattern", "Names of files", "{well}_s{site}_t{time}.tif", "How the files of a series are named."
    ),
)
"""In the order in which they are shown."""


@dataclass(frozen=True)
class ImportRequest:
    """Files, the study they go into, and what the user states.

    Attributes
    ----------
    sources : tuple of Path
    study : Path
    layout : Path or None
    stated : dict of str to str
        Text by argument of `import_files`; what is left empty is not stated.
    """

    sources: tuple[Path, ...]
    study: Path
    layout: Path | None = None
    stated: dict[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Return the arguments of `import_files`.

        Raises
        ------
        SettingsError
            If a text is no number where one is wanted.
        """
        said = {name: text.strip() for name, text in self.stated.items() if text.strip()}
        options: dict[str, Any] = {"layout": self.layout, "start_h": "auto"}
        for fact in FACTS:
            if fact.argument in said:
                options[fact.argument] = _value(fact, said[fact.argument])
        return options

    def plan(self) -> list[PlannedSession]:
        """Return what would become what; nothing is written."""
        return preview(self.study, self.sources, **self.options())

    def carry_out(self, progress: Progress, cancel: CancelToken) -> ImportSummary:
        """Import, and judge the frames while they are read, as the command does."""
        from napari_marrow.pipeline.judging import ImportedFrames, judge_frames

        measured = ImportedFrames()
        summary = import_files(
            self.study, self.sources, **self.options(), observe=measured, progress=progress, cancel=cancel
        )
        judge_frames(self.study, measured=measured, progress=progress, cancel=cancel)
        return summary

    def command(self) -> str:
        """Return the command that does the same."""
        import shlex

        words = ["marrow", "import", *(str(source) for source in self.sources), "--study", str(self.study)]
        if self.layout is not None:
            words += ["--layout", str(self.layout)]
        for fact in FACTS:
            text = self.stated.get(fact.argument, "").strip()
            words += [fact.option, text] if text else []
        return shlex.join(words)


def _value(fact: Fact, text: str) -> object:
    if fact.argument == "pixel_size":
        return parse_pixel_size(text)
    if fact.argument == "channel_names":
        return [name.strip() for name in text.split(",")]
    if fact.argument in ("frame_interval_h", "start_h", "session"):
        try:
            return int(text) if fact.argument == "session" else float(text)
        except ValueError:
            raise SettingsError(f"{fact.label} is '{text}': give a number ({fact.unit}).") from None
    return text
