"""Batches: every kind of source, results that survive a kill, nothing lost and nothing doubled."""

from __future__ import annotations

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

from conftest import picture
from mien import batch, batch_part, cli_batch, image, shards, sinks
from mien.classify import ASSETS, model
from mien.pipeline import Pipeline
from mien.types import ConfigError, Frame, Result, SourceError

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
    found: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return found


def parts_of(out: Path) -> dict[str, int]:
    """The finished files, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No Ray: parts are computed here, one after the other. The list names them."""
    computed: list[str] = []

    def compute(job: Any, todo: dict[str, Any], *_: Any) -> None:
        worker = batch_part.Worker(job)
        for name, part in todo.items():
            worker({"name": [name], "part": [json.dumps(part)]})
            computed.append(name)

    monkeypatch.setattr(batch, "_compute", compute)
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
def test_every_kind_of_source_gives_each_picture_once_with_the_classifiers_probabilities(
    make: Callable[[Path, int], Path], tmp_path: Path, plain: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    summary = batch.run(make(tmp_path / "in", 7), tmp_path / "out", crops=True, size=3)
    found = sorted(rows(tmp_path / "out"), key=lambda row: row["name"])
    assert [Path(row["name"]).name for row in found] == [f"{k:03d}.png" for k in range(7)]
    wanted = model()(np.stack([picture(k) for k in range(7)]))
    got = [[row[name] for name in model().labels] for row in found]
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert all(row["face"] == 0 and row["x1"] is None and row["error"] is None for row in found)
    assert (summary.pictures, summary.faces, summary.errors, summary.rows) == (7, 7, 0, 7)
    assert len({row["key"] for row in found}) == len({(row["origin"], row["index"]) for row in found}) == 7


def test_a_url_is_read_by_pyarrow_or_fsspec(tmp_path: Path, plain: list[str]) -> None:
    import fsspec

    folder = fill(tmp_path / "in", 2)
    batch.run(folder.as_uri(), tmp_path / "out", crops=True)
    memory = fsspec.filesystem("memory")
    for k in range(2):
        memory.pipe(f"/batch/{k:03d}.png", encoded(k))
    batch.run("memory://batch", tmp_path / "far", crops=True)
    assert rows(tmp_path / "far") == rows(tmp_path / "out") and len(rows(tmp_path / "out")) == 2


def test_pictures_give_the_pipelines_faces_in_the_columns_of_the_parquet_sink(tmp_path: Path, plain: list[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / "in" / name).write_bytes((ASSETS / "portrait.jpg").read_bytes())
    cv2.imwrite(str(tmp_path / "in" / "b.png"), np.zeros((64, 64, 3), np.uint8))
    batch.run(tmp_path / "in", tmp_path / "out")
    with sinks.Parquet(tmp_path / "sink.parquet") as sink:
        for name in ("a.jpg", "b.png", "c.jpg"):
            data = (tmp_path / "in" / name).read_bytes()
            sink.write(Pipeline().process(Frame(image.decode(data, name), "abc".index(name[0]), 0.0, name)))
    found, wanted = pq.read_table(tmp_path / "out"), pq.read_table(tmp_path / "sink.parquet")
    common = [name for name in wanted.schema.names if name not in ("time", "id")]
    assert [found.schema.field(name).type for name in common] == [wanted.schema.field(name).type for name in common]
    for row, like in zip(found.to_pylist(), wanted.to_pylist(), strict=True):
        assert row["name"] == like["name"] and row["face"] == like["face"] and row["emotion"] == like["emotion"]
        numbers = [name for name in common if isinstance(like[name], float)]
        assert [row[name] for name in numbers] == pytest.approx([like[name] for name in numbers], abs=1e-3)
    assert [row["face"] for row in found.to_pylist()] == [0, None, 0]


def test_a_crop_of_another_size_is_stretched_and_its_box_is_the_picture() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    [seen] = batch_part.Crops(model()).process_many([Frame(wide)])
    assert np.array_equal(seen.crops[0], image.gray48(wide)) and seen.faces[0].box == (0, 0, 90, 60)


def test_a_poisoned_picture_becomes_an_error_row_and_the_others_are_as_without_it(
    tmp_path: Path, plain: list[str]
) -> None:
    folder = fill(tmp_path / "in", 5)
    (folder / "002.png").write_bytes(b"no picture")
    (folder / "003.png").write_bytes(encoded(3)[:-40])
    summary = batch.run(folder, tmp_path / "out", crops=True)
    assert [bool(row["error"]) for row in rows(tmp_path / "out")] == [False, False, True, True, False]
    assert (summary.pictures, summary.faces, summary.errors) == (5, 3, 2)


def test_a_picture_at_which_the_pipeline_fails_takes_no_other_with_it() -> None:
    class Picky(batch_part.Crops):
        def process_many(self, frames: Any, known: Any = None) -> list[Result]:
            if any(frame.name == "b" for frame in frames):
                raise cv2.error("bad")
            return super().process_many(frames)

    given = [(shards.Picture(name, "", k, encoded(k)), False) for k, name in enumerate("abc")]
    seen = [item for _, item in batch_part._seen(Picky(model()), given)]
    assert [isinstance(item, Result) for item in seen] == [True, False, True] and "bad" in seen[1].reason


def test_a_picture_that_kills_its_worker_twice_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """In place of a crash."""

    decode = image.decode

    def crash(data: bytes, name: str) -> Any:
        if name == "004.png":
            raise Killed
        return decode(data, name)

    monkeypatch.setattr(image, "decode", crash)
    (tmp_path / "out").mkdir()
    [part] = shards.parts(str(fill(tmp_path / "in", 7)))
    job = batch_part.Job(str(tmp_path / "out"), "rep", model().sha256, None)
    deaths = 0
    for _ in range(20):
        try:
            batch_part.write_part(job, batch_part.Crops(model()), "part-0.parquet", part)
            break
        except Killed:
            deaths += 1
    assert deaths == 5  # three whole tries, two to make sure
    assert [row["name"] for row in rows(tmp_path / "out") if row["error"]] == ["004.png"]
    assert len(rows(tmp_path / "out")) == 7
    assert [path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".tries"] == []


def test_identical_files_stay_apart_and_share_their_content(tmp_path: Path, plain: list[str]) -> None:
    folder = fill(tmp_path / "in", 1)
    (folder / "copy.png").write_bytes(encoded(0))
    (tmp_path / "list.txt").write_text(f"{folder}/000.png\n" * 2)
    for number, source in enumerate((folder, tmp_path / "list.txt")):
        batch.run(source, tmp_path / f"out{number}", crops=True)
        one, two = rows(tmp_path / f"out{number}")
        assert one["content"] == two["content"] and one["key"] != two["key"]


def test_a_second_run_computes_only_the_parts_that_are_missing(tmp_path: Path, plain: list[str]) -> None:
    folder, out = fill(tmp_path / "in", 7), tmp_path / "out"
    batch.run(folder, out, crops=True, size=2)
    before, wanted = parts_of(out), rows(out)
    gone = sorted(before)[1]
    (out / gone).unlink()
    (out / f".{gone}.{'0' * 32}.tmp").write_bytes(b"half of it")  # what a kill leaves
    plain.clear()
    summary = batch.run(folder, out, crops=True, size=2)
    assert plain == [gone] and (summary.parts, summary.found, summary.rows) == (4, 3, 7)
    assert rows(out) == wanted
    assert {name: time for name, time in parts_of(out).items() if name != gone} == {
        name: time for name, time in before.items() if name != gone
    }
    assert not list(out.glob(".*"))


def test_a_changed_source_gives_new_parts_in_place_of_those_that_hold_other_pictures(
    tmp_path: Path, plain: list[str]
) -> None:
    folder, out = fill(tmp_path / "in", 4), tmp_path / "out"
    batch.run(folder, out, crops=True, size=2)
    plain.clear()
    (folder / "002a.png").write_bytes(encoded(9))
    batch.run(folder, out, crops=True, size=2)
    assert len(plain) == 2  # the first part holds the same two as before
    assert [row["name"] for row in rows(out)] == ["000.png", "001.png", "002.png", "002a.png", "003.png"]


@pytest.mark.parametrize("make", [as_folder, as_list, as_bytes, as_tars])
def test_a_file_replaced_by_one_of_the_same_size_is_computed_again(
    make: Callable[[Path, int], Path], tmp_path: Path, plain: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    source, out = make(tmp_path / "in", 7), tmp_path / "out"
    batch.run(source, out, crops=True, size=3)
    before, first = parts_of(out), len(plain)
    batch.run(source, out, crops=True, size=3)
    assert len(plain) == first and parts_of(out) == before
    files = [path for path in (tmp_path / "in").rglob("*") if path.suffix in (".png", ".parquet", ".tar")]
    changed = sorted(files)[-1]
    later = changed.stat().st_mtime_ns + 1_000_000
    os.utime(changed, ns=(later, later))
    batch.run(source, out, crops=True, size=3)
    own = first if changed.suffix == ".parquet" else 1  # parts of that file; the others stay
    assert len(plain) == first + own and len(parts_of(out)) == len(before)
    assert len(parts_of(out).items() & before.items()) == first - own


def test_a_replaced_object_of_the_same_size_is_noticed_where_the_store_has_a_stamp(plain: list[str]) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for k in range(2):
        memory.pipe(f"/stamped/{k:03d}.png", encoded(k))
    [part] = shards.parts("memory://stamped")
    assert shards.parts("memory://stamped/") != [] and shards.parts("memory://stamped") == [part]
    memory.rm("/stamped/001.png")
    memory.pipe("/stamped/001.png", encoded(1))
    [later] = shards.parts("memory://stamped")
    assert later["files"][0] == part["files"][0] and later["files"][1] != part["files"][1]
    assert [each[:3] for each in later["files"]] == [each[:3] for each in part["files"]]


def test_a_slash_at_the_end_of_a_source_changes_nothing(tmp_path: Path, plain: list[str]) -> None:
    folder, out = fill(tmp_path / "in", 2), tmp_path / "out"
    for source in (folder.as_uri(), folder.as_uri() + "/"):
        batch.run(source, out, crops=True)
    assert len(plain) == 1
    places = {"s3://b/in/": "s3://b/in", "s3://b/in//?region=x": "s3://b/in?region=x", "file:///": "file:///"}
    assert {place: batch._place(place) for place in places} == places


def test_results_may_not_lie_in_the_source_however_the_two_are_written(tmp_path: Path) -> None:
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
            batch._check_apart(source, out)
    for source, out in (
        ("memory://b/in", "memory://b/in-out"),
        ("memory://b/in", str(tmp_path)),
        ("/b/in", "memory://b/in/out"),
    ):
        batch._check_apart(source, out)


def test_results_of_another_run_are_never_overwritten(tmp_path: Path, plain: list[str]) -> None:
    folder, out = fill(tmp_path / "in", 2), tmp_path / "out"
    batch.run(folder, out, crops=True)
    with pytest.raises(ConfigError, match="another detector"):
        batch.run(folder, out)
    with pytest.raises(ConfigError, match="another source"):
        batch.run(fill(tmp_path / "other", 2), out, crops=True)
    with pytest.raises(ConfigError, match="lies in the source"):
        batch.run(folder, folder / "out", crops=True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match="something else"):
        batch.run(folder, tmp_path / "theirs", crops=True)


def test_files_of_others_stay_in_the_folder_and_leftovers_of_ours_go(tmp_path: Path, plain: list[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    theirs = ["part-00000-abc.csv", "part-notes.txt", ".part-x.tmp"]
    name = "part-000007-0123456789ab.parquet"
    ours = [f".{name}.{'0' * 32}.tmp", f".{name}.tries", f".{name}.tries.tmp"]
    for each in theirs + ours:
        (out / each).write_text("x")
    batch.run(fill(tmp_path / "in", 2), out, crops=True)
    there = {path.name for path in out.iterdir()}
    assert set(theirs) <= there
    assert not set(ours) & there


def test_a_damaged_shard_costs_the_pictures_behind_the_damage_and_leaves_an_error_row(
    tmp_path: Path, plain: list[str]
) -> None:
    tars = as_tars(tmp_path, 6)
    whole = (tars / "shard-000.tar").read_bytes()
    (tars / "shard-000.tar").write_bytes(whole[: whole.index(encoded(1)) + 100])
    summary = batch.run(tars, tmp_path.with_name("tars-out"), crops=True)
    found = rows(tmp_path.with_name("tars-out"))
    names = ["000.png", "shard-000.tar", "003.png", "004.png", "005.png"]
    assert [Path(row["name"]).name for row in found] == names
    assert summary.errors == 1
    tables = tmp_path / "tables"
    tables.mkdir()
    as_bytes(tables, 4)
    (tables / "broken.parquet").write_bytes(b"PAR1")
    assert batch.run(tables, tmp_path / "tables-out", crops=True).errors == 1
    assert len(rows(tmp_path / "tables-out")) == 5


def test_a_row_group_larger_than_a_part_is_cut_without_loss(tmp_path: Path) -> None:
    table = pa.table({"image": [str(k).encode() for k in range(100)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=64)
    cut = shards.parts(str(tmp_path / "t.parquet"), size=5)
    assert len(cut) == 13  # no more than eight of the largest group
    read = [(each.index, each.data) for part in cut for each in shards.pictures(part)]
    assert read == [(k, str(k).encode()) for k in range(100)]


def test_sources_that_are_none_are_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        shards.parts(str(tmp_path / "no"))
    with pytest.raises(SourceError, match="no pictures"):
        shards.parts(str(tmp_path))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SourceError, match="empty list"):
        shards.parts(str(tmp_path / "empty.txt"))
    with pytest.raises(ConfigError, match="no column"):
        shards.parts(str(as_bytes(tmp_path, 2)), column="face")
    with pytest.raises(ConfigError, match="one kind"):
        shards.parts(str(fill(tmp_path, 1)))
    with pytest.raises(SourceError, match="nowhere"):
        shards.parts("nowhere://a/b")


def test_a_source_of_no_pictures_is_refused_before_anything_is_written(tmp_path: Path, plain: list[str]) -> None:
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "none.parquet")
    with pytest.raises(SourceError, match="holds no pictures"):
        batch.run(tmp_path / "none.parquet", tmp_path / "out", crops=True)
    assert not (tmp_path / "out").exists()


def test_a_model_that_workers_could_not_load_is_refused_before_they_start(tmp_path: Path, plain: list[str]) -> None:
    folder = fill(tmp_path / "in", 1)
    bare = tmp_path / "rep"
    bare.write_bytes((ASSETS / "rep.onnx").read_bytes())
    for wrong, why in (("rep+baseline", "one model"), (bare, r"ends in \.onnx")):
        with pytest.raises(ConfigError, match=why):
            batch.run(folder, tmp_path / "out", model=wrong, crops=True)
    bare.rename(tmp_path / "own.onnx")
    assert batch.run(folder, tmp_path / "out", model=tmp_path / "own.onnx", crops=True).faces == 1


def test_of_a_tar_hidden_files_are_passed_over_and_links_are_error_rows(tmp_path: Path, plain: list[str]) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "./000.png", encoded(0))
        add(tar, "./._000.png", b"what macOS adds")
        add(tar, ".trash/old.png", encoded(9))
        for name, kind in (("hard.png", tarfile.LNKTYPE), ("soft.png", tarfile.SYMTYPE), ("hard.txt", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "./000.png"
            tar.addfile(link)
        add(tar, "001.png", encoded(1))
    summary = batch.run(tmp_path / "a.tar", tmp_path / "out", crops=True)
    found = rows(tmp_path / "out")
    assert [(Path(row["name"]).name, row["index"]) for row in found] == [
        ("000.png", 0), ("hard.png", 1), ("soft.png", 2), ("001.png", 3),
    ]  # fmt: skip
    assert ["a link to ./000.png" in (row["error"] or "") for row in found] == [False, True, True, False]
    assert summary.errors == 2


def test_a_list_may_come_from_windows_and_names_hold_other_separators(tmp_path: Path) -> None:
    names = ["a.png", "b\u2028c.png", "d\x0ce.png", " f.png"]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*names, "", ""]).encode())
    [part] = shards.parts(str(tmp_path / "list.txt"))
    assert [name for name, *_ in part["files"]] == names


def test_paths_of_windows_get_the_slashes_that_pyarrow_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (batch, shards):
        windows = SimpleNamespace(resolve=lambda: PureWindowsPath(r"C:\pictures\in"))
        monkeypatch.setattr(module, "Path", lambda place, windows=windows: windows)
    assert batch._place("in") == shards.resolve("in")[1] == "C:/pictures/in"


def test_without_ray_the_error_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(batch.importlib.util, "find_spec", lambda name: None if name == "ray" else name)
    with pytest.raises(ConfigError, match=r"pip install 'mien\[batch\]'"):
        batch.run(tmp_path, tmp_path / "out")


def test_the_command_ends_with_1_when_there_were_errors(
    tmp_path: Path, plain: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fill(tmp_path / "in", 3)
    assert cli_batch.batch(str(folder), to=str(tmp_path / "a"), crops=True) == 0
    (folder / "001.png").write_bytes(b"")
    assert cli_batch.batch(str(folder), to=str(tmp_path / "b"), crops=True) == 1
    assert json.loads((tmp_path / "b" / "_manifest.json").read_text())["errors"] == 1


# With real processes. A named pipe among the pictures holds a worker in the middle of a part for as long as it takes.


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with batch._ray(None, 1) as module:
        yield module


def held(root: Path) -> tuple[Path, Path]:
    """A list of 12 pictures, the 8th of which is a named pipe."""
    source = as_list(root, 12)
    pipe = root / "pictures" / "007.png"
    pipe.unlink()
    os.mkfifo(pipe)
    return source, pipe


def until(true: Callable[[], Any], seconds: float = 300.0) -> Any:
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if found := true():
            return found
        pause.wait(0.05)
    raise AssertionError("it did not happen")


def workers() -> list[int]:
    """Processes of this user in which Ray runs a part."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::MapWorker(MapBatches(Worker))"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def in_the_middle(out: Path) -> bool:
    """Whether the first part is finished and the second begun."""
    return len(parts_of(out)) == 1 and bool(list(out.glob(".part-000001-*.tmp")))


def test_a_worker_killed_in_the_middle_loses_and_doubles_nothing(ray: Any, tmp_path: Path) -> None:
    source, pipe = held(tmp_path)
    out = tmp_path / "out"
    killed: list[int] = []

    def kill() -> None:
        until(lambda: in_the_middle(out))
        killed.extend(workers())
        for process in killed:
            os.kill(process, signal.SIGKILL)
        until(lambda: not set(killed) & set(workers()))
        pipe.write_bytes(encoded(7))  # waits for the next worker to read it

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    summary = batch.run(source, out, crops=True, workers=1, size=6)
    thread.join()
    assert len(killed) == 1
    assert [row["name"] for row in rows(out)] == [f"pictures/{k:03d}.png" for k in range(12)]
    assert (summary.pictures, summary.errors, summary.found) == (12, 0, 0)


def test_a_run_whose_driver_is_killed_goes_on_with_the_missing_parts(ray: Any, tmp_path: Path) -> None:
    source, pipe = held(tmp_path)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "mien", "batch", str(source), "--out", str(out), "--crops", "--part", "6"]
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen([*command, "--workers", "1", "--address", address], stderr=subprocess.DEVNULL)
    until(lambda: in_the_middle(out))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    finished = parts_of(out)
    pipe.unlink()
    pipe.write_bytes(encoded(7))
    summary = batch.run(source, out, crops=True, workers=1, size=6)
    assert [row["name"] for row in rows(out)] == [f"pictures/{k:03d}.png" for k in range(12)]
    assert (summary.rows, summary.parts, summary.found) == (12, 2, 1)
    assert finished.items() <= parts_of(out).items()  # not written a second time
