"""Batches: every kind of source; a kill loses and duplicates nothing."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pil

from conftest import picture
from mien import sinks
from mien.batch import filesystem, partition, runner, worker
from mien.batch.worker import CropPipeline, Job, Worker, process_images, write_part
from mien.cli.batch import batch
from mien.errors import ConfigError, OutputError, SourceError
from mien.faces import crop
from mien.faces.models import load_classifier
from mien.faces.onnx import ASSETS
from mien.media.image import decode
from mien.media.output_paths import OutputPaths
from mien.pipeline import Pipeline
from mien.types import Frame, Result

pytest.importorskip("ray")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

pytestmark = [  # of Ray's own settings when it sets them up, and the logs of its processes
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore:unclosed file .*ray:ResourceWarning"),
]


def encoded(seed: int) -> bytes:
    return bytes(cv2.imencode(".png", picture(seed))[1])


def fill(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        (folder / f"{k:03d}.png").write_bytes(encoded(k))
    return folder


def rows(out: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(out).to_pylist())


def parts_of(out: Path) -> dict[str, int]:
    """Return the finished files and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compute parts in this process, without Ray; return the list of their names."""
    computed: list[str] = []

    def compute(job: Any, todo: dict[str, Any], *_: Any) -> None:
        worker = Worker(job)
        for name, part in todo.items():
            assert worker({"name": [name], "part": [json.dumps(part)]})["error"].tolist() == [""]
            computed.append(name)

    monkeypatch.setattr(runner, "_compute", compute)
    return computed


def as_folder(root: Path, count: int) -> Path:
    return fill(root / "pictures", count)


def as_list(root: Path, count: int) -> Path:
    fill(root / "pictures", count)
    (root / "list.txt").write_text("".join(f"pictures/{k:03d}.png\n" for k in range(count)))
    return root / "list.txt"


def as_bytes(root: Path, count: int) -> Path:
    cells = [{"bytes": encoded(k), "path": f"{k:03d}.png"} for k in range(count)]
    pq.write_table(pa.table({"label": [0] * count, "image": cells}), root / "table.parquet", row_group_size=3)
    return root / "table.parquet"


def as_paths(root: Path, count: int) -> Path:
    fill(root / "pictures", count)
    pq.write_table(pa.table({"path": [f"pictures/{k:03d}.png" for k in range(count)]}), root / "paths.parquet")
    return root / "paths.parquet"


def as_tars(root: Path, count: int) -> Path:
    for start in range(0, count, 3):
        with tarfile.open(root / f"shard-{start:03d}.tar", "w") as tar:
            for k in range(start, min(start + 3, count)):
                add(tar, f"{k:03d}.png", encoded(k))
                add(tar, f"{k:03d}.cls", b"0")
    return root


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("make", [as_folder, as_list, as_bytes, as_paths, as_tars])
def test_every_source_gives_each_image_one_row(
    make: Callable[[Path, int], Path], tmp_path: Path, plain: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    summary = runner.run(make(tmp_path / "in", 7), tmp_path / "out", crops=True, size=3)
    results = sorted(rows(tmp_path / "out"), key=lambda row: row["name"])
    assert [Path(row["name"]).name for row in results] == [f"{k:03d}.png" for k in range(7)]
    expected = load_classifier()(np.stack([picture(k) for k in range(7)]))
    got = [[row[name] for name in load_classifier().labels] for row in results]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert all(row["face"] == 0 and row["x1"] is None and row["error"] is None for row in results)
    assert (summary.images, summary.faces, summary.errors, summary.rows) == (7, 7, 0, 7)
    assert len({row["key"] for row in results}) == len({(row["origin"], row["index"]) for row in results}) == 7


def test_urls_are_read_by_pyarrow_or_fsspec(tmp_path: Path, plain: list[str]) -> None:
    import fsspec

    folder = fill(tmp_path / "in", 2)
    runner.run(folder.as_uri(), tmp_path / "out", crops=True)
    memory = fsspec.filesystem("memory")
    for k in range(2):
        memory.pipe(f"/batch/{k:03d}.png", encoded(k))
    runner.run("memory://batch", tmp_path / "far", crops=True)
    assert rows(tmp_path / "far") == rows(tmp_path / "out") and len(rows(tmp_path / "out")) == 2


def test_rows_agree_with_the_parquet_sink(tmp_path: Path, plain: list[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / "in" / name).write_bytes((ASSETS / "portrait.jpg").read_bytes())
    cv2.imwrite(str(tmp_path / "in" / "b.png"), np.zeros((64, 64, 3), np.uint8))
    runner.run(tmp_path / "in", tmp_path / "out")
    with sinks.Parquet(tmp_path / "sink.parquet") as sink:
        for name in ("a.jpg", "b.png", "c.jpg"):
            data = (tmp_path / "in" / name).read_bytes()
            sink.write(Pipeline().process(Frame(decode(data, name), "abc".index(name[0]), 0.0, name)))
    results, expected = pq.read_table(tmp_path / "out"), pq.read_table(tmp_path / "sink.parquet")
    common = [name for name in expected.schema.names if name not in ("time", "shot", "id")]
    assert [results.schema.field(name).type for name in common] == [expected.schema.field(name).type for name in common]
    for row, like in zip(results.to_pylist(), expected.to_pylist(), strict=True):
        assert row["name"] == like["name"] and row["face"] == like["face"] and row["emotion"] == like["emotion"]
        numbers = [name for name in common if isinstance(like[name], float)]
        assert [row[name] for name in numbers] == pytest.approx([like[name] for name in numbers], abs=1e-3)
    assert [row["face"] for row in results.to_pylist()] == [0, None, 0]


def test_crop_of_another_size_is_stretched() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    [seen] = CropPipeline(load_classifier()).process_batch([Frame(wide)])
    assert np.array_equal(seen.crops[0], crop.to_network_input(wide)) and seen.faces[0].box == (0, 0, 90, 60)


def test_damaged_image_becomes_an_error_row(tmp_path: Path, plain: list[str]) -> None:
    folder = fill(tmp_path / "in", 5)
    (folder / "002.png").write_bytes(b"no picture")
    (folder / "003.png").write_bytes(encoded(3)[:-40])
    summary = runner.run(folder, tmp_path / "out", crops=True)
    assert [bool(row["error"]) for row in rows(tmp_path / "out")] == [False, False, True, True, False]
    assert (summary.images, summary.faces, summary.errors) == (5, 3, 2)


def test_each_page_of_a_tiff_has_rows_of_its_own(tmp_path: Path, plain: list[str]) -> None:
    first, second = (Pil.fromarray(picture(k)) for k in range(2))
    folder = fill(tmp_path / "in", 1)
    first.save(folder / "scan.tif", save_all=True, append_images=[second])
    assert runner.run(folder, tmp_path / "out", crops=True).images == 3
    found = rows(tmp_path / "out")
    assert [row["name"] for row in found] == ["000.png", "scan.tif", "scan.tif, page 2"]
    assert len({row["key"] for row in found}) == 3 and found[1]["content"] == found[2]["content"]
    fill(tmp_path / "one", 2)
    runner.run(tmp_path / "one", tmp_path / "expected", crops=True)
    for row, like in zip(found[1:], rows(tmp_path / "expected"), strict=True):
        assert row["emotion"] == like["emotion"] and row["confidence"] == like["confidence"]


def test_failing_image_does_not_affect_its_batch() -> None:
    class Picky(CropPipeline):
        def process_batch(self, frames: Any, detected: Any = None) -> list[Result]:
            if any(frame.name == "b" for frame in frames):
                raise cv2.error("bad")
            return super().process_batch(frames)

    images = [partition.StoredImage(name, "", k, encoded(k)) for k, name in enumerate("abc")]
    items = [item for _, item in process_images(Picky(load_classifier()), images)]
    assert [isinstance(item, Result) for item in items] == [True, False, True] and "bad" in items[1].reason


def test_image_that_kills_its_worker_twice_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Stands for a crash."""

    decode = worker.decode_for_search

    def crash(data: bytes, name: str, *given: Any, page: int = 0) -> Any:
        if name == "004.png":
            raise Killed
        return decode(data, name, *given, page=page)

    monkeypatch.setattr(worker, "decode_for_search", crash)
    (tmp_path / "out").mkdir()
    [part] = partition.split(str(fill(tmp_path / "in", 7)))
    job = Job(str(tmp_path / "out"), "mien-s", load_classifier().sha256, None)
    deaths = 0
    for _ in range(20):
        try:
            write_part(job, CropPipeline(load_classifier()), "part-0.parquet", part)
            break
        except Killed:
            deaths += 1
    assert deaths == 5  # three full tries, then two one by one
    assert [row["name"] for row in rows(tmp_path / "out") if row["error"]] == ["004.png"]
    assert len(rows(tmp_path / "out")) == 7
    assert [path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".tries"] == []


