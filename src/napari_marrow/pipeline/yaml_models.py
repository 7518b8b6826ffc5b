"""Settings in YAML files: read without tags or code, and refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from napari_marrow.errors import RecipeError


class _OnceLoader(yaml.SafeLoader):
    """The safe loader, which also refuses a key that a mapping has twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse repeated keys, then do as every loader."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                reason = f"the key '{key.value}' is there twice"
                raise yaml.constructor.ConstructorError(None, None, reason, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path, what: str) -> Any:
    """Return the content of a YAML file (safe loader: no tags, no code).

    Parameters
    ----------
    path : Path
    what : str
        How the sentence names it, such as ``"The recipe 'a.yaml'"``.

    Raises
    ------
    RecipeError
        If it is no plain YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceLoader)  # a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"{what} is no plain YAML file: {reason}.") from error


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """Return what is wrong with settings, each key by its name, unknown ones with the nearest known."""
    parts = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown key '{where}'{_near(item['loc'], model)}")
        else:
            parts.append(f"'{where}' is {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}")
    return "; ".join(parts)


def _near(location: tuple[int | str, ...], root: type[BaseModel]) -> str:
    from difflib import get_close_matches

    model: Any = root
    for part in location[:-1]:
        field = model.model_fields.get(part)
        model = field.annotation if field is not None else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return ""
    close = get_close_matches(str(location[-1]), list(model.model_fields), n=1)
    return f" (did you mean '{close[0]}'?)" if close else f" (known: {', '.join(model.model_fields)})"
