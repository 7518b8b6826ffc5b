"""Studies behind a web server and in a bucket, read without listing folders."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import CorruptDataError, FetchError, PathMissingError, SettingsError
from napari_marrow.study import Study

pytest.importorskip("upath", reason="needs napari-marrow[remote]")


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves files and ranges of them as every object store does, and lists nothing."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data, status = path.read_bytes(), 200
        size, wanted = len(data), self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first, _, last = wanted[6:].partition("-")
            start = int(first) if first else size - int(last)
            end = min(int(last), size - 1) if first and last else size - 1
            data, status = data[start : end + 1], 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *message: object) -> None:
        pass


@pytest.fixture
def filled(study: Study, fill) -> Study:
    fill(study, "B02_f00", 0, shape=(3, 2, 1, 40, 1050))
    fill(study, "C11_f01", 2, shape=(2, 1, 1, 40, 40), start_h=24.0)
    for t in range(2):
        study.write_labels("cells", "s1", "B02_f00", 0, t, np.random.default_rng(t).integers(0, 50, (40, 1050)))
        rows = pd.DataFrame({"t": [t] * 3, "x": [0.1, 0.2, 0.3]})
        study.commit("things", "m1", {"position": "B02_f00", "session": 0, "t": t}, rows)
    study.set_active({"segment": "s1", "measure": "m1"}, tables={"things": "m1"})
    study.record_run("segment", "s1", {"seed": 3})
    study.set_layout(study.layout.assign(condition="TPO"))
    return study


@pytest.fixture
def web(filled: Study) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=str(filled.path.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/{quote(filled.path.name)}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def bucket(filled: Study, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict]]:
    server_module = pytest.importorskip("moto.server", reason="needs moto")
    s3fs = pytest.importorskip("s3fs")
    for name, value in [
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ]:
        monkeypatch.setenv(name, value)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    options = {"endpoint_url": "http://{}:{}".format(*server.get_host_and_port())}
    files = s3fs.S3FileSystem(**options)
    files.mkdir("lab")
    files.put(str(filled.path), "lab/weeks.marrow", recursive=True)
    yield "s3://lab/weeks.marrow", options
    server.stop()


def assert_same(found: Study, local: Study) -> None:
    assert (found.name, found.id, found.t0, found.active) == (local.name, local.id, local.t0, local.active)
    assert found.positions == local.positions
    assert found.sessions("C11_f01") == [2]
    assert found.frames().equals(local.frames())
    assert found.layout.equals(local.layout)
    assert found.table("things").equals(local.table("things"))
    assert found.table("things", unit={"position": "B02_f00", "session": 0, "t": 1}).shape == (3, 2)
    image, here = found.image("B02_f00", 0), local.image("B02_f00", 0)
    assert np.array_equal(image.times_h, here.times_h)
    for level in range(here.levels):
        assert np.array_equal(image.read(1, level=level), here.read(1, level=level))
    assert np.array_equal(image.read(2, "marker1"), here.read(2, "marker1"))
    labels = found.labels("cells", "s1", "B02_f00", 0)
    assert labels.times == [0, 1]
    assert np.array_equal(labels.read(1), local.labels("cells", "s1", "B02_f00", 0).read(1))
    assert np.array_equal(np.asarray(image.dask()[0, 1]), here.read(0)[1])
    summary, expected = found.summary(), local.summary()
    for name in ("n_frames", "sessions", "tables", "active", "schema_version"):
        assert summary[name] == expected[name]


def test_a_study_behind_a_web_server(web, filled):
    found = Study.open(web)
    assert_same(found, filled)
    assert pickle.loads(pickle.dumps(found)).name == "weeks"
    assert found.runs() == []  # which takes a listing


def test_a_study_in_a_bucket(bucket, filled):
    url, options = bucket
    found = Study.open(url, storage_options=options)
    assert_same(found, filled)
    assert [run["step"] for run in found.runs()] == ["segment"]


def test_damage_behind_a_url_is_not_read_silently(web, filled):
    shard = next(iter(sorted(filled.image("B02_f00", 0).path.glob("0/c.1.*"))))
    good = shard.read_bytes()
    for damage in (good[:40] + bytes([good[40] ^ 4]) + good[41:], good[:-9], good[:100], b""):
        shard.write_bytes(damage)
        with pytest.raises(CorruptDataError, match=r"c\.1\.0\.0\.0\.0"):
            Study.open(web).image("B02_f00", 0).read(1)
    shard.unlink()
    with pytest.raises(CorruptDataError, match="missing"):
        Study.open(web).image("B02_f00", 0).read(1)
    (filled.path / "study.json").write_text("{}")
    with pytest.raises(CorruptDataError, match="fails its checksum"):
        Study.open(web)


def test_what_cannot_be_done_at_a_url_is_said(web, tmp_path):
    with pytest.raises(SettingsError, match="can only be read"):
        Study.open(web, mode="a")
    with pytest.raises(SettingsError, match="verified where its files are"):
        Study.open(web).verify()
    with pytest.raises(PathMissingError, match="no study at 'http"):
        Study.open(web + "x")
    with pytest.raises(FetchError, match="cannot be"):
        Study.open("nothing://somewhere/weeks.marrow")
    with pytest.raises((FetchError, PathMissingError), match=r"127\.0\.0\.1:9"):
        Study.open("http://127.0.0.1:9/weeks.marrow")
