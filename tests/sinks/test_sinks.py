"""Sinks: their content, and that no unfinished file has a final name."""

import csv
import importlib.util
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media_files import number, numbered

from mien.errors import ConfigError, Error, OutputError, SourceError
from mien.media.video_reader import VideoReader
from mien.sinks import Crops, Csv, Failures, Images, Jsonl, Parquet, Video
from mien.types import EMOTIONS, QUALITY, Face, Failure, Frame, Image, Result, Sink

P = dict(zip(EMOTIONS, (0.02, 0.9, 0.01, 0.03, 0.04), strict=True))
BAD = Failure("bad.png", "damaged; replace it", 2)


def seen(name: str = "in/a.png", faces: int = 1) -> Result:
    found = tuple(Face((k, 1, 5, 6), 0.5, probabilities=P) for k in range(faces))
    return Result(Frame(np.full((8, 10, 3), 50, np.uint8), 1, 0.0, name), found, np.full((faces, 48, 48), 7, np.uint8))


def plain(result: Result) -> Image:
    return result.frame.image


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_has_the_shot(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    paths = [tmp_path / f"a.{suffix}" for suffix in ("jsonl", "csv", "parquet")]
    for sink in (Jsonl(paths[0]), Csv(paths[1]), Parquet(paths[2])):
        sink.write(replace(seen(), shot=3))
        sink.write(replace(seen(faces=0), shot=4))
        sink.write(seen())
        sink.close()
    assert [json.loads(line)["shot"] for line in paths[0].read_text().splitlines()] == [3, 4, None]
    assert [row["shot"] for row in rows(paths[1])] == ["3", "4", ""]
    assert pq.read_table(paths[2])["shot"].to_pylist() == [3, 4, None]


def test_jsonl_has_a_line_an_image(tmp_path: Path) -> None:
    path = tmp_path / "new/deep/out.jsonl"
    with Jsonl(path) as sink:
        sink.write(seen("é.png"))
        sink.write(seen(faces=0))
        sink.fail(BAD)
    one, none, bad = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert one == seen("é.png").to_dict()
    assert none["faces"] == []
    assert bad == {"name": "bad.png", "error": "damaged; replace it"}


def names(path: Path) -> list[str]:
    return [json.loads(line)["name"] for line in path.read_text().splitlines()]


def test_jsonl_removes_failures_to_retry(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Jsonl(path) as sink:
        sink.write(seen("a.png"))
        sink.fail(BAD)
        sink.write(seen("\udcff.png"))
    lines = path.read_text().splitlines()
    with Jsonl(path, resume=True, retry=["bad.png"]) as sink:
        assert sink.done == {"a.png": "", "\udcff.png": ""}
        assert path.read_text().splitlines() == lines  # until the end
        sink.write(seen("bad.png"))
    assert path.read_text().splitlines() == [lines[0], lines[2], json.dumps(seen("bad.png").to_dict())]
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_jsonl_keeps_failures_not_retried(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Jsonl(path) as sink:
        sink.fail(BAD)
    with Jsonl(path, resume=True, retry=["other.png"]) as sink:
        assert sink.done == {BAD.name: BAD.reason}
    assert names(path) == [BAD.name]


def test_jsonl_leaves_no_draft_of_a_foreign_file(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("name,emotion\n")
    with pytest.raises(SourceError, match="line 1 was not written by mien"):
        Jsonl(path, resume=True).start()
    assert [path.name for path in tmp_path.iterdir()] == ["table.txt"]


@pytest.mark.parametrize("name", ["failures.jsonl", "failures.csv"])
def test_failures_have_names_and_reasons(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    odd = Failure("\udcff, [x].png", 'a "reason"; do\nthat')
    with Failures(path) as sink:
        sink.write(seen())
        sink.fail(BAD)
        sink.fail(odd)
        assert not path.exists()
    found = rows(path) if path.suffix == ".csv" else [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["reason"] for row in found] == [BAD.reason, odd.reason]
    assert found[0]["name"] == "bad.png" and found[1]["name"].replace("\udcff", "\\udcff") == "\\udcff, [x].png"
    with Failures(path):
        pass
    assert path.read_text() == ("name,reason\n" if path.suffix == ".csv" else "")


def test_jsonl_resumes_after_the_complete_lines_of_a_draft(tmp_path: Path) -> None:
    path, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.mien.part"
    with pytest.raises(KeyboardInterrupt), Jsonl(path, resume=True) as sink:
        assert sink.done == {}  # nothing to resume
        sink.write(seen("\udcff.png"))
        sink.fail(BAD)
        sink.write(seen("c.png"))
        raise KeyboardInterrupt
    part.write_bytes(part.read_bytes()[:-5])
    with Jsonl(path, resume=True) as sink:
        assert sink.done == {"\udcff.png": "", "bad.png": BAD.reason}
        sink.write(seen("c.png"))
    assert names(path) == ["\udcff.png", "bad.png", "c.png"]
    assert not part.exists()


def test_jsonl_resumes_a_finished_file_and_keeps_it_until_close(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Jsonl(path) as sink:
        sink.write(seen("a.png"))
    sink = Jsonl(path, resume=True)
    sink.write(seen("b.png"))
    assert (sink.done, names(path)) == ({"a.png": ""}, ["a.png"])
    sink.close()
    assert names(path) == ["a.png", "b.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    with Jsonl(path) as sink:  # without resume it starts anew
        sink.write(seen("c.png"))
    assert names(path) == ["c.png"]


@pytest.mark.parametrize("line", [b"hello", b"[1]", b'{"time": 1}', b"\xff"])
def test_jsonl_does_not_resume_another_kind_of_file(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"name": "a.png"}\n' + line + b"\n")
    with pytest.raises(SourceError, match="line 2"):
        Jsonl(path, resume=True).start()
    assert path.read_bytes() == b'{"name": "a.png"}\n' + line + b"\n"


def test_reserved_image_names_stay_taken(tmp_path: Path) -> None:
    with Images(tmp_path, plain) as sink:
        for name in ("x/a.png", "y/a.png"):
            sink.reserve(name)
        sink.write(seen("z/a.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["z_a.jpg"]


def test_csv_has_a_row_a_face_and_one_without_faces(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with Csv(path) as sink:
        sink.write(seen('a, "b"\n.png', faces=2))
        sink.write(seen(faces=0))
        sink.fail(BAD)
    first, second, none, bad = rows(path)
    head = [
        "name",
        "index",
        "time",
        "shot",
        "face",
        "id",
        "x1",
        "y1",
        "x2",
        "y2",
        "score",
        "emotion",
        "confidence",
        "uncertain",
    ]
    assert list(first) == [*head, *QUALITY, *EMOTIONS, "error"]
    assert (first["name"], first["face"], second["face"], second["x1"]) == ('a, "b"\n.png', "0", "1", "1.0")
    assert (first["emotion"], first["happy"], first["uncertain"], first["error"]) == ("happy", "0.9", "0", "")
    assert none["name"] == "in/a.png"
    assert none["face"] == none["emotion"] == none["happy"] == none["error"] == ""
    assert bad["error"] == BAD.reason
    assert bad["index"] == "2"
    assert bad["emotion"] == ""


def test_csv_has_columns_of_custom_labels(tmp_path: Path) -> None:
    with Csv(tmp_path / "out.csv", ("happy", "fear")) as sink:
        sink.write(seen())
    (row,) = rows(tmp_path / "out.csv")
    assert row["happy"] == "0.9"
    assert row["fear"] == ""
    assert "sad" not in row


@pytest.mark.parametrize("kind", [Jsonl, Csv])
def test_final_name_appears_on_close(tmp_path: Path, kind: type[Jsonl] | type[Csv]) -> None:
    path = tmp_path / "out"
    path.write_text("older")
    sink = kind(path)
    sink.write(seen())
    assert path.read_text() == "older"
    assert "a.png" in (tmp_path / "out.mien.part").read_text()  # flushed: a crash loses nothing
    sink.close()
    sink.close()
    assert "a.png" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    with pytest.raises(OutputError, match="closed"):
        sink.write(seen())


def test_exception_keeps_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("older")

    def interrupt() -> None:
        with Csv(path) as sink:
            sink.write(seen())
            raise KeyError

    with pytest.raises(KeyError):
        interrupt()
    assert path.read_text() == "older"
    assert (tmp_path / "out.csv.mien.part").exists()


def test_names_that_are_not_utf8_are_escaped(tmp_path: Path) -> None:
    with Jsonl(tmp_path / "out.jsonl") as sink:
        sink.write(seen("\udcff.png"))
    assert json.loads((tmp_path / "out.jsonl").read_text())["name"] == "\udcff.png"


def test_images_never_overwrite_each_other(tmp_path: Path) -> None:
    names = ["x/a.png", "y/a.jpg", "y/A.bmp", "", "../..", "http://h/p?q=1"]
    with Images(tmp_path / "out", plain) as sink:
        for name in names:
            sink.write(seen(name))
        sink.fail(BAD)
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(found) == len(names)
    assert {"a.jpg", "y_a.jpg", "A_2.jpg"} <= set(found)
    assert all(np.asarray(cv2.imread(str(path))).shape == (8, 10, 3) for path in (tmp_path / "out").iterdir())


def test_images_never_overwrite_their_source(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"original")
    with Images(tmp_path, plain) as sink:
        sink.write(seen(str(source)))
    assert source.read_bytes() == b"original"
    assert (tmp_path / "a_mien.jpg").exists()


def test_crops_are_the_input_of_the_network(tmp_path: Path) -> None:
    with Crops(tmp_path) as sink:
        sink.write(seen("x/a.png", faces=2))
        sink.write(seen("y/a.png", faces=1))
        sink.write(seen("z/none.png", faces=0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_0_happy.png", "a_1_happy.png", "y_a_0_happy.png"]
    crop = np.asarray(cv2.imread(str(tmp_path / "a_0_happy.png"), cv2.IMREAD_UNCHANGED))
    assert crop.shape == (48, 48)
    assert np.all(crop == 7)


def test_frames_of_a_video_have_their_index_in_the_name(tmp_path: Path) -> None:
    with Images(tmp_path, plain) as sink:
        for index in (0, 1, 25):
            sink.write(Result(Frame(np.zeros((8, 10, 3), np.uint8), index, index / 25, "in/film.mp4")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.jpg", "film_000001.jpg", "film_000025.jpg"]


def table(path: Path) -> list[dict[str, Any]]:
    return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()  # type: ignore[no-any-return]


def test_parquet_matches_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for sink in (Csv(tmp_path / "a.csv"), Parquet(tmp_path / "a.parquet", rows=2)):
        sink.write(seen("\udcff.png", faces=2))
        sink.write(seen(faces=0))
        sink.write(Result(Frame(np.zeros((8, 10, 3), np.uint8)), (Face((1, 2, 3, 4), id=7),)))  # not classified
        sink.fail(BAD)
        sink.close()
        sink.close()
    found = table(tmp_path / "a.parquet")
    for typed, text in zip(found, rows(tmp_path / "a.csv"), strict=True):
        assert list(typed) == list(text)
        for name, value in typed.items():
            if value is None or isinstance(value, str):
                assert (value or "") == text[name]
            else:
                assert value == pytest.approx(float(text[name]), abs=1e-6)
    assert [row["uncertain"] for row in found] == [False, False, None, None, None]
    assert [(row["x1"], row["id"], row["index"]) for row in found[-2:]] == [(1.0, 7, 0), (None, None, 2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.parquet"]


def test_parquet_draft_is_readable(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    sink = Parquet(tmp_path / "a.parquet", seconds=0.0)
    part = tmp_path / "a.parquet.mien.part"
    for count in (1, 2, 3):
        sink.write(seen(faces=0))
        assert len(table(part)) == count
    (part / "notes.txt").write_text("foreign")
    sink.close()
    assert len(table(tmp_path / "a.parquet")) == 3
    assert [path.name for path in part.iterdir()] == ["notes.txt"]
    with pytest.raises(OutputError, match="closed"):
        sink.write(seen())


def test_parquet_replaces_an_old_draft_and_may_be_empty(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    old = Parquet(tmp_path / "a.parquet", seconds=0.0)
    old.write(seen())
    del old  # as if it was killed
    Parquet(tmp_path / "a.parquet").close()
    assert table(tmp_path / "a.parquet") == []


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"mien\[parquet\]"):
        Parquet(tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_video_shows_drawn_frames_at_their_times(tmp_path: Path) -> None:
    with Video(tmp_path / "new/a.mp4", lambda result: numbered(10 + result.frame.index), rate=10.0) as sink:
        for index in range(5):
            sink.write(Result(Frame(numbered(index), index, index / 10)))
        sink.fail(BAD)
    items = list(VideoReader(tmp_path / "new/a.mp4"))
    assert [(number(item.bgr()), item.time) for item in items] == [(10 + k, pytest.approx(k / 10)) for k in range(5)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]
    with pytest.raises(OutputError, match="closed"):
        sink.write(Result(Frame(numbered(0))))


def test_video_raises_the_error_of_a_drawing_and_leaves_no_file(tmp_path: Path) -> None:
    def fails(result: Result) -> Image:
        raise ValueError(f"cannot draw {result.index}")

    with pytest.raises(ValueError, match="cannot draw 0"), Video(tmp_path / "a.mp4", fails) as sink:
        for k in range(20):
            sink.write(Result(Frame(np.zeros((64, 64, 3), np.uint8), k, k / 10)))
    with pytest.raises(ValueError, match="cannot draw 0"), Video(tmp_path / "b.mp4", fails) as sink:
        sink.write(Result(Frame(np.zeros((64, 64, 3), np.uint8))))
    assert not list(tmp_path.iterdir())


def test_video_keeps_its_source_and_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")
    with pytest.raises(ConfigError, match="another name"):
        Video(path, plain, sound=path)

    def interrupt() -> None:
        with Video(path, plain) as sink:
            sink.write(Result(Frame(numbered(3))))
            raise KeyError

    with pytest.raises(KeyError):
        interrupt()
    assert path.read_bytes() == b"older"
    (frame,) = VideoReader(tmp_path / "a.mp4.mien.part.mp4")
    assert number(frame.bgr()) == 3


WRITER = """
import sys
from pathlib import Path
import numpy as np
from media_files import numbered
from mien.sinks import Csv, Jsonl, Parquet, Video
from mien.types import EMOTIONS, QUALITY, Face, Frame, Result

folder = Path(sys.argv[1])
faces = (Face((1, 2, 30, 40), probabilities=dict.fromkeys(EMOTIONS, 0.2)),)
sinks = [Jsonl(folder / "a.jsonl"), Csv(folder / "a.csv")]
if "parquet" in sys.argv:
    sinks.append(Parquet(folder / "a.parquet", seconds=0.0))
sinks.append(Video(folder / "a.mp4", lambda result: result.frame.image))
for index in range(100_000):
    for sink in sinks:
        sink.write(Result(Frame(numbered(index % 256), index, index / 30), faces))
    print(index, flush=True)
"""


def test_drafts_are_readable_after_kill(tmp_path: Path) -> None:
    extras = ["parquet"] * (importlib.util.find_spec("pyarrow") is not None)
    command = [sys.executable, "-c", WRITER, str(tmp_path), *extras]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1] / "media") as child:
        assert child.stdout
        while int(child.stdout.readline()) < 200:
            pass
        child.kill()
    assert child.returncode in (-signal.SIGKILL, 1)
    done = 200
    lines = (tmp_path / "a.jsonl.mien.part").read_text().splitlines(keepends=True)
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    assert [row["index"] for row in whole] == list(range(len(whole))) and len(whole) > done
    assert [row["index"] for row in rows(tmp_path / "a.csv.mien.part")][: done + 1] == [str(k) for k in range(done + 1)]
    if "parquet" in extras:
        found = table(tmp_path / "a.parquet.mien.part")
        assert [row["index"] for row in found] == list(range(len(found))) and len(found) > done
    frames = list(VideoReader(tmp_path / "a.mp4.mien.part.mp4"))
    assert [number(frame.bgr()) for frame in frames] == [k % 256 for k in range(len(frames))]
    assert len(frames) > done - 31
    names = {path.name for path in tmp_path.iterdir()}
    assert not names & {"a.jsonl", "a.csv", "a.parquet", "a.mp4"}


def test_unwritable_paths_are_one_error_each(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    makes = (
        lambda p: Jsonl(p / "x"),
        lambda p: Csv(p / "x"),
        lambda p: Video(p / "x.mp4", plain),
        lambda p: Images(p, plain),
        lambda p: Crops(p),
    )
    for make in makes:
        with pytest.raises(Error, match=r"is a file, not a folder|no folder"):
            make(tmp_path / "file")
    with pytest.raises(ConfigError, match="a folder, and JSON lines is a file"):
        Jsonl(tmp_path)


def test_image_that_cannot_be_encoded_leaves_no_file(tmp_path: Path) -> None:
    sink = Images(tmp_path, lambda _: np.zeros((0, 0, 3), np.uint8))
    with pytest.raises(OutputError):
        sink.write(seen())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("side", "name"), [(65_500, "a.jpg"), (65_501, "a.png")])
def test_image_too_long_for_jpeg_becomes_png(tmp_path: Path, side: int, name: str) -> None:
    with Images(tmp_path, lambda _: np.full((2, side, 3), 90, np.uint8)) as sink:
        sink.write(seen())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert np.asarray(cv2.imread(str(tmp_path / name))).shape == (2, side, 3)


def test_image_too_large_for_any_format_is_an_error(tmp_path: Path) -> None:
    sink = Images(tmp_path, lambda _: np.zeros((1, 1_000_001, 3), np.uint8))
    with pytest.raises(OutputError, match=r"a\.png: an image of 1000001x1 pixels is too large"):
        sink.write(seen())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("letter", ["a", "ä", "顔", "𠀀"])
def test_long_names_are_cut_between_letters_and_stay_unique(tmp_path: Path, letter: str) -> None:
    name = f"{(letter * 255).encode()[:250].decode(errors='ignore')}/{letter * 60}.png"
    frame = Frame(np.zeros((8, 10, 3), np.uint8), 123456, 0.0, name)
    faces = (replace(seen().faces[0], probabilities={letter * 90: 1.0}),)
    with Images(tmp_path / "a", plain) as images, Crops(tmp_path / "b") as crops:
        for sink in (images, crops):
            for _ in range(12):
                sink.write(Result(frame, faces, np.zeros((1, 48, 48), np.uint8)))
    files = list(tmp_path.glob("*/*"))
    assert len(files) == 24
    assert all(path.name.startswith(letter * 20) for path in files)


def test_removed_folder_is_an_error(tmp_path: Path) -> None:
    sink = Images(tmp_path / "a", plain)
    sink.start()
    (tmp_path / "a").rmdir()
    (tmp_path / "a").write_text("")
    with pytest.raises(OutputError, match="choose another place"):
        sink.write(seen())


def test_all_sinks_accept_failures_and_close_twice(tmp_path: Path) -> None:
    sinks: list[Sink] = [
        Jsonl(tmp_path / "a"),
        Csv(tmp_path / "b"),
        Video(tmp_path / "c.mp4", plain),
        Images(tmp_path, plain),
        Crops(tmp_path),
    ]
    for sink in sinks:
        sink.fail(BAD)
        sink.close()
        sink.close()
