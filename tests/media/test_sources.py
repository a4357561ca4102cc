"""Sources: what is found, in which order, at what time, and that a broken file ends nothing."""

import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_files import number, numbered

from mien.errors import SourceError
from mien.media import prefetch, reduced_jpeg
from mien.media.paths import expand_images
from mien.media.readers import read_images
from mien.media.video import Video
from mien.types import Failure, Frame


def picture(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((6, 8, 3), value, np.uint8))
    return path


def test_folder_is_recursive_sorted_and_pictures_only(tmp_path: Path) -> None:
    wanted = [picture(tmp_path / "a.png"), picture(tmp_path / "b.JPG"), picture(tmp_path / "sub/c.png")]
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "film.mp4").write_bytes(b"")
    (tmp_path / "._a.png").write_bytes(b"left by another system")
    assert expand_images([tmp_path]) == wanted


def test_glob_is_sorted_and_sources_keep_their_order(tmp_path: Path) -> None:
    b, a, z = picture(tmp_path / "b.png"), picture(tmp_path / "a.png"), picture(tmp_path / "z.bmp")
    assert expand_images([z, str(tmp_path / "*.png")]) == [z, a, b]


def test_a_file_name_with_brackets_is_a_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "me [1].png")
    assert expand_images([str(path)]) == [path]


@pytest.mark.parametrize("name", ["missing.png", "*.png", "", "x\0y"])
def test_nothing_found_says_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"check|give"):
        expand_images([f"{tmp_path}/{name}"])


def test_a_broken_file_in_the_middle_becomes_a_failure(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 10)
    (tmp_path / "b.png").write_bytes(b"not a picture")
    picture(tmp_path / "c.png", 30)
    first, broken, last = read_images(tmp_path)
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
    missing, video, odd, frame = read_images([tmp_path / "none.png", tmp_path / "film.MP4", 7, good])  # type: ignore[list-item]
    assert isinstance(missing, Failure)
    assert "does not exist" in missing.reason
    assert isinstance(video, Failure)
    assert "mien video" in video.reason
    assert isinstance(odd, Failure)
    assert "int" in odd.reason
    assert isinstance(frame, Frame)
    assert frame.index == 3


def test_arrays_are_pictures() -> None:
    image = np.full((5, 4, 3), 9, np.uint8)
    (one,) = read_images(image)
    assert isinstance(one, Frame)
    assert np.array_equal(one.image, image)
    assert [item.index for item in read_images([image, image])] == [0, 1]
    (bad,) = read_images(np.zeros((2, 2, 2, 2), np.uint8))
    assert isinstance(bad, Failure)


def test_files_are_read_one_at_a_time(tmp_path: Path) -> None:
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    stream = read_images([a, b])
    next(stream)
    b.unlink()
    assert isinstance(next(stream), Failure)


def folder(path: Path, count: int) -> list[Path]:
    """Pictures whose brightness is their number; the fourth of each seven is damaged."""
    found = [picture(path / f"{k:03d}.png", k) for k in range(count)]
    for bad in found[3::7]:
        bad.write_bytes(b"no picture")
    return found


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_keep_order_failures_and_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    paths = folder(tmp_path, 40)
    plain = list(read_images(paths))
    decode, seen = reduced_jpeg.decode, set()

    def uneven(data: bytes, name: str, *given: object) -> np.ndarray:
        seen.add(threading.current_thread())
        time.sleep(0.004 * (int(Path(name).stem) % 3))  # those read last are not those done last
        return decode(data, name, *given)

    monkeypatch.setattr(reduced_jpeg, "decode", uneven)
    found = list(read_images(paths, threads))
    assert threading.main_thread() not in seen and len(seen) == threads
    assert [(item.index, item.name) for item in found] == [(k, str(path)) for k, path in enumerate(paths)]
    assert [type(item) for item in found] == [Failure if k % 7 == 3 else Frame for k in range(40)]
    for item, alone in zip(found, plain, strict=True):
        if isinstance(item, Frame) and isinstance(alone, Frame):
            assert np.array_equal(item.image, alone.image)
        else:
            assert item == alone


@pytest.mark.parametrize("threads", [0, 2])
def test_skipped_images_are_not_opened_and_keep_the_index(tmp_path: Path, threads: int) -> None:
    paths = folder(tmp_path, 6)
    paths[1].unlink()  # would be a failure
    skip = {str(paths[1]), str(paths[3]), str(paths[4])}
    assert [(item.index, item.name) for item in read_images(paths, threads, skip)] == [
        (k, str(paths[k])) for k in (0, 2, 5)
    ]  # fmt: skip


@pytest.mark.parametrize(("limit", "most"), [(64_000_000, 17), (4 * 6 * 8 * 3, 5)])
def test_pictures_read_ahead_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, most: int) -> None:
    paths = folder(tmp_path, 60)
    decode, made, alive = reduced_jpeg.decode, [], []

    def watched(data: bytes, name: str, *given: object) -> np.ndarray:
        image = decode(data, name, *given)
        made.append(weakref.ref(image))
        return image

    monkeypatch.setattr(reduced_jpeg, "decode", watched)
    monkeypatch.setattr(prefetch, "MAX_BYTES", limit)
    for item in read_images(paths, 2):
        time.sleep(0.002)  # slower than the threads, which would run away
        alive.append(sum(image() is not None for image in made))
        del item
    assert len(made) == 51  # and nine failures
    assert 2 <= max(alive) <= most


def test_early_close_leaves_no_thread(tmp_path: Path) -> None:
    stream = read_images(folder(tmp_path, 30), 2)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mien-read")]


@pytest.mark.parametrize("source", ["", "*.png", "p%d.png", "p%02d.png"])
def test_numbered_images_are_a_video(tmp_path: Path, source: str) -> None:
    for k in (9, 10, 11):
        cv2.imwrite(str(tmp_path / f"p{k}.png"), numbered(k))
    (tmp_path / "p10.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no picture")
    video = Video(str(tmp_path / source), rate=4.0)
    assert (video.frame_count, video.rate) == (3, 4.0)
    first, broken, last = video
    assert isinstance(first, Frame) and isinstance(broken, Failure) and isinstance(last, Frame)
    assert [number(first.image), number(last.image)] == [9, 11]
    assert [first.time, last.time] == [0.0, 0.5]
    assert broken.name.endswith("p10.png")


def test_several_videos_at_once_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "b.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match="one video"):
        Video(str(tmp_path / "*.mp4"))


def test_prefetch_keeps_order_raises_errors_and_ends_its_thread() -> None:
    closed: list[bool] = []

    def counted() -> Iterator[Frame]:
        try:
            for k in range(50):
                yield Frame(np.zeros((2, 2, 3), np.uint8), k)
            raise SourceError("broken")
        finally:
            closed.append(True)

    items = prefetch.Prefetch(lambda frame: frame, counted(), lambda _: 12, 3)
    assert [next(items).index for _ in range(50)] == list(range(50))
    with pytest.raises(SourceError, match="broken"):
        next(items)
    early = prefetch.Prefetch(lambda frame: frame, counted(), lambda _: 12, 3)
    next(early)
    early.close()
    assert closed == [True, True]
    assert not [each for each in threading.enumerate() if each.name.startswith("mien-read")]
