"""The recipe as a list of form fields, and back. Knows no Qt."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from napari_marrow.pipeline.recipe import Recipe

Kind = Literal["bool", "int", "float", "text", "choice", "list", "numbers", "mapping", "values", "json"]

_LABELS = {
    "min_frames": "Least frames",
    "min_area_um2": "Least area",
    "min_cells": "Least cells",
    "min_probability": "Least probability",
    "max_shift_um": "Largest shift",
    "max_angle_deg": "Largest angle",
    "max_gap": "Largest gap",
    "cellprob_threshold": "Cell threshold",
    "every_h": "Measured every",
    "r_max_um": "Largest distance",
    "n_simulations": "Null simulations",
    "n_bootstrap": "Bootstrap samples",
    "bridge_sessions": "Emergence over gaps",
    "min_track_frames": "Least track frames",
    "consecutive": "Frames in a row",
}
_UNITS = frozenset({"um", "um2", "deg", "h"})


@dataclass(frozen=True)
class FormField:
    """One parameter as a form shows it.

    Attributes
    ----------
    section, name : str
        Where it stands in the recipe; `section` is empty at the top level.
    label : str
        What stands before the editor.
    kind : str
        Which editor: bool, int, float, text, choice, list (of text), numbers, mapping (text to text), values (text to
        number), or json for whatever has no editor of its own.
    description, unit : str
        From the recipe's model.
    default : object
    optional : bool
        Whether it may be empty (None).
    minimum, maximum : float or None
        Bounds.
    above, below : bool
        Whether the bound itself is not allowed.
    choices : tuple
        Allowed values of a choice.
    """

    section: str
    name: str
    label: str
    kind: Kind
    description: str
    unit: str
    default: Any
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    above: bool = False
    below: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def tooltip(self) -> str:
        """Description, bounds and the key in a recipe file."""
        key = f"{self.section}.{self.name}" if self.section else self.name
        signs = [
            f"{'>' if self.above else '≥'} {self.minimum:g}" if self.minimum is not None else "",
            f"{'<' if self.below else '≤'} {self.maximum:g}" if self.maximum is not None else "",
        ]
        bounds = " and ".join(sign for sign in signs if sign)
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.description}{f' {bounds}{unit}.' if bounds else ''}\nIn a recipe file: {key}"


@dataclass(frozen=True)
class FormSection:
    """The fields of one section of the recipe."""

    name: str
    title: str
    description: str
    fields: tuple[FormField, ...]


def form_sections(model: type[BaseModel] = Recipe) -> list[FormSection]:
    """Return the form of a recipe model: a section per nested model, then the top level's own fields."""
    sections, own = [], []
    for name, info in model.model_fields.items():
        nested = info.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            fields = tuple(_field(name, key, inner) for key, inner in nested.model_fields.items())
            text = " ".join((nested.__doc__ or "").split())
            sections.append(FormSection(name, name.capitalize(), text, fields))
        elif name != "version":
            own.append(_field("", name, info))
    if own:
        sections.append(FormSection("", "General", "What every step shares.", tuple(own)))
    return sections


def _field(section: str, name: str, info: FieldInfo) -> FormField:
    annotation, optional = _without_none(info.annotation)
    extra = info.json_schema_extra
    bounds: dict[str, Any] = {}
    for item in info.metadata:
        for key, target in (("ge", "minimum"), ("gt", "minimum"), ("le", "maximum"), ("lt", "maximum")):
            if hasattr(item, key):
                bounds[target] = getattr(item, key)
                bounds |= {"above": True} if key == "gt" else {"below": True} if key == "lt" else {}
    kind, choices = _kind(annotation)
    if kind not in ("int", "float"):  # their bounds count characters or entries
        bounds = {}
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    return FormField(
        section,
        name,
        _label(name),
        kind,
        info.description or "",
        unit,
        info.default,
        optional,
        choices=choices,
        **bounds,
    )


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return annotation, False


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "choice", arguments
    simple: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
    if annotation in simple:
        return simple[annotation], ()
    if origin is list and arguments == (str,):
        return "list", ()
    if origin in (list, tuple) and set(arguments) <= {float, int, Ellipsis}:
        return "numbers", ()
    if origin is dict and arguments == (str, str):
        return "mapping", ()
    if origin is dict and arguments == (str, float):
        return "values", ()
    return "json", ()


def _label(name: str) -> str:
    if name in _LABELS:
        return _LABELS[name]
    text = " ".join(word for word in name.split("_") if word not in _UNITS)
    return text[:1].upper() + text[1:]
