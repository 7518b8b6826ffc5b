"""What is shipped is what git keeps, and the descriptions of the package agree with each other."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import napari_marrow

ROOT = Path(__file__).parents[2]
MOST_WHEEL_BYTES = 25_000_000
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def kept() -> set[str]:
    """Return the paths that git keeps or would keep."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {path for path in listed if (ROOT / path).exists()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return folder


def test_wheel_holds_the_package_and_nothing_else(built: Path, kept: set[str]) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
    source = {path.removeprefix("src/") for path in kept if path.startswith("src/")}
    assert {name for name in names if not name.startswith(info)} == source
    assert "napari_marrow/py.typed" in names
    assert f"{info}/licenses/LICENSE" in names
    assert wheel.stat().st_size < MOST_WHEEL_BYTES


def test_sdist_holds_everything_but_the_place_of_development(built: Path, kept: set[str]) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    left_out = {path for path in kept if path.startswith((".ci/", ".github/")) or path == ".dockerignore"}
    assert names - {"PKG-INFO"} == kept - left_out


def test_wheel_metadata_names_entry_points_and_extras(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = archive.read(f"{info}/METADATA").decode()
        entries = archive.read(f"{info}/entry_points.txt").decode()
    assert "marrow = napari_marrow.__main__:main" in entries
    assert re.search(r"\[napari\.manifest\]\nnapari-marrow = napari_marrow:napari\.yaml", entries)
    assert "License-Expression: BSD-3-Clause" in metadata
    assert "Classifier: Framework :: napari" in metadata
    base = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert not [line for line in base if re.search(r"(?i)qt|napari|torch|cellpose", line)]


def test_description_on_an_index_links_to_nothing_that_is_not_there(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    description = str(metadata.get_payload())
    assert metadata["Description-Content-Type"].startswith("text/markdown")
    assert [t for t in re.findall(r"\]\(([^)]+)\)", description) if not t.startswith("https://")] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = [t for t in re.findall(r"(?<!!)\]\(([^)]+)\)", readme) if not t.startswith(("https://", "docs/images/"))]
    assert linked
    assert [t for t in linked if f"`{t}`" not in description] == []
    assert description.count("```") == readme.count("```")


def test_every_dependency_states_its_lowest_version() -> None:
    optional = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [
        line for name in ("gui", "cellpose", "cluster", "formats") for line in optional[name]
    ]
    assert [line for line in lines if ">=" not in line] == []


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    versions = {PROJECT["version"], napari_marrow.__version__, str(citation["version"])}
    assert versions == {napari_marrow.__version__}
    assert f"\n## {napari_marrow.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["license"] == PROJECT["license"]


def test_napari_manifest_is_valid_and_all_it_names_can_be_imported() -> None:
    pytest.importorskip("napari")
    check = (
        "import sys; from npe2 import PluginManifest; manifest = PluginManifest.from_file(sys.argv[1]); "
        "manifest.validate_imports(); print(len(manifest.contributions.commands))"
    )
    manifest = ROOT / "src" / "napari_marrow" / "napari.yaml"
    answer = subprocess.run([sys.executable, "-c", check, str(manifest)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout.split()[-1]) >= 6


def test_menus_of_the_manifest_are_napari_s() -> None:
    pytest.importorskip("napari")
    # npe2 takes any menu id; napari only shows those that it has
    check = (
        "import sys, yaml; from napari._app_model.constants import MenuId; known = {str(m.value) for m in MenuId}; "
        "menus = yaml.safe_load(open(sys.argv[1]))['contributions']['menus']; "
        "print([m for m in menus if m not in known])"
    )
    manifest = ROOT / "src" / "napari_marrow" / "napari.yaml"
    answer = subprocess.run([sys.executable, "-c", check, str(manifest)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"
