"""Whole photographs in class folders become crops of their central face."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from mien.data import cache
from mien.data.photographs import _splits, person_of, read_photographs
from mien.data.registry import load_any
from mien.errors import DataError
from mien.faces.crop import to_network_input
from mien.faces.onnx import ASSETS


@pytest.fixture
def album(tmp_path: Path) -> Path:
    portrait = cv2.imread(str(ASSETS / "portrait.jpg"))
    small = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for name in ("Happiness/ann_1.png", "Happiness/ann_2.png", "neutral/bob_1.png"):
        (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "album" / name), small)
    cv2.imwrite(str(tmp_path / "album/neutral/wall_1.png"), np.full((90, 120, 3), 127, np.uint8))
    return tmp_path / "album"


def test_faces_of_photographs_are_cropped_as_the_pipeline_crops_them(album: Path) -> None:
    unusable: dict[str, str] = {}
    faces = read_photographs(album, unusable)
    assert faces.labels == ("happy", "neutral")
    assert faces.names.tolist() == ["Happiness/ann_1.png", "Happiness/ann_2.png", "neutral/bob_1.png"]
    assert unusable == {"neutral/wall_1.png": "no face detected"}
    result = mien.load(threads=1)(album / "neutral/bob_1.png")
    assert np.array_equal(faces.images[2], result.crops[0])


def test_zip_of_photographs_reads_like_its_folder(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    packed = tmp_path / "album.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(album.rglob("*.png")):
            archive.write(file, file.relative_to(album))
    from_zip, from_folder = (load_any(path, kind="photographs", drop_leaks=False) for path in (packed, album))
    assert np.array_equal(from_zip.images, from_folder.images)
    assert from_zip.names.tolist() == from_folder.names.tolist()


def test_photographs_are_known_by_their_files_whatever_their_crops(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    first = load_any(album, kind="photographs", drop_leaks=False, unusable={})
    again = load_any(album, kind="photographs", drop_leaks=False, unusable={})
    moved = replace(first, images=255 - first.images)
    assert first.keys().tolist() == again.keys().tolist() == moved.keys().tolist()
    assert len(set(first.keys().tolist())) == 1  # three copies of one file
    assert first.take(np.array([0])).keys().tolist() == first.keys()[:1].tolist()


def test_cached_photographs_are_cut_anew_by_another_detector(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (album / "neutral/wall_1.png").unlink()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    load_any(album, kind="photographs", drop_leaks=False)
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "yunet.onnx").write_bytes(b"another detector")
    monkeypatch.setattr(cache, "ASSETS", assets)
    load_any(album, kind="photographs", drop_leaks=False)
    assert len(list(tmp_path.glob(".mien-*.npz"))) == 2


def test_images_of_one_person_stay_in_one_split() -> None:
    names = [f"happy/person{person}_{number}.jpg" for person in range(40) for number in range(3)]
    splits = _splits([person_of(name) for name in names])
    assert sorted(splits.reshape(40, 3).mean(1).tolist()) == [0.0] * 36 + [1.0] * 4


def test_damaged_photograph_is_named(album: Path) -> None:
    (album / "neutral/cut_1.png").write_bytes((album / "neutral/bob_1.png").read_bytes()[:2000])
    with pytest.raises(DataError, match=r"neutral/cut_1\.png"):
        read_photographs(album)


def test_class_folders_of_photographs_give_the_faces(album: Path, caplog: pytest.LogCaptureFixture) -> None:
    (album / "neutral/wall_1.png").unlink()
    faces, named = load_any(album, drop_leaks=False), load_any(album, kind="photographs", drop_leaks=False)
    assert faces.names.tolist() == named.names.tolist() and np.array_equal(faces.images, named.images)
    assert caplog.messages == [f"{album}: photographs: the face in the middle of each is cut out"]


def test_photographs_without_a_face_are_left_out(album: Path, caplog: pytest.LogCaptureFixture) -> None:
    cv2.imwrite(str(album / "neutral/wall_2.png"), np.full((200, 200, 3), 127, np.uint8))
    unusable: dict[str, str] = {}
    load_any(album, unusable=unusable, drop_leaks=False)
    assert unusable == {"neutral/wall_2.png": "no face detected"}
    assert "the face in the middle of each is cut out, and 1 without a face are left out" in caplog.text


def test_class_folders_of_face_crops_are_taken_whole(album: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One loose crop among tight ones changes nothing."""
    portrait = cv2.imread(str(ASSETS / "portrait.jpg"))
    for number in range(4):
        cv2.imwrite(str(album / f"neutral/crop{number}.png"), portrait[55 - number : 185, 160:290])
    faces = load_any(album, drop_leaks=False)
    whole = to_network_input(cv2.imread(str(album / "neutral/bob_1.png")))
    assert np.array_equal(faces.images[faces.names.tolist().index("neutral/bob_1.png")], whole)
    assert caplog.text == ""
