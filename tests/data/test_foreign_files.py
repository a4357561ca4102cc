"""Damaged and hostile data sets: one line that names the file, within bounded memory."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.data import archive
from mien.data.faces import Faces
from mien.data.fer2013 import load_fer2013
from mien.data.ferplus import FERPLUS, read_votes
from mien.data.registry import load_any
from mien.errors import DataError
from mien.evaluation.views import answer_views
from mien.faces.models import load_classifier

IMAGE = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8))[1].tobytes()
NAME = "train/happy/Training_1.jpg"
PIXELS = " ".join(["1"] * 2304)
HEADER = f"file,{','.join(FERPLUS)}\n"


def zip_file(folder: Path, content: bytes = IMAGE) -> Path:
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(NAME, content)
    return path


def patch(path: Path, local: int, central: int, value: int) -> None:
    """Set a byte of the member's two headers."""
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\3\4") + local] = value
    data[data.find(b"PK\1\2") + central] = value
    path.write_bytes(data)


def one_line(error: pytest.ExceptionInfo[DataError], path: Path) -> str:
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text and len(text) < 600
    return text


@pytest.mark.parametrize("kind", ["fer2013", "photographs"])
@pytest.mark.parametrize(
    ("local", "central", "value", "reason"), [(6, 8, 1, "encrypted"), (8, 10, 99, "method is not supported")]
)
def test_zip_member_that_cannot_be_unpacked_is_named(
    tmp_path: Path, kind: str, local: int, central: int, value: int, reason: str
) -> None:
    patch(path := zip_file(tmp_path), local, central, value)
    with pytest.raises(DataError) as error:
        load_any(path, kind=kind)
    assert reason in one_line(error, path) and NAME in str(error.value)


def test_zip_member_with_damaged_content_is_named(tmp_path: Path) -> None:
    path = zip_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[200:400] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        load_fer2013(path)
    assert "cannot be unpacked" in one_line(error, path)


def test_zip_member_above_the_limit_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zip_file(tmp_path, bytes(archive.MEMBER_BYTES + 1))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(DataError) as error:
        load_fer2013(path)
    assert "more than 64,000,000" in one_line(error, path)


def test_unreadable_zip_member_is_counted_by_the_audit(tmp_path: Path) -> None:
    patch(path := zip_file(tmp_path), 6, 8, 1)
    unusable: dict[str, str] = {}
    with pytest.raises(DataError, match="no FER2013 images"):
        load_fer2013(path, unusable=unusable)
    assert list(unusable) == [NAME] and "encrypted" in unusable[NAME]


@pytest.mark.parametrize("emotion", ["²", "9" * 5000, "٣", "-1", ""])
def test_csv_emotion_that_is_no_class_number_is_refused(tmp_path: Path, emotion: str) -> None:
    path = tmp_path / "fer.csv"
    path.write_text(f"emotion,pixels,Usage\n{emotion},{PIXELS},Training\n", "utf-8")
    with pytest.raises(DataError) as error:
        load_fer2013(path)
    assert "line 2: emotion" in one_line(error, path)


def test_csv_with_a_huge_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fer.csv"
    path.write_text(f"emotion,pixels,Usage\n1,{'1 ' * 100_000},Training\n")
    with pytest.raises(DataError) as error:
        load_fer2013(path)
    assert "field larger" in one_line(error, path)


@pytest.mark.parametrize("vote", ["99999", "-1", "²", "1e3", "9" * 5000, ""])
def test_impossible_votes_are_refused(tmp_path: Path, vote: str) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(f"{HEADER}a.jpg,{','.join([vote] * 10)}\n", "utf-8")
    with pytest.raises(DataError) as error:
        read_votes(path, np.array(["a.jpg"]))
    assert "line 2" in one_line(error, path)


@pytest.mark.parametrize("line", [b"a\xff.jpg" + b",1" * 10, b"a" * 200_000 + b",1" * 10])
def test_votes_that_cannot_be_parsed_are_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "votes.csv"
    path.write_bytes(HEADER.encode() + line + b"\n")
    with pytest.raises(DataError) as error:
        read_votes(path, np.array(["a.jpg"]))
    assert "cannot be read as FER+ votes" in one_line(error, path)


def test_votes_without_a_majority_for_a_class_raise_data_error(kaggle: Path, tmp_path: Path) -> None:
    votes = tmp_path / "votes.csv"
    names = [file.relative_to(kaggle).as_posix() for file in kaggle.rglob("*.jpg")]
    votes.write_text(HEADER + "".join(f"{name}{',1' * 10}\n" for name in names))
    with pytest.raises(DataError, match="ferplus-majority of PrivateTest has no image"):
        answer_views(load_classifier("mien-xs"), kaggle, votes)


def test_more_than_127_classes_load(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(200):
        (folder := root / f"c{number:03d}").mkdir(parents=True)
        for copy in range(3):
            cv2.imwrite(str(folder / f"{copy}.png"), np.full((8, 8), number, np.uint8) + np.uint8(copy))
    faces = load_any(root, drop_leaks=False)
    assert isinstance(faces, Faces) and len(faces.labels) == 200 and faces.targets.max() == 199
