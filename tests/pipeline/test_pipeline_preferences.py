"""Preferences: defaults below recipes, options and environment variables; a bad file is told and harms nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_marrow.__main__ import main
from napari_marrow.errors import MarrowError, SettingsError
from napari_marrow.pipeline.executors import usable_cores, worker_threads
from napari_marrow.pipeline.preferences import (
    CACHE_VARIABLE,
    CONFIG_VARIABLE,
    Preferences,
    cache_folder,
    preferences,
    preferences_path,
    preferred_recipe,
    read_preferences,
    write_preferences,
)
from napari_marrow.pipeline.recipe import Recipe


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "Einstellungen ä" / "preferences.yaml"
    monkeypatch.setenv(CONFIG_VARIABLE, str(path.parent))
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    return path


def test_without_a_file_every_default_holds(own: Path) -> None:
    assert read_preferences() == Preferences()
    assert preferred_recipe() == Recipe()
    assert not own.exists()


def test_what_is_written_is_read_and_only_what_differs_is_in_the_file(own: Path) -> None:
    wanted = Preferences(threads=1, cache="/data/größer")
    assert write_preferences(wanted) == own == preferences_path()
    assert own.read_text(encoding="utf-8") == "threads: 1\ncache: /data/größer\n"
    assert read_preferences() == wanted
    write_preferences(Preferences())
    assert read_preferences() == Preferences()
    assert [path.name for path in own.parent.iterdir()] == ["preferences.yaml"]


def test_the_system_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE)
    assert preferences_path().parts[-2:] == ("napari-marrow", "preferences.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device: gpu\n", "'device' is 'gpu'"),
        ("threads: 0\n", "'threads' is 0"),
        ("threads: many\n", "'threads' is 'many'"),
        ("thread: 2\n", "unknown key 'thread' (did you mean 'threads'?)"),
        ("- cpu\n", "hold list, not a mapping"),
        ("device: [cpu]\n", "'device' is no single value"),
        ("a: &a [x, x]\nb: &b [*a, *a]\ndevice: *b\n", "'a' is no single value"),
        ("device: !!python/object/apply:os.system ['true']\n", "is no plain YAML"),
        ("device: cpu\ndevice: cuda\n", "the key 'device' is there twice"),
        ("device: {\n", "is no plain YAML"),
        ("# " + "x" * 70_000, "larger than 65536 bytes"),
    ],
)
def test_a_bad_file_is_one_sentence_and_the_defaults(own: Path, text: str, said: str) -> None:
    own.parent.mkdir()
    own.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        read_preferences()
    assert said in str(refused.value)
    assert str(own) in str(refused.value)
    assert len(str(refused.value)) < 600
    found, problem = preferences()
    assert found == Preferences()
    assert problem.endswith("The defaults are used.")


def test_bytes_that_are_no_text_and_a_folder_in_its_place_are_told(own: Path) -> None:
    own.parent.mkdir()
    own.write_bytes(b"\xff\xfe\x00device")
    assert "no plain YAML" in preferences()[1]
    own.unlink()
    own.mkdir()
    assert "cannot be read" in preferences()[1]
    with pytest.raises(MarrowError):
        write_preferences(Preferences(threads=2))


def test_an_environment_variable_goes_before_the_preferred_cache(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_preferences(Preferences(cache="/one"))
    assert cache_folder() == Path("/one")
    monkeypatch.setenv(CACHE_VARIABLE, "/two")
    assert cache_folder() == Path("/two")


def test_cores_are_those_preferred_and_a_worker_keeps_its_one(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAPARI_MARROW_THREADS", raising=False)
    there = usable_cores()
    assert worker_threads() is None
    write_preferences(Preferences(threads=1))
    assert (usable_cores(), worker_threads()) == (1, 1)
    write_preferences(Preferences(threads=1000))
    assert (usable_cores(), worker_threads()) == (there, 1000)
    monkeypatch.setenv("NAPARI_MARROW_THREADS", "1")
    assert worker_threads() == 1


def test_a_command_takes_the_preferred_device_unless_told(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_preferences(Preferences(device="cuda"))
    assert preferred_recipe().segment.device == "cuda"
    image = tmp_path / "a.tif"
    tifffile.imwrite(image, np.random.default_rng(0).poisson(50, (64, 64)).astype(np.uint16))
    asked = ["segment", str(image), "--diameter", "12", "--out"]
    assert main([*asked, str(tmp_path / "cpu"), "--device", "cpu"]) == 0
    refused = main([*asked, str(tmp_path / "gpu")])
    told = capsys.readouterr().err
    assert refused == 0 or "cuda" in told  # on a machine with such a GPU it works


def test_a_command_tells_of_bad_preferences_and_goes_on(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own.parent.mkdir()
    own.write_text("device: gpu\n", encoding="utf-8")
    image = tmp_path / "a.tif"
    tifffile.imwrite(image, np.random.default_rng(0).poisson(50, (64, 64)).astype(np.uint16))
    assert main(["segment", str(image), "--diameter", "12", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().err
    assert told.count("Warning: The preferences") == 1
    assert "'device' is 'gpu'" in told