def test_identical_files_share_content_but_not_key(tmp_path: Path, plain: list[str]) -> None:
    folder = fill(tmp_path / "in", 1)
    (folder / "copy.png").write_bytes(encoded(0))
    (tmp_path / "list.txt").write_text(f"{folder}/000.png\n" * 2)
    for number, source in enumerate((folder, tmp_path / "list.txt")):
        runner.run(source, tmp_path / f"out{number}", crops=True)
        one, two = rows(tmp_path / f"out{number}")
        assert one["content"] == two["content"] and one["key"] != two["key"]


def test_second_run_computes_only_missing_parts(tmp_path: Path, plain: list[str]) -> None:
    folder, out = fill(tmp_path / "in", 7), tmp_path / "out"
    runner.run(folder, out, crops=True, size=2)
    before, expected = parts_of(out), rows(out)
    gone = sorted(before)[1]
    (out / gone).unlink()
    (out / f".{gone}.{'0' * 32}.tmp").write_bytes(b"half of it")  # left by a kill
    plain.clear()
    summary = runner.run(folder, out, crops=True, size=2)
    assert plain == [gone] and (summary.parts, summary.reused, summary.rows) == (4, 3, 7)
    assert rows(out) == expected
    assert {name: time for name, time in parts_of(out).items() if name != gone} == {
        name: time for name, time in before.items() if name != gone
    }
    assert not list(out.glob(".*"))


