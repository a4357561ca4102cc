"""Sources: what is found, in which order, and that a broken file ends nothing."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.sources import expand, frames
from mien.types import Failure, Frame, SourceError


def picture(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((6, 8, 3), value, np.uint8))
    return path


def test_folder_is_recursive_sorted_and_pictures_only(tmp_path: Path) -> None:
    wanted = [picture(tmp_path / "a.png"), picture(tmp_path / "b.JPG"), picture(tmp_path / "sub/c.png")]
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "film.mp4").write_bytes(b"")
    (tmp_path / "._a.png").write_bytes(b"left by another system")
    assert expand([tmp_path]) == wanted


def test_glob_is_sorted_and_sources_keep_their_order(tmp_path: Path) -> None:
    b, a, z = picture(tmp_path / "b.png"), picture(tmp_path / "a.png"), picture(tmp_path / "z.bmp")
    assert expand([z, str(tmp_path / "*.png")]) == [z, a, b]


def test_a_file_name_with_brackets_is_a_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "me [1].png")
    assert expand([str(path)]) == [path]


@pytest.mark.parametrize("name", ["missing.png", "*.png", "", "x\0y"])
def test_nothing_found_says_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"check|give"):
        expand([f"{tmp_path}/{name}"])


def test_a_broken_file_in_the_middle_becomes_a_failure(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 10)
    (tmp_path / "b.png").write_bytes(b"not a picture")
    picture(tmp_path / "c.png", 30)
    first, broken, last = frames(tmp_path)
    assert isinstance(first, Frame)
    assert isinstance(broken, Failure)
    assert isinstance(last, Frame)
    assert [first.index, broken.index, last.index] == [0, 1, 2]
    assert broken.name.endswith("b.png")
    assert broken.reason
    assert last.image.shape == (6, 8, 3)
    assert last.image.dtype == np.uint8
    assert last.image[0, 0, 0] == 30
    assert last.name.endswith("c.png")
    assert last.time == 0.0


def test_missing_video_and_odd_items_are_failures(tmp_path: Path) -> None:
    (tmp_path / "film.MP4").write_bytes(b"")
    good = picture(tmp_path / "a.png")
    missing, video, odd, frame = frames([tmp_path / "none.png", tmp_path / "film.MP4", 7, good])  # type: ignore[list-item]
    assert isinstance(missing, Failure)
    assert "does not exist" in missing.reason
    assert isinstance(video, Failure)
    assert "not supported yet" in video.reason
    assert isinstance(odd, Failure)
    assert "int" in odd.reason
    assert isinstance(frame, Frame)
    assert frame.index == 3


def test_arrays_are_pictures() -> None:
    image = np.full((5, 4, 3), 9, np.uint8)
    (one,) = frames(image)
    assert isinstance(one, Frame)
    assert np.array_equal(one.image, image)
    assert [item.index for item in frames([image, image])] == [0, 1]
    (bad,) = frames(np.zeros((2, 2, 2, 2), np.uint8))
    assert isinstance(bad, Failure)


def test_files_are_read_one_at_a_time(tmp_path: Path) -> None:
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    stream = frames([a, b])
    next(stream)
    b.unlink()
    assert isinstance(next(stream), Failure)
