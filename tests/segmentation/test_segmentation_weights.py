"""Model files: what is read, and what is refused with a sentence."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from napari_marrow.errors import ModelError, PathMissingError, SettingsError
from napari_marrow.segmentation import load_segmenter, models
from napari_marrow.segmentation.registry import find_model
from napari_marrow.segmentation.weights import check_weights, read_weights


@pytest.fixture(scope="module")
def bundled():
    return find_model("marrow-nuclei").path


def test_registry_shows_what_there_is():
    cards = {card.name: card for card in models()}
    card = cards["marrow-nuclei"]
    assert card.path.stat().st_size < 8_000_000
    assert read_weights(card.path).sha256 == card.sha256
    assert card.diameter_px == read_weights(card.path).diam_mean == 17
    assert card.held_out["average_precision"]["0.5"] > 0.7
    assert {"cyto3", "nuclei", "cpsam_v2"} < set(cards)


def test_unknown_and_absent_models():
    with pytest.raises(ModelError, match=r"no model 'cyto9'.*marrow-nuclei"):
        load_segmenter("cyto9")
    with pytest.raises(ModelError, match="'cyto3' are not in this package"):
        load_segmenter("cyto3")
    with pytest.raises((ModelError, ImportError), match="cpsam_v2"):
        load_segmenter("cpsam_v2")
    with pytest.raises(SettingsError, match="Precision 'f8'"):
        load_segmenter(precision="f8")
    with pytest.raises(SettingsError, match="Device 'tpu'"):
        load_segmenter(device="tpu")
    with pytest.raises(PathMissingError):
        read_weights(Path("nowhere.safetensors"))


def test_torch_file_of_cellpose_is_read(bundled, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    arrays = load_file(bundled)
    state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    torch.save(state, tmp_path / "model")  # Cellpose's files have no suffix
    read = read_weights(tmp_path / "model")
    assert read.widths == (2, 16, 32, 64, 128)
    np.testing.assert_array_equal(read.arrays["output.2.weight"], arrays["output.2.weight"])
    # Cellpose 1 stored no diameters, and models trained on several GPUs have a prefix.
    old = {f"module.{name}": value for name, value in state.items() if not name.startswith("diam")}
    torch.save(old, tmp_path / "old")
    assert read_weights(tmp_path / "old").diam_mean == 30


class _Hostile:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('was_run').write_text('x')",))


@pytest.mark.parametrize("way", ["pickle", "torch"])
def test_a_pickle_with_code_is_refused_and_not_run(way, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile"
    if way == "pickle":
        path.write_bytes(pickle.dumps({"a": _Hostile(), "pad": b"x" * 200}, protocol=2))
    else:
        torch.save({"a": _Hostile()}, path)
    with pytest.raises(ModelError, match="no safe torch state dict"):
        load_segmenter(path)
    assert not (tmp_path / "was_run").exists()


def test_wrong_files_are_refused(bundled, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("hello, this is not a model " * 20)
    with pytest.raises(ModelError, match="neither safetensors nor a torch file"):
        load_segmenter(text)
    (tmp_path / "empty").touch()
    with pytest.raises(ModelError, match="has 0 bytes"):
        load_segmenter(tmp_path / "empty")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(bundled.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="damaged safetensors"):
        load_segmenter(cut)


def test_other_networks_are_refused(bundled, tmp_path):
    arrays = load_file(bundled)
    with pytest.raises(ModelError, match="no Cellpose 1-3 network"):
        check_weights({"conv.weight": np.zeros((3, 3), np.float32)}, name="other")
    with pytest.raises(ModelError, match="Cellpose 4"):
        check_weights({"encoder.patch_embed.proj.weight": np.zeros((3, 3), np.float32)}, name="sam")
    missing = {name: value for name, value in arrays.items() if name != "output.2.bias"}
    with pytest.raises(ModelError, match=r"lacks the parameter 'output\.2\.bias'"):
        check_weights(missing, name="part")
    wrong = arrays | {"output.2.bias": np.zeros(5, np.float32)}
    with pytest.raises(ModelError, match=r"'output\.2\.bias' has shape \(5,\)"):
        check_weights(wrong, name="wide")
    broken = arrays | {"output.2.bias": np.array([0, np.nan, 0], np.float32)}
    with pytest.raises(ModelError, match="not finite"):
        check_weights(broken, name="nan")
    save_file(arrays | {"diam_mean": np.array([-3], np.float32)}, tmp_path / "d.safetensors")
    with pytest.raises(ModelError, match="mean diameter of -3"):
        read_weights(tmp_path / "d.safetensors")


def test_a_card_that_belongs_to_other_weights_is_noticed(bundled, tmp_path):
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(bundled.read_bytes())
    assert find_model(copy).name == "mine"
    card = bundled.with_suffix(".json").read_text()
    copy.with_suffix(".json").write_text(card)
    assert load_segmenter(copy, threads=2).card.name == "marrow-nuclei"
    copy.with_suffix(".json").write_text(card.replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(ModelError, match="do not match their card"):
        load_segmenter(copy)
    copy.with_suffix(".json").write_text("[]")
    with pytest.raises(ModelError, match="no model card"):
        load_segmenter(copy)
