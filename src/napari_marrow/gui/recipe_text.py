"""A recipe as text that runs the same elsewhere. Knows no Qt."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from napari_marrow.pipeline.recipe import Recipe


def differences(recipe: Recipe) -> dict[str, Any]:
    """Return what of a recipe is not the default, as nested plain values.

    Parameters
    ----------
    recipe : Recipe
    """
    default = Recipe().model_dump(mode="json")
    found: dict[str, Any] = {}
    for section, values in recipe.model_dump(mode="json").items():
        if isinstance(values, dict):
            other = {name: value for name, value in values.items() if value != default[section][name]}
            if other:
                found[section] = other
        elif values != default[section]:
            found[section] = values
    return found


def as_command(study: Path, recipe: Recipe) -> str:
    """Return lines for a POSIX shell that run the recipe on the study as the window does.

    Parameters
    ----------
    study : Path
    recipe : Recipe
    """
    changed = differences(recipe)
    run = f"marrow run {shlex.quote(str(study))}"
    if not changed:
        return f"{run}\n"
    text = yaml.safe_dump(changed, sort_keys=False, allow_unicode=True)
    return f"cat > recipe.yaml <<'END_OF_RECIPE'\n{text}END_OF_RECIPE\n{run} --recipe recipe.yaml\n"


def as_python(study: Path, recipe: Recipe) -> str:
    """Return a Python program that runs the recipe on the study as the window does.

    Parameters
    ----------
    study : Path
    recipe : Recipe
    """
    return (
        "from napari_marrow.pipeline import parse_recipe, run\n\n"
        f"recipe = parse_recipe({differences(recipe)!r})\n"
        'if __name__ == "__main__":\n'
        f"    summary = run({str(study)!r}, recipe)\n"
    )