def test_shards_share_the_rows_of_a_whole_run_and_resume(tmp_path: Path, plain: list[str]) -> None:
    folder, whole, shards = fill(tmp_path / "in", 7), tmp_path / "whole", tmp_path / "shards"
    (folder / "notes.txt").write_text("no image")
    total = runner.run(folder, whole, crops=True, size=2)
    summaries = [runner.run(folder, shards, crops=True, size=2, shard=f"{k}/3") for k in (1, 2, 3)]
    assert sorted(path.name for path in shards.iterdir()) == [f"shard-{k}-of-3" for k in (1, 2, 3)]
    assert [summary.parts for summary in summaries] == [2, 1, 1]
    assert sum(summary.rows for summary in summaries) == 7
    assert [summary.skipped for summary in summaries] == [total.skipped, {}, {}]
    together = [row for k in (1, 2, 3) for row in rows(shards / f"shard-{k}-of-3")]
    assert sorted(together, key=lambda row: row["index"]) == rows(whole)
    gone = min(parts_of(shards / "shard-1-of-3"))
    (shards / "shard-1-of-3" / gone).unlink()
    plain.clear()
    summary = runner.run(folder, shards, crops=True, size=2, shard="1/3")
    assert plain == [gone] and (summary.parts, summary.reused) == (2, 1)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_impossible_shards_are_rejected(shard: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no shard"):
        runner.run(fill(tmp_path / "in", 1), tmp_path / "out", shard=shard)


def test_more_shards_than_parts_are_rejected(tmp_path: Path, plain: list[str]) -> None:
    with pytest.raises(SourceError, match="has no part for shard 2/2"):
        runner.run(fill(tmp_path / "in", 1), tmp_path / "out", shard="2/2")


def test_changed_source_replaces_only_changed_parts(tmp_path: Path, plain: list[str]) -> None:
    folder, out = fill(tmp_path / "in", 4), tmp_path / "out"
    runner.run(folder, out, crops=True, size=2)
    plain.clear()
    (folder / "002a.png").write_bytes(encoded(9))
    runner.run(folder, out, crops=True, size=2)
    assert len(plain) == 2  # the first part holds the same two as before
    assert [row["name"] for row in rows(out)] == ["000.png", "001.png", "002.png", "002a.png", "003.png"]


@pytest.mark.parametrize("make", [as_folder, as_list, as_bytes, as_tars])
def test_replaced_file_of_same_size_is_computed_again(
    make: Callable[[Path, int], Path], tmp_path: Path, plain: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    source, out = make(tmp_path / "in", 7), tmp_path / "out"
    runner.run(source, out, crops=True, size=3)
    before, first = parts_of(out), len(plain)
    runner.run(source, out, crops=True, size=3)
    assert len(plain) == first and parts_of(out) == before
    files = [path for path in (tmp_path / "in").rglob("*") if path.suffix in (".png", ".parquet", ".tar")]
    changed = sorted(files)[-1]
    later = changed.stat().st_mtime_ns + 1_000_000
    os.utime(changed, ns=(later, later))
    runner.run(source, out, crops=True, size=3)
    own = first if changed.suffix == ".parquet" else 1  # parts of that file; the others stay
    assert len(plain) == first + own and len(parts_of(out)) == len(before)
    assert len(parts_of(out).items() & before.items()) == first - own


def test_replaced_object_of_same_size_has_new_stamp(plain: list[str]) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for k in range(2):
        memory.pipe(f"/stamped/{k:03d}.png", encoded(k))
    [part] = partition.split("memory://stamped")
    assert partition.split("memory://stamped/") != [] and partition.split("memory://stamped") == [part]
    memory.rm("/stamped/001.png")
    memory.pipe("/stamped/001.png", encoded(1))
    [later] = partition.split("memory://stamped")
    assert later["files"][0] == part["files"][0] and later["files"][1] != part["files"][1]
    assert [file[:3] for file in later["files"]] == [file[:3] for file in part["files"]]


def test_trailing_slash_of_source_is_ignored(tmp_path: Path, plain: list[str]) -> None:
    folder, out = fill(tmp_path / "in", 2), tmp_path / "out"
    for source in (folder.as_uri(), folder.as_uri() + "/"):
        runner.run(source, out, crops=True)
    assert len(plain) == 1
    places = {"s3://b/in/": "s3://b/in", "s3://b/in//?region=x": "s3://b/in?region=x", "file:///": "file:///"}
    assert {place: runner._normalize(place) for place in places} == places


def test_results_inside_source_are_rejected(tmp_path: Path) -> None:
    folder = str(tmp_path / "in")
    for source, out in (
        ("memory://b/in/", "memory://b/in"),
        ("memory://b/in", "memory://b/in/"),
        ("memory://b/in", "memory://b/in/deep/out"),
        (folder, (tmp_path / "in" / "out").as_uri()),
        (tmp_path.as_uri() + "/in/", folder + "/out"),
        ("s3://b/in/?region=us-east-1", "s3://b/in?region=us-east-1"),
    ):
        with pytest.raises(ConfigError, match="lies in the source"):
            runner._check_apart(source, out)
    for source, out in (
        ("memory://b/in", "memory://b/in-out"),
        ("memory://b/in", str(tmp_path)),
        ("/b/in", "memory://b/in/out"),
    ):
        runner._check_apart(source, out)


def test_results_of_another_run_are_not_overwritten(tmp_path: Path, plain: list[str]) -> None:
    folder, out = fill(tmp_path / "in", 2), tmp_path / "out"
    runner.run(folder, out, crops=True)
    with pytest.raises(ConfigError, match="another detector"):
        runner.run(folder, out)
    with pytest.raises(ConfigError, match="another source"):
        runner.run(fill(tmp_path / "other", 2), out, crops=True)
    with pytest.raises(ConfigError, match="lies in the source"):
        runner.run(folder, folder / "out", crops=True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match="another program"):
        runner.run(folder, tmp_path / "theirs", crops=True)


def test_drafts_of_killed_workers_are_removed_in_the_same_run(
    tmp_path: Path, plain: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, compute = tmp_path / "out", runner._compute

    def killed_once(job: Any, todo: dict[str, Any], *rest: Any) -> None:
        name = next(iter(todo))
        for draft in (f".{name}.{'0' * 32}.tmp", f".{name}.tries"):
            (out / draft).write_bytes(b"half of it")
        compute(job, todo, *rest)

    monkeypatch.setattr(runner, "_compute", killed_once)
    runner.run(fill(tmp_path / "in", 3), out, crops=True)
    assert len(rows(out)) == 3 and not list(out.glob(".*"))


def test_impossible_folder_and_second_run_are_errors_before_the_work(tmp_path: Path, plain: list[str]) -> None:
    folder = fill(tmp_path / "in", 2)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(ConfigError, match=r"no folder|is a file, not a folder"):
            runner.run(folder, out, crops=True)
    with (
        OutputPaths().folder(tmp_path / "out", what="results"),
        pytest.raises(OutputError, match="another run is writing into it"),
    ):
        runner.run(folder, tmp_path / "out", crops=True)
    assert plain == [] and list((tmp_path / "out").iterdir()) == []


def test_only_leftovers_of_batch_are_removed(tmp_path: Path, plain: list[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    theirs = ["part-00000-abc.csv", "part-notes.txt", ".part-x.tmp"]
    name = "part-000007-0123456789ab.parquet"
    ours = [f".{name}.{'0' * 32}.tmp", f".{name}.tries", f".{name}.tries.tmp"]
    for name in theirs + ours:
        (out / name).write_text("x")
    runner.run(fill(tmp_path / "in", 2), out, crops=True)
    names = {path.name for path in out.iterdir()}
    assert set(theirs) <= names
    assert not set(ours) & names


def test_damaged_shard_leaves_an_error_row(tmp_path: Path, plain: list[str]) -> None:
    tars = as_tars(tmp_path, 6)
    content = (tars / "shard-000.tar").read_bytes()
    (tars / "shard-000.tar").write_bytes(content[: content.index(encoded(1)) + 100])
    summary = runner.run(tars, tmp_path.with_name("tars-out"), crops=True)
    results = rows(tmp_path.with_name("tars-out"))
    names = ["000.png", "shard-000.tar", "003.png", "004.png", "005.png"]
    assert [Path(row["name"]).name for row in results] == names
    assert summary.errors == 1
    tables = tmp_path / "tables"
    tables.mkdir()
    as_bytes(tables, 4)
    (tables / "broken.parquet").write_bytes(b"PAR1")
    assert runner.run(tables, tmp_path / "tables-out", crops=True).errors == 1
    assert len(rows(tmp_path / "tables-out")) == 5


def test_large_row_group_is_split_without_loss(tmp_path: Path) -> None:
    table = pa.table({"image": [str(k).encode() for k in range(100)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=64)
    cut = partition.split(str(tmp_path / "t.parquet"), size=5)
    assert len(cut) == 13  # no more than eight of the largest group
    read = [(image.index, image.data) for part in cut for image in partition.read_images(part)]
    assert read == [(k, str(k).encode()) for k in range(100)]


def test_invalid_sources_are_rejected_with_reason(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        partition.split(str(tmp_path / "no"))
    with pytest.raises(SourceError, match="no images"):
        partition.split(str(tmp_path))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SourceError, match="empty list"):
        partition.split(str(tmp_path / "empty.txt"))
    with pytest.raises(ConfigError, match="no column"):
        partition.split(str(as_bytes(tmp_path, 2)), column="face")
    with pytest.raises(ConfigError, match="one kind"):
        partition.split(str(fill(tmp_path, 1)))
    with pytest.raises(SourceError, match="nowhere"):
        partition.split("nowhere://a/b")


def test_source_without_images_is_rejected_before_writing(tmp_path: Path, plain: list[str]) -> None:
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "none.parquet")
    with pytest.raises(SourceError, match="holds no images"):
        runner.run(tmp_path / "none.parquet", tmp_path / "out", crops=True)
    assert not (tmp_path / "out").exists()


def test_model_that_workers_cannot_load_is_rejected(tmp_path: Path, plain: list[str]) -> None:
    folder = fill(tmp_path / "in", 1)
    bare = tmp_path / "rep"
    bare.write_bytes((ASSETS / "mien-s.onnx").read_bytes())
    for wrong, reason in (("mien-s+baseline", "one model"), (bare, r"ends in \.onnx")):
        with pytest.raises(ConfigError, match=reason):
            runner.run(folder, tmp_path / "out", model=wrong, crops=True)
    bare.rename(tmp_path / "own.onnx")
    assert runner.run(folder, tmp_path / "out", model=tmp_path / "own.onnx", crops=True).faces == 1


def test_tar_skips_hidden_files_and_reports_links(tmp_path: Path, plain: list[str]) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "./000.png", encoded(0))
        add(tar, "./._000.png", b"what macOS adds")
        add(tar, ".trash/old.png", encoded(9))
        for name, kind in (("hard.png", tarfile.LNKTYPE), ("soft.png", tarfile.SYMTYPE), ("hard.txt", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "./000.png"
            tar.addfile(link)
        add(tar, "001.png", encoded(1))
    summary = runner.run(tmp_path / "a.tar", tmp_path / "out", crops=True)
    results = rows(tmp_path / "out")
    assert [(Path(row["name"]).name, row["index"]) for row in results] == [
        ("000.png", 0), ("hard.png", 1), ("soft.png", 2), ("001.png", 3),
    ]  # fmt: skip
    assert ["a link to ./000.png" in (row["error"] or "") for row in results] == [False, True, True, False]
    assert summary.errors == 2


def test_list_with_windows_line_ends_and_odd_names(tmp_path: Path) -> None:
    names = ["a.png", "b\u2028c.png", "d\x0ce.png", " f.png"]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*names, "", ""]).encode())
    [part] = partition.split(str(tmp_path / "list.txt"))
    assert [name for name, *_ in part["files"]] == names


def test_windows_paths_get_forward_slashes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (runner, filesystem):
        windows = SimpleNamespace(resolve=lambda: PureWindowsPath(r"C:\pictures\in"))
        monkeypatch.setattr(module, "Path", lambda place, windows=windows: windows)
    assert runner._normalize("in") == filesystem.resolve("in")[1] == "C:/pictures/in"


def test_missing_ray_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: None if name == "ray" else name)
    with pytest.raises(ConfigError, match=r"pip install 'mien\[batch\]'"):
        runner.run(tmp_path, tmp_path / "out")


def test_command_exits_with_1_after_errors(
    tmp_path: Path, plain: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fill(tmp_path / "in", 3)
    assert batch(str(folder), to=str(tmp_path / "a"), cropped=True) == 0
    (folder / "001.png").write_bytes(b"")
    assert batch(str(folder), to=str(tmp_path / "b"), cropped=True) == 1
    assert json.loads((tmp_path / "b" / "_manifest.json").read_text())["errors"] == 1


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([{"bytes": 7, "path": None}], "int in place of"),
        ([{"bytes": None, "path": ["000.png"]}], "list in place of"),
        ([{"bytes": None, "path": None}], "nothing in place of"),
    ],
)
def test_table_cell_of_another_type_becomes_an_error_row(
    cells: list[Any], reason: str, tmp_path: Path, plain: list[str]
) -> None:
    pq.write_table(pa.table({"image": cells}), tmp_path / "odd.parquet")
    assert runner.run(tmp_path / "odd.parquet", tmp_path / "out", crops=True).errors == 1
    [row] = rows(tmp_path / "out")
    assert row["name"] == "odd.parquet#0" and reason in row["error"]


@pytest.mark.parametrize("count", [0, 2, 5])
def test_table_that_lost_rows_becomes_an_error_row(count: int, tmp_path: Path) -> None:
    table = as_bytes(tmp_path, 6)
    parts = partition.split(str(table), 3)
    as_bytes(tmp_path, count)
    images = [list(partition.read_images(part)) for part in parts]
    read = [image.index for part in images for image in part if isinstance(image.data, bytes)]
    errors = [str(image.data) for part in images for image in part if not isinstance(image.data, bytes)]
    assert read == list(range(count))
    assert all(f"it has {count} rows" in error for error in errors) and 1 <= len(errors) <= 2


def test_table_that_lost_its_column_becomes_an_error_row(tmp_path: Path) -> None:
    [part] = partition.split(str(as_bytes(tmp_path, 2)))
    pq.write_table(pa.table({"label": [0, 1]}), tmp_path / "table.parquet")
    [image] = partition.read_images(part)
    assert isinstance(image.data, SourceError) and "damaged from image 0 on" in str(image.data)


def test_full_disk_is_reported_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")

    monkeypatch.setattr(worker, "write_part", fail)
    job = Job(str(tmp_path), "mien-s", load_classifier().sha256, None)
    answer = Worker(job)({"name": ["part-0.parquet"], "part": ["{}"]})
    assert answer["error"].tolist() == [f"{tmp_path}: cannot be written (No space left on device)"]


def test_every_file_of_a_folder_is_read_an_error_row_or_counted(
    tmp_path: Path, plain: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fill(tmp_path / "in", 2)
    os.mkfifo(folder / "pipe.png")
    with (folder / "sparse.png").open("wb") as file:
        file.truncate(12_000_000_000)
    (folder / "closed").mkdir()
    for name in ("talk.mov", "b.MOV", "letter.pdf", ".hidden.png"):
        (folder / name).write_bytes(b"x")
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setattr(os, "listdir", refused)
    assert batch(str(folder), to=str(tmp_path / "out"), cropped=True) == 1
    found = {row["name"]: row["error"] for row in rows(tmp_path / "out")}
    assert [name for name, error in found.items() if error is None] == ["000.png", "001.png"]
    assert "Permission denied" in found["closed"] and "a named pipe" in found["pipe.png"]
    assert "more than the limit of 256 MB" in found["sparse.png"]
    assert "skipped: 2 .mov (use mien video), 1 .pdf, 1 hidden" in capsys.readouterr().err.splitlines()


def test_other_files_of_a_tar_are_counted_in_every_run(tmp_path: Path, plain: list[str]) -> None:
    (tmp_path / "in").mkdir()
    source = as_tars(tmp_path / "in", 4)
    first = runner.run(source, tmp_path / "out", crops=True)
    again = runner.run(source, tmp_path / "out", crops=True)
    assert first.skipped == again.skipped == {".cls": 4} and again.reused == 2


# With real processes. A named pipe as the journal of a part blocks the worker of that part.


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with runner._ray(None, 1) as module:
        yield module


def blocked(compute: Callable[..., None]) -> Callable[..., None]:
    """Wrap `runner._compute`: its second part waits until its journal is opened for writing."""

    def run(job: Any, todo: dict[str, Any], *rest: Any) -> None:
        os.mkfifo(Path(job.out) / f".{list(todo)[1]}.tries")
        compute(job, todo, *rest)

    return run


def journal(out: Path) -> Path:
    return next(out.glob(".part-000001-*.tries"))


def until(condition: Callable[[], Any], seconds: float = 300.0) -> Any:
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if value := condition():
            return value
        pause.wait(0.05)
    raise AssertionError("condition was not met")


def workers() -> list[int]:
    """Return the processes in which Ray runs a part."""
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::MapWorker(MapBatches(Worker))"):
                processes.append(int(path.parent.name))
        except OSError:
            continue
    return processes


def in_the_middle(out: Path) -> bool:
    """Return whether the first part is finished and the second begun."""
    return len(parts_of(out)) == 1 and bool(list(out.glob(".part-000001-*.tmp")))


def test_output_error_of_a_worker_ends_the_run_in_words(ray: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    [part] = partition.split(str(fill(tmp_path / "in", 1)))
    job = Job(str(tmp_path / "file"), "mien-s", load_classifier().sha256, None)
    with pytest.raises(SourceError, match=r"file: cannot be written .*; the same command continues the run"):
        runner._compute(job, {"part-0.parquet": part}, 1, None, lambda count: None)


def test_killed_worker_loses_and_duplicates_nothing(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    killed: list[int] = []

    def kill() -> None:
        until(lambda: in_the_middle(out))
        killed.extend(workers())
        for process in killed:
            os.kill(process, signal.SIGKILL)
        until(lambda: not set(killed) & set(workers()))
        journal(out).write_bytes(b"")  # waits until the next worker reads it

    monkeypatch.setattr(runner, "_compute", blocked(runner._compute))
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    summary = runner.run(as_list(tmp_path, 12), out, crops=True, workers=1, size=6)
    thread.join()
    assert len(killed) == 1
    assert [row["name"] for row in rows(out)] == [f"pictures/{k:03d}.png" for k in range(12)]
    assert (summary.images, summary.errors, summary.reused) == (12, 0, 0)


BLOCKED = """
import sys
from mien.batch import runner
from mien.cli.main import app
from test_batch import blocked

runner._compute = blocked(runner._compute)
app(sys.argv[1:], result_action="return_value")
"""


def test_killed_run_resumes_with_missing_parts(ray: Any, tmp_path: Path) -> None:
    source, out = as_list(tmp_path, 12), tmp_path / "out"
    words = ["batch", str(source), "--out", str(out), "--cropped", "--part", "6", "--workers", "1", "--address"]
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", BLOCKED, *words, address]
    modules = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    driver = subprocess.Popen(command, env=modules, stderr=subprocess.DEVNULL)
    until(lambda: in_the_middle(out))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    finished = parts_of(out)
    journal(out).unlink()
    summary = runner.run(source, out, crops=True, workers=1, size=6)
    assert [row["name"] for row in rows(out)] == [f"pictures/{k:03d}.png" for k in range(12)]
    assert (summary.rows, summary.parts, summary.reused) == (12, 2, 1)
    assert finished.items() <= parts_of(out).items()  # not written again
