"""Sinks: what is written, and that nothing unfinished carries a final name."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.sinks import Crops, Csv, Images, Jsonl
from mien.types import EMOTIONS, Face, Failure, Frame, Image, Result, Sink, SourceError

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


def test_jsonl_has_a_line_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "new/deep/out.jsonl"
    with Jsonl(path) as sink:
        sink.write(seen("é.png"))
        sink.write(seen(faces=0))
        sink.fail(BAD)
    one, none, bad = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert one == seen("é.png").to_dict()
    assert none["faces"] == []
    assert bad == {"name": "bad.png", "error": "damaged; replace it"}


def test_csv_has_a_row_a_face_and_one_for_faceless_and_failed(tmp_path: Path) -> None:
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
    assert list(first) == [*head, *EMOTIONS, "error"]
    assert (first["name"], first["face"], second["face"], second["x1"]) == ('a, "b"\n.png', "0", "1", "1.0")
    assert (first["emotion"], first["happy"], first["uncertain"], first["error"]) == ("happy", "0.9", "0", "")
    assert none["name"] == "in/a.png"
    assert none["face"] == none["emotion"] == none["happy"] == none["error"] == ""
    assert bad["error"] == BAD.reason
    assert bad["index"] == "2"
    assert bad["emotion"] == ""


def test_csv_takes_a_models_own_labels(tmp_path: Path) -> None:
    with Csv(tmp_path / "out.csv", ("happy", "fear")) as sink:
        sink.write(seen())
    (row,) = rows(tmp_path / "out.csv")
    assert row["happy"] == "0.9"
    assert row["fear"] == ""
    assert "sad" not in row


@pytest.mark.parametrize("kind", [Jsonl, Csv])
def test_nothing_has_the_final_name_before_close(tmp_path: Path, kind: type[Jsonl] | type[Csv]) -> None:
    path = tmp_path / "out"
    path.write_text("older")
    sink = kind(path)
    sink.write(seen())
    assert path.read_text() == "older"
    assert "a.png" in (tmp_path / "out.part").read_text()  # flushed: a crash loses nothing
    sink.close()
    sink.close()
    assert "a.png" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    with pytest.raises(SourceError, match="closed"):
        sink.write(seen())


def test_an_exception_keeps_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("older")

    def interrupted() -> None:
        with Csv(path) as sink:
            sink.write(seen())
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert path.read_text() == "older"
    assert (tmp_path / "out.csv.part").exists()


def test_names_that_are_not_utf8_are_written(tmp_path: Path) -> None:
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


def test_images_spare_the_pictures_being_read(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"original")
    with Images(tmp_path, plain) as sink:
        sink.write(seen(str(source)))
    assert source.read_bytes() == b"original"
    assert (tmp_path / "a_mien.jpg").exists()


def test_crops_are_the_networks_own(tmp_path: Path) -> None:
    with Crops(tmp_path) as sink:
        sink.write(seen("x/a.png", faces=2))
        sink.write(seen("y/a.png", faces=1))
        sink.write(seen("z/none.png", faces=0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_0_happy.png", "a_1_happy.png", "y_a_0_happy.png"]
    crop = np.asarray(cv2.imread(str(tmp_path / "a_0_happy.png"), cv2.IMREAD_UNCHANGED))
    assert crop.shape == (48, 48)
    assert np.all(crop == 7)


def test_unwritable_places_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    makes = (lambda p: Jsonl(p / "x"), lambda p: Csv(p / "x"), lambda p: Images(p, plain), lambda p: Crops(p))
    for make in makes:
        with pytest.raises(SourceError, match="choose another place"):
            make(tmp_path / "file")
    with pytest.raises(SourceError, match="folder"):
        Jsonl(tmp_path)


def test_a_picture_that_cannot_be_encoded_leaves_nothing(tmp_path: Path) -> None:
    sink = Images(tmp_path, lambda _: np.zeros((0, 0, 3), np.uint8))
    with pytest.raises(SourceError):
        sink.write(seen())
    assert list(tmp_path.iterdir()) == []


def test_all_are_sinks(tmp_path: Path) -> None:
    sinks: list[Sink] = [Jsonl(tmp_path / "a"), Csv(tmp_path / "b"), Images(tmp_path, plain), Crops(tmp_path)]
    for sink in sinks:
        sink.fail(BAD)
        sink.close()
        sink.close()
