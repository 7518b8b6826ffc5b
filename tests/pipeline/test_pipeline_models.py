"""The user's own models: kept by name, shown, fetched, removed, and refused with a sentence."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from napari_marrow.__main__ import main
from napari_marrow.errors import (
    Cancelled,
    FetchError,
    ModelError,
    PathExistsError,
    PathMissingError,
    SettingsError,
)
from napari_marrow.pipeline.model_fetching import fetch_model
from napari_marrow.pipeline.model_files import add_model, remove_model
from napari_marrow.progress import CancelToken
from napari_marrow.segmentation import load_segmenter, models
from napari_marrow.segmentation.model_description import describe_model
from napari_marrow.segmentation.registry import find_model


@pytest.fixture(scope="module")
def bundled():
    return find_model("marrow-nuclei").path


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder of the user's models."""
    monkeypatch.setenv("NAPARI_MARROW_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def torch_file(bundled, tmp_path):
    """The bundled weights as Cellpose 3 saves its own, with another mean diameter."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    state = {name: torch.from_numpy(value) for name, value in load_file(bundled).items()}
    state["diam_mean"] = torch.full((1,), 21.0)
    torch.save(state, tmp_path / "CP_20260101_marrow")
    return tmp_path / "CP_20260101_marrow"


def test_a_torch_file_is_kept_as_safetensors_and_found_by_name(own, torch_file, bundled):
    card = add_model(torch_file, "my-marrow", licence="CC0", limits="plates of the blue incubator")
    torch_file.unlink()
    assert sorted(p.name for p in own.iterdir()) == ["my-marrow.json", "my-marrow.safetensors"]
    assert "CP_20260101_marrow" in card.source
    found = find_model("my-marrow")
    assert (found.origin, found.licence, found.diameter_px) == ("installed", "CC0", 21.0)
    assert [card.name for card in models()][:3] == ["marrow-nuclei", "marrow-brightfield", "my-marrow"]
    segmenter = load_segmenter("my-marrow", threads=2)
    assert segmenter.card.sha256 == card.sha256
    image = np.random.default_rng(0).uniform(size=(30, 40))
    np.testing.assert_array_equal(
        segmenter.segment(image, diameter=21).labels,
        load_segmenter(bundled, threads=2).segment(image, diameter=17).labels,
    )
    assert describe_model("my-marrow")["limits"] == "plates of the blue incubator"
    assert len(remove_model("my-marrow")) == 2
    with pytest.raises(ModelError, match="no model 'my-marrow'"):
        find_model("my-marrow")


def test_a_card_beside_the_file_goes_along(own, bundled, tmp_path):
    card = add_model(bundled, "copy")
    assert card.held_out == find_model("marrow-nuclei").held_out
    kept, given = (json.loads(path.read_text()) for path in (own / "copy.json", bundled.with_suffix(".json")))
    assert kept == given | {"name": "copy"} | {k: kept[k] for k in kept.keys() - given.keys()}
    assert kept["training"] == given["training"]
    assert card.sha256 == find_model("marrow-nuclei").sha256
    assert load_segmenter("copy", threads=2).card.smooth_reduction
    other = tmp_path / "other.safetensors"
    save_file(load_file(bundled) | {"diam_mean": np.array([9], np.float32)}, other)
    other.with_suffix(".json").write_text(bundled.with_suffix(".json").read_text())
    with pytest.raises(ModelError, match="do not match the card beside them"):
        add_model(other, "other")
    assert sorted(p.stem for p in own.iterdir()) == ["copy", "copy"]


def test_names_that_are_taken_or_cannot_be(own, bundled, torch_file):
    with pytest.raises(SettingsError, match="is a model of this package"):
        add_model(torch_file, "marrow-nuclei")
    for name in ("", "../up", "a b", "x.safetensors", "a" * 65):
        with pytest.raises(SettingsError, match="cannot be named"):
            add_model(bundled, name)
    add_model(bundled, "mine")
    with pytest.raises(PathExistsError, match="There is a model 'mine'"):
        add_model(torch_file, "mine")
    assert add_model(torch_file, "mine", replaced=True).diameter_px == 21
    assert add_model(torch_file, "cyto3").name == "cyto3"  # a name of Cellpose's is the user's to fill
    assert [card.origin for card in models() if card.name == "cyto3"] == ["installed"]
    with pytest.raises(ModelError, match=r"no model of yours in .*: there are cyto3, mine"):
        remove_model("marrow-nuclei")


def test_what_is_no_network_is_not_kept(own, tmp_path):
    with pytest.raises(PathMissingError):
        add_model(tmp_path / "gone.safetensors", "gone")
    (tmp_path / "text").write_text("hello " * 40)
    with pytest.raises(ModelError, match="neither safetensors nor a torch file"):
        add_model(tmp_path / "text", "text")
    save_file({"a": np.zeros(40, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="no Cellpose 1-3 network"):
        add_model(tmp_path / "a.safetensors", "a")
    assert not own.exists() or not list(own.iterdir())


def test_a_damaged_card_is_shown_and_refused(own, bundled):
    add_model(bundled, "mine")
    card = own / "mine.json"
    good = json.loads(card.read_text())
    for text in (
        "[]",
        "{",
        json.dumps(good | {"diameter_px": "wide"}),
        json.dumps(good | {"kind": "stardist"}),
        "[" * 9999,
    ):
        card.write_text(text)
        assert [c.origin for c in models() if c.name == "mine"] == ["damaged"]
        with pytest.raises(ModelError, match=r"mine\.json is no model card"):
            load_segmenter("mine")
    card.write_text(json.dumps(good | {"sha256": "0" * 64}))
    with pytest.raises(ModelError, match="do not match their card: add the model again"):
        load_segmenter("mine")
    assert "do not use it" in describe_model("mine")["sha256"]
    (own / "mine.safetensors").unlink()
    with pytest.raises(ModelError, match="weights of 'mine' are gone"):
        load_segmenter("mine")
    assert remove_model("mine") == [card]


def test_files_that_cellpose_fetched_are_found(torch_file, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path / "cellpose"))
    (tmp_path / "cellpose").mkdir()
    torch_file.rename(tmp_path / "cellpose" / "nucleitorch_0")
    assert {card.name: card.origin for card in models()}["nuclei"] == "cellpose"
    assert load_segmenter("nuclei", threads=2).card.diameter_px == 21


@pytest.fixture
def server(tmp_path):
    """A web server of the folder ``served``, on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}/", tmp_path / "served"
        web.shutdown()
        thread.join()


