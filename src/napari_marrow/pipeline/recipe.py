"""The recipe: every parameter of an analysis in one model, for the command line, the GUI's forms and Python alike."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from napari_marrow.errors import PathMissingError, RecipeError
from napari_marrow.pipeline.recipe_sections import (
    ColoniesSection,
    CorrectSection,
    CurateSection,
    LineageSection,
    NicheSection,
    RegistrationSection,
    ReportSection,
    Section,
    SegmentSection,
    StructuresSection,
    TrackSection,
)
from napari_marrow.pipeline.yaml_models import read_yaml, sentence

RECIPE_SCHEMA = 1


class Recipe(Section):
    """Every parameter of an analysis.

    Examples
    --------
    >>> Recipe().segment.model
    'marrow-nuclei'
    """

    version: Literal[1] = Field(1, description="Version of the recipe's layout.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of every simulation and bootstrap.")
    correct: CorrectSection = CorrectSection()
    registration: RegistrationSection = RegistrationSection()
    segment: SegmentSection = SegmentSection()
    track: TrackSection = TrackSection()
    curate: CurateSection = CurateSection()
    structures: StructuresSection = StructuresSection()
    colonies: ColoniesSection = ColoniesSection()
    niche: NicheSection = NicheSection()
    lineage: LineageSection = LineageSection()
    report: ReportSection = ReportSection()

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that two recipes share only when every parameter is equal."""
        return digest(self.model_dump(mode="json"))


def digest(content: Any) -> str:
    """Return twelve hexadecimal digits of the SHA-256 of JSON content.

    Parameters
    ----------
    content
        Anything that `json.dumps` takes; the order of keys does not matter.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe from a YAML file (safe loader: no tags, no code).

    Raises
    ------
    PathMissingError
        If there is no such file.
    RecipeError
        If it is no YAML mapping, has an unknown key or a value out of bounds; the message names each.
    """
    path = Path(path)
    if not path.is_file():
        raise PathMissingError(
            f"There is no recipe at '{path}': `marrow recipe --out {path}` writes one with every default."
        )
    content = read_yaml(path, f"The recipe '{path}'")
    return parse_recipe(content if content is not None else {}, source=str(path))


def parse_recipe(content: Any, *, source: str = "recipe") -> Recipe:
    """Check a mapping of parameters; keys left out take their defaults.

    Raises
    ------
    RecipeError
        For an unknown key or a value out of bounds.
    """
    if not isinstance(content, dict):
        raise RecipeError(f"The recipe '{source}' holds {type(content).__name__}, not a mapping of sections.")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"The recipe '{source}' does not fit: {sentence(error, Recipe)}.") from error


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML with each field's meaning, unit and bounds as a comment; `load_recipe` reads it."""
    lines = ["# Recipe of napari-marrow. Every key may be left out: it then takes the value shown here."]
    for name, field in Recipe.model_fields.items():
        value = getattr(recipe, name)
        if isinstance(value, Section):
            doc = " ".join((type(value).__doc__ or "").split())
            lines += ["", f"{name}:  # {doc}"]
            lines += _section_lines(value)
        else:
            lines.append(f"{name}: {_scalar(value)}  # {field.description}")
    return "\n".join(lines) + "\n"


def _section_lines(section: Section) -> list[str]:
    lines = []
    for key, field in type(section).model_fields.items():
        extra = field.json_schema_extra
        unit = f" [{extra['unit']}]" if isinstance(extra, dict) and "unit" in extra else ""
        lines.append(f"  # {field.description}{unit}{_bounds(field.metadata)}")
        lines.append(f"  {key}: {_scalar(getattr(section, key))}")
    return lines


def _bounds(metadata: list[Any]) -> str:
    words = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [f"{sign} {getattr(m, name):g}" for m in metadata for name, sign in words.items() if hasattr(m, name)]
    return f" ({', '.join(found)})" if found else ""


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
