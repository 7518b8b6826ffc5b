"""Model files: what is read, and what is refused with a sentence."""

import pickle
import zipfile
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


def test_files_that_claim_more_than_they_hold_are_refused(bundled, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    state = {name: torch.from_numpy(value) for name, value in load_file(bundled).items()}
    # a single number that pretends to be a kernel of eight gigabytes
    state["output.0.weight"] = torch.zeros(1).expand(2_000_000_000)
    torch.save(state, tmp_path / "wide")
    with pytest.raises(ModelError, match=r"wide claims arrays of 8,0\d\d,\d\d\d,\d\d\d bytes, but has only"):
        load_segmenter(tmp_path / "wide")
    with zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(ModelError, match="bomb claims arrays of 50,000,000 bytes"):
        load_segmenter(tmp_path / "bomb")
    header = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    (tmp_path / "head").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 64)
    with pytest.raises(ModelError, match="damaged safetensors"):
        load_segmenter(tmp_path / "head")


@pytest.mark.parametrize("kept", [0.2, 0.7, 0.999])
def test_truncated_torch_files_are_refused(kept, bundled, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.save({name: torch.from_numpy(value) for name, value in load_file(bundled).items()}, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ModelError, match="no safe torch state dict"):
        load_segmenter(tmp_path / "cut")


def test_a_size_model_is_no_network(tmp_path):
    np.save(tmp_path / "size_cyto3.npy", {"A": np.zeros(256), "smean": np.zeros(256)}, allow_pickle=True)
    with pytest.raises(ModelError, match="as Cellpose's size models are, and no network"):
        load_segmenter(tmp_path / "size_cyto3.npy")


def test_a_network_whose_values_run_over_is_noticed(bundled, tmp_path):
    arrays = load_file(bundled)
    far = arrays["output.2.weight"] * np.float32(1e30) + np.float32(1e38)
    save_file(arrays | {"output.2.weight": far}, tmp_path / "h.safetensors")
    image = np.random.default_rng(0).uniform(size=(40, 40))
    with pytest.raises(ModelError, match="values that are not finite"):
        load_segmenter(tmp_path / "h.safetensors", threads=2, precision="f32").segment(image, diameter=17)


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
    with pytest.raises(ModelError, match="variances below 0"):
        check_weights(arrays | {"output.0.running_var": np.full(16, -1, np.float32)}, name="variance")
    kernel = "downsample.down.res_down_0.conv.conv_0.2.weight"
    with pytest.raises(ModelError, match="kernels of 4 px"):
        check_weights(arrays | {kernel: np.zeros((16, 2, 4, 4), np.float32)}, name="even")
    deep = {f"downsample.down.res_down_{n}.proj.1.weight": np.zeros((4, 4, 1, 1), np.float32) for n in range(6)}
    with pytest.raises(ModelError, match="halves the image 5 times"):
        check_weights(deep, name="deep")
    with pytest.raises(ModelError, match="no Cellpose 1-3 network"):
        check_weights({"downsample.down.res_down_1.proj.1.weight": np.zeros((4, 4, 1, 1))}, name="gap")
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