def test_fetching_keeps_what_is_a_network(own, torch_file, server):
    url, served = server
    torch_file.rename(served / "cyto3")
    seen = []
    card = fetch_model("cyto3", address=url + "cyto3", progress=lambda *a: seen.append(a))
    assert url in card.source
    assert "CC-BY-NC" in card.licence
    assert seen[-1][0] == seen[-1][1] > 0
    assert load_segmenter("cyto3", threads=2).card.diameter_px == 21
    assert sorted(p.name for p in own.iterdir()) == ["cyto3.json", "cyto3.safetensors"]


def test_what_cannot_be_fetched_leaves_nothing(own, torch_file, server):
    url, served = server
    with pytest.raises(
        FetchError, match=r"'cyto3' could not be fetched from .*gone .*marrow models add FILE --name cyto3"
    ):
        fetch_model("cyto3", address=url + "gone")
    with pytest.raises(FetchError, match="could not be fetched from http://127"):
        fetch_model("cpsam_v2", address="http://127.0.0.1:9/cpsam_v2")
    with pytest.raises(ModelError, match="'stardist' is no model of Cellpose"):
        fetch_model("stardist")
    (served / "page").write_text("<html>Please sign in</html>" * 20)
    with pytest.raises(ModelError, match="neither safetensors nor a torch file"):
        fetch_model("cyto3", address=url + "page")
    torch_file.rename(served / "cyto3")
    token = CancelToken()
    with pytest.raises(Cancelled):
        fetch_model("cyto3", address=url + "cyto3", progress=lambda *a: token.cancel(), cancel=token)
    assert not list(own.iterdir())


def test_commands(own, torch_file, capsys):
    assert main(["models", "add", str(torch_file), "--name", "mine"]) == 0
    assert main(["models"]) == 0
    bare = capsys.readouterr().out
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out in bare
    assert "yours" in bare
    assert main(["models", "show", "mine"]) == 0
    shown = capsys.readouterr().out
    assert "21 px in the network's input" in shown
    assert "one, and a second one if there is any" in shown
    assert main(["models", "show", "cyto3"]) == 0
    assert "marrow models fetch cyto3" in capsys.readouterr().out
    assert main(["models", "show", "nothing"]) == 2
    assert main(["models", "remove", "mine"]) == 0
    assert not list(own.iterdir())
