"""`marrow doctor`: real looks at this machine, and a bundle that tells nothing private."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from napari_marrow.__main__ import main
from napari_marrow.errors import PathExistsError
from napari_marrow.pipeline import diagnosis
from napari_marrow.pipeline.diagnosis import Finding, diagnose
from napari_marrow.pipeline.diagnosis_bundle import without_private, write_bundle
from napari_marrow.pipeline.disk_speed import measure_disk
from napari_marrow.segmentation import registry


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_diagnosis_tells_versions_processors_models_and_disk(tmp_path: Path) -> None:
    found = by_name(diagnose(tmp_path, window=False))
    assert found["Python"].value.startswith(platform.python_version())
    assert found["zarr"].value == version("zarr")
    assert found["OpenVINO CPU"].state == "fine"
    assert found["marrow-nuclei"].state == "fine"
    free = float(found["free"].value.split()[0])
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free / 1e9, abs=2)
    assert list(tmp_path.iterdir()) == []
    assert not [f.name for f in found.values() if f.state == "problem"]


def test_a_version_below_what_is_asked_for_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real = diagnosis.importlib.metadata.version
    monkeypatch.setattr(
        diagnosis.importlib.metadata, "version", lambda name: "0.0.1" if name.lower() == "zarr" else real(name)
    )
    found = by_name(list(diagnosis._packages()))
    assert found["zarr"].state == "problem"
    assert "pip install 'zarr>=" in found["zarr"].remedy
    assert found["numpy"].state == "fine"


def test_a_damaged_model_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = next(c for c in registry.models() if c.name == "marrow-nuclei")
    assert card.path is not None
    folder = tmp_path / "own"
    folder.mkdir()
    content = bytearray(card.path.read_bytes())
    sha256 = hashlib.sha256(content).hexdigest()
    content[-5] ^= 1
    (folder / "mine.safetensors").write_bytes(content)
    described = json.loads(card.path.with_suffix(".json").read_text(encoding="utf-8"))
    (folder / "mine.json").write_text(json.dumps(described | {"name": "mine", "sha256": sha256}), encoding="utf-8")
    monkeypatch.setenv(registry.MODELS_VARIABLE, str(folder))
    found = by_name(list(diagnosis._models()))
    assert found["mine"].state == "problem"
    assert found["mine"].remedy
    assert found["marrow-nuclei"].state == "fine"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (finding,) = diagnosis._disk(tmp_path / "absent")
    assert finding.state == "problem"
    assert "--folder" in finding.remedy


def test_disk_speed_is_positive_and_leaves_nothing(tmp_path: Path) -> None:
    speed = measure_disk(tmp_path, megabytes=4)
    assert speed.write_mb_s > 0
    assert speed.read_mb_s > 0
    assert list(tmp_path.iterdir()) == []


def test_private_names_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/maria")
    monkeypatch.setenv("LOGNAME", "maria")
    monkeypatch.setattr(platform, "node", lambda: "lab-7.example.org")
    text = "'/home/maria/plate.marrow' of maria on lab-7.example.org, /mnt/secret/x, C:\\Users\\Eva\\a.tif, 3/4 px/h"
    told = without_private(text)
    if sys.platform != "win32":
        assert told.startswith("'~/plate.marrow' of USER on MACHINE")
    assert "Eva" not in told
    assert "a.tif" in told
    assert "3/4 px/h" in told


def test_bundle_holds_no_path_of_the_study(tiny_study: Path, tmp_path: Path) -> None:
    findings = [Finding("disk", "folder", f"{tmp_path}/x cannot be written")]
    written = write_bundle(tmp_path / "doctor.zip", findings, study=tiny_study)
    with zipfile.ZipFile(written) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(texts) == {
        "doctor.txt", "doctor.json", "packages.txt", "environment.txt", "study/study.json", "study/runs.json",
    }  # fmt: skip
    assert not [name for name, text in texts.items() if str(tmp_path) in text]
    assert json.loads(texts["study/study.json"])["positions"] == 2
    assert f"zarr=={version('zarr')}" in texts["packages.txt"]
    with pytest.raises(PathExistsError):
        write_bundle(written, findings)


def test_command_prints_json_and_refuses_a_study_without_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--folder", str(tmp_path), "--no-window", "--json"]) == 0
    topics = {row["topic"] for row in json.loads(capsys.readouterr().out)}
    assert {"system", "packages", "processors", "models", "disk"} <= topics
    assert main(["doctor", "--study", str(tmp_path)]) == 2
    assert "--bundle" in capsys.readouterr().err
