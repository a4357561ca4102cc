"""FER2013 in its layouts, leaks, votes and clear errors."""

from __future__ import annotations

import csv
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.train import data
from mien.types import EMOTIONS, EMOTIONS7, DataError

SHARED = Path(__file__).parents[2] / "shared"


def zipped(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*.jpg")):
            archive.write(file, file.relative_to(folder))
    return target


def as_csv(faces: data.Faces, path: Path, header: str) -> Path:
    with path.open("w") as stream:
        stream.write(header + "\n")
        for image, target, split in zip(faces.images, faces.targets, faces.splits, strict=True):
            cells = {"emotion": str(target), "pixels": " ".join(map(str, image.ravel())), "Usage": data.SPLITS[split]}
            stream.write(",".join(cells[name.strip()] for name in header.split(",")) + "\n")
    return path


def test_zip_folder_and_csv_hold_the_same_images(kaggle: Path, tmp_path: Path) -> None:
    folder = data.load(kaggle, classes=7)
    packed = data.load(zipped(kaggle), classes=7)
    original = data.load(as_csv(folder, tmp_path / "fer2013.csv", "emotion,pixels,Usage"), classes=7)
    icml = data.load(as_csv(folder, tmp_path / "icml_face_data.csv", "emotion, Usage, pixels"), classes=7)
    assert len(folder) == 70
    np.testing.assert_array_equal(folder.images, packed.images)
    np.testing.assert_array_equal(folder.targets, packed.targets)
    for table in (original, icml):
        assert sorted(i.tobytes() for i in table.images) == sorted(i.tobytes() for i in folder.images)
        np.testing.assert_array_equal(np.bincount(table.targets), np.bincount(folder.targets))


def test_five_classes_are_mapped_by_name(kaggle: Path) -> None:
    five = data.load(kaggle)
    assert five.labels == EMOTIONS
    assert len(five) == 50
    assert all(five.labels[t] in name for t, name in zip(five.targets, five.names, strict=True))


def test_second_reading_comes_from_the_cache_and_a_damaged_cache_is_ignored(kaggle: Path) -> None:
    source = zipped(kaggle)
    first = data.load(source)
    (cache,) = source.parent.glob(".mien-*.npz")
    np.testing.assert_array_equal(data.load(source).images, first.images)
    cache.write_bytes(cache.read_bytes()[:1000])
    np.testing.assert_array_equal(data.load(source).images, first.images)


def test_a_changed_source_is_read_again(kaggle: Path) -> None:
    before = len(data.load(kaggle))
    shutil.copy(next((kaggle / "train/happy").iterdir()), kaggle / "train/happy/Training_999.jpg")
    assert len(data.load(kaggle)) == before + 1


def test_a_source_has_one_cache_by_whatever_path_it_is_given(
    kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "data"
    link.symlink_to(kaggle)
    monkeypatch.chdir(kaggle)
    for path in (kaggle, Path(), link):
        data.load(path)
    assert [cache.name.rpartition("-")[0] for cache in tmp_path.rglob(".mien-*")] == [".mien-fer"]


@pytest.mark.parametrize("place", ["", "train", "test/happy"])
def test_a_cache_inside_of_its_source_is_no_part_of_it(
    kaggle: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(kaggle / place))
    first = data.load(kaggle)
    monkeypatch.setattr(data, "_read", None)
    np.testing.assert_array_equal(data.load(kaggle).images, first.images)


def test_a_link_to_nothing_matters_only_among_the_pictures(kaggle: Path) -> None:
    (kaggle / "notes").symlink_to("nowhere")
    assert len(data.load(kaggle)) == 50
    (kaggle / "train/happy/Training_999.jpg").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"Training_999.*copy complete"):
        data.load(kaggle)


def test_training_images_identical_to_a_test_image_are_removed(kaggle: Path) -> None:
    shutil.copy(next((kaggle / "test/sad").iterdir()), kaggle / "train/happy/Training_999.jpg")
    assert len(data.load(kaggle, drop_leaks=False)) == 51
    kept = data.load(kaggle)
    assert len(kept) == 50
    assert not any("999" in name for name in kept.names)


def test_ferplus_votes_need_a_strict_majority_of_all_votes(kaggle: Path, tmp_path: Path) -> None:
    names = sorted(p.relative_to(kaggle).as_posix() for p in kaggle.rglob("*.jpg"))[:3]
    rows = [[0, 6, 0, 0, 4, 0, 0, 0, 0, 0], [0, 5, 5, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 9, 1, 0]]
    path = tmp_path / "votes.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["file", *data.FERPLUS], *([n, *r] for n, r in zip(names, rows, strict=True))])
    faces = data.load(kaggle, classes=7, votes=path)
    targets = dict(zip(faces.names, data.ferplus_targets(faces), strict=True))
    assert targets[names[0]] == EMOTIONS7.index("happy")
    assert targets[names[1]] == -1
    assert targets[names[2]] == -1


def test_missing_path_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist.*fer2013\.zip"):
        data.load(tmp_path / "nothing.zip")


def test_truncated_zip_is_named(kaggle: Path) -> None:
    source = zipped(kaggle)
    source.write_bytes(source.read_bytes()[:-5000])
    with pytest.raises(DataError, match="not a complete zip"):
        data.load(source)


def test_unknown_class_folder_is_named(kaggle: Path) -> None:
    (kaggle / "train/happy").rename(kaggle / "train/joy")
    with pytest.raises(DataError, match="unknown class folder 'joy'"):
        data.load(kaggle)


def test_image_of_another_size_is_named(kaggle: Path) -> None:
    cv2.imwrite(str(kaggle / "train/happy/Training_999.jpg"), np.zeros((64, 32), np.uint8))
    with pytest.raises(DataError, match=r"Training_999\.jpg: 32x64"):
        data.load(kaggle)


def test_truncated_picture_is_named(kaggle: Path) -> None:
    (kaggle / "train/happy/Training_999.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"Training_999\.jpg: not a readable picture"):
        data.load(kaggle)


def test_foreign_folder_and_missing_split_are_told(kaggle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no FER2013 images"):
        data.load(tmp_path / "empty")
    shutil.rmtree(kaggle / "test")
    with pytest.raises(DataError, match="no PublicTest and no PrivateTest"):
        data.load(kaggle)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3,1 2 3,Training", "3 pixels in place of 2304"),
        ("9," + "0 " * 2304 + ",Training", "emotion '9'"),
        ("3," + "999 " * 2304 + ",Training", "whole numbers from 0 to 255"),
    ],
)
def test_bad_csv_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text("emotion,pixels,Usage\n" + line + "\n")
    with pytest.raises(DataError, match=f"line 2.*{message}"):
        data.load(path)


def test_real_fer2013_has_its_documented_counts(fer2013: Path) -> None:
    faces = data.load(fer2013, drop_leaks=False)
    assert [len(faces.split(s)) for s in data.SPLITS] == [24176, 3037, 3006]
    kept = data.load(fer2013).split("Training")
    assert len(kept) == 24176 - 539
    assert data.statistics(kept) == pytest.approx((0.5025, 0.2547), abs=1e-4)


def test_real_views_have_the_protocols_sizes(fer2013: Path) -> None:
    found = data.views(fer2013, SHARED / "data/ferplus_votes.csv")
    assert {view: len(faces) for view, faces in found.items()} == {"T1": 3006, "T2": 2757, "T3": 2663, "T4": 1919}
