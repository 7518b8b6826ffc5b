"""What a user prefers on this machine: device, cores and cache folder, in a small YAML file.

A preference is a default: options of a command, keys of a recipe and environment variables go before it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_marrow.errors import MarrowError, SettingsError
from napari_marrow.pipeline.new_file import write_new
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.yaml_models import read_yaml, sentence

CONFIG_VARIABLE = "NAPARI_MARROW_CONFIG"
CACHE_VARIABLE = "NAPARI_MARROW_CACHE"
_LARGEST_BYTES = 65_536


class Preferences(BaseModel):
    """Defaults of one user on one machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Literal["cpu", "auto", "cuda", "mps"] = Field(
        "cpu",
        description="What computes networks where a recipe or an option does not say; auto: a GPU if there is one.",
    )
    threads: int | None = Field(None, ge=1, le=1024, description="Cores that a run may use; empty for all.")
    cache: str | None = Field(
        None, min_length=1, max_length=4096, description="Folder of the sample studies; empty for the system's."
    )


def config_folder() -> Path:
    """Return where settings of the user are kept: ``$NAPARI_MARROW_CONFIG``, or the system's folder for them."""
    from platformdirs import user_config_path

    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else user_config_path("napari-marrow", appauthor=False)


def preferences_path() -> Path:
    """Return the file of the preferences."""
    return config_folder() / "preferences.yaml"


def read_preferences(path: Path | None = None) -> Preferences:
    """Return the user's preferences, every default where there is no file.

    Parameters
    ----------
    path : Path, optional
        `preferences_path` by default.

    Raises
    ------
    SettingsError
        If the file cannot be read, is no plain YAML mapping, or has an unknown key or a value out of bounds.
    """
    path = preferences_path() if path is None else path
    what = f"The preferences '{path}'"
    try:
        if not path.exists():
            return Preferences()
        if path.stat().st_size > _LARGEST_BYTES:
            raise SettingsError(f"{what} are larger than {_LARGEST_BYTES} bytes, which no preferences are: remove it.")
        content = read_yaml(path, what)
    except OSError as error:
        raise SettingsError(f"{what} cannot be read: {error.strerror or error}.") from error
    except (SettingsError, RecursionError):
        raise
    except MarrowError as error:
        raise SettingsError(str(error)) from error
    if content is None:
        return Preferences()
    if not isinstance(content, dict):
        raise SettingsError(f"{what} hold {type(content).__name__}, not a mapping such as 'device: cpu'.")
    for name, value in content.items():
        # also before it is told what is wrong with them: a few aliases of aliases would make a sentence of gigabytes
        if isinstance(value, list | dict):
            raise SettingsError(f"{what} do not fit: '{name}' is no single value.")
    try:
        return Preferences.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"{what} do not fit: {sentence(error, Preferences)}.") from error


def preferences() -> tuple[Preferences, str]:
    """Return the user's preferences, and a sentence if their file cannot be used: every default holds then."""
    try:
        return read_preferences(), ""
    except MarrowError as error:
        return Preferences(), f"{error} The defaults are used."


def write_preferences(wanted: Preferences, path: Path | None = None) -> Path:
    """Keep preferences, whole or not at all; only what differs from the defaults is in the file.

    Parameters
    ----------
    wanted : Preferences
    path : Path, optional
        `preferences_path` by default.

    Returns
    -------
    Path
        Where they are.

    Raises
    ------
    StorageError
        If the folder or the disk does not take them.
    """
    path = preferences_path() if path is None else path
    write_new(path, yaml.safe_dump(wanted.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True))
    return path


def preferred_recipe() -> Recipe:
    """Return the recipe of a run that names none: every default, on the preferred device."""
    device = preferences()[0].device
    return Recipe() if device == "cpu" else Recipe.model_validate({"segment": {"device": device}})


def cache_folder() -> Path:
    """Return where samples are kept: ``$NAPARI_MARROW_CACHE``, the preferred folder, or the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get(CACHE_VARIABLE) or preferences()[0].cache
    return Path(chosen).expanduser() if chosen else user_cache_path("napari-marrow", appauthor=False)
