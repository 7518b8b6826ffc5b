"""Modules of a room form layers: whoever follows their imports, those inside functions too, never comes back."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import napari_marrow

ROOT = Path(napari_marrow.__file__).parent


def imports_of(path: Path, package: str, names: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names} & names
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package + "."):
            found.add(node.module.removeprefix(package + ".").split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix(package + ".") for a in node.names if a.name.startswith(package + ".")}
    return found


def graph_of(folder: Path, package: str) -> dict[str, set[str]]:
    modules = {p.stem: p for p in folder.glob("*.py") if p.stem != "__init__"}
    return {name: imports_of(path, package, set(modules)) for name, path in modules.items()}


@pytest.mark.parametrize("room", ["study", "ingest", "imaging"])
def test_no_circle_of_imports(room):
    graph = graph_of(ROOT / room, f"napari_marrow.{room}")
    assert any(graph.values())
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_a_circle_is_seen_wherever_the_import_stands(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    from room import b\n", encoding="utf-8")
    (tmp_path / "b.py").write_text("from room.a import f\n", encoding="utf-8")
    with pytest.raises(CycleError):
        list(TopologicalSorter(graph_of(tmp_path, "room")).static_order())
