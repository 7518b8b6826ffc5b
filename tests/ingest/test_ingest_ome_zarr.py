"""OME-Zarr 0.4 and 0.5 written by zarr with metadata of ome-zarr-models, and studies of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_marrow.errors import MissingMetadataError
from napari_marrow.ingest import import_files
from napari_marrow.study import Study

RNG = np.random.default_rng(4)


def write_image(path: Path, frames: np.ndarray, version: str, *, units: bool = True, attributes: Any = None) -> None:
    """Write T C Z Y X with metadata that ome-zarr-models made."""
    spacing = [120.0, 1.0, 1500.0, 400.0, 300.0]  # seconds, nanometres
    time, length = ("second", "nanometer") if units else (None, None)
    kinds = [("t", "time", time), ("c", "channel", None), *((n, "space", length) for n in "zyx")]
    if version == "0.4":
        from ome_zarr_models.v04.axes import Axis
        from ome_zarr_models.v04.multiscales import Dataset, Multiscale
    else:
        from ome_zarr_models.v05.axes import Axis  # type: ignore[assignment]
        from ome_zarr_models.v05.multiscales import Dataset, Multiscale  # type: ignore[assignment]
    scales = Multiscale(
        axes=tuple(Axis(name=n, type=t, unit=u) for n, t, u in kinds),
        datasets=(Dataset.build(path="full", scale=spacing, translation=None),),
        name="x",
        **({"version": "0.4"} if version == "0.4" else {}),
    )
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    names = {} if version == "0.4" else {"dimension_names": list("tczyx")}
    array = group.create_array("full", shape=frames.shape, dtype=frames.dtype, chunks=(1, 1, 1, 16, 16), **names)
    array[:] = frames
    entry = {"multiscales": [scales.model_dump(exclude_none=True, mode="json")]}
    entry["omero"] = {"channels": [{"label": n, "color": "FFFFFF"} for n in ("nuclei", "CD41")]}  # type: ignore[dict-item]
    group.attrs.update(entry if version == "0.4" else {"ome": {"version": "0.5", **entry}})
    group.attrs.update(attributes or {})


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image(tmp_path, version):
    frames = RNG.integers(0, 4096, (3, 2, 2, 30, 40)).astype(np.uint16)
    write_image(tmp_path / "C03_f02_session04.zarr", frames, version)
    import_files(tmp_path / "s.marrow", [tmp_path / "C03_f02_session04.zarr"])
    image = Study.open(tmp_path / "s.marrow").image("C03_f02", 4)
    np.testing.assert_array_equal(np.stack([image.read(t) for t in range(3)]), frames)
    np.testing.assert_allclose(image.spacing, (1.5, 0.4, 0.3))
    np.testing.assert_allclose(image.time_s, [0, 120, 240])
    assert image.channel_names == ["nuclei", "CD41"]


def test_numbers_without_units_are_no_lengths(tmp_path):
    write_image(tmp_path / "x.zarr", np.zeros((2, 2, 1, 16, 16), np.uint8), "0.5", units=False)
    with pytest.raises(MissingMetadataError, match="--pixel-size"):
        import_files(tmp_path / "s.marrow", [tmp_path / "x.zarr"])
    with pytest.raises(MissingMetadataError, match="--frame-interval"):
        import_files(tmp_path / "s.marrow", [tmp_path / "x.zarr"], pixel_size=0.3)
    import_files(tmp_path / "s.marrow", [tmp_path / "x.zarr"], pixel_size=0.3, frame_interval_h=1)


def test_a_study_of_our_own_comes_in_as_it_was(tmp_path):
    """The plate of a study: positions, sessions and uneven times survive a second import."""
    first = Study.create(tmp_path / "first.marrow")
    frames = RNG.integers(0, 4096, (3, 1, 1, 30, 40)).astype(np.uint16)
    for position, session in (("B02_f00", 1), ("B02_f01", 1), ("D11_f00", 1)):
        with first.add_session(
            position, session, channels=["nuclei"], spacing=(1, 0.5, 0.25), shape=frames.shape, dtype="uint16",
            start_h=0.0, time_s=[0.0, 10.0, 500.0],
        ) as writer:  # fmt: skip
            for t in range(3):
                writer.write(t, frames[t] + session)
    import_files(tmp_path / "second.marrow", [tmp_path / "first.marrow" / "images.ome.zarr"])
    second = Study.open(tmp_path / "second.marrow")
    assert second.positions == first.positions
    assert second.sessions() == [1]
    for position in first.positions:
        ours, theirs = second.image(position, 1), first.image(position, 1)
        assert (ours.spacing, list(ours.time_s)) == (theirs.spacing, list(theirs.time_s))
        np.testing.assert_array_equal(ours.read(2), theirs.read(2))


def test_a_bioformats2raw_folder(tmp_path):
    frames = RNG.integers(0, 4096, (2, 2, 1, 20, 20)).astype(np.uint16)
    group = zarr.open_group(str(tmp_path / "raw.zarr"), mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for n in range(2):
        write_image(tmp_path / "raw.zarr" / str(n), frames + n, "0.4")
    import_files(tmp_path / "s.marrow", [tmp_path / "raw.zarr"])
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["A01_f00", "A01_f01"]
    np.testing.assert_array_equal(study.image("A01_f01", 0).read(1), frames[1] + 1)
