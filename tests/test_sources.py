"""Sources: what is found, in which order, at what time, and that a broken file ends nothing."""

import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import SHARED, number, numbered
from mien import sources
from mien.sources import Video, expand, frames
from mien.types import Failure, Frame, SourceError

STEPS = [0.02, 0.5, 0.05, 0.1, 0.05, 0.02, 0.3, 0.04] * 3
VARIABLE = [round(sum(STEPS[:k]), 3) for k in range(len(STEPS) + 1)]
Film = Callable[..., Path]


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
    assert "mien video" in video.reason
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


def folder(path: Path, count: int) -> list[Path]:
    """Pictures whose brightness is their number; the fourth of each seven is damaged."""
    found = [picture(path / f"{k:03d}.png", k) for k in range(count)]
    for bad in found[3::7]:
        bad.write_bytes(b"no picture")
    return found


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_keep_order_failures_and_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    paths = folder(tmp_path, 40)
    plain = list(frames(paths))
    decode, seen = sources.decode, set()

    def uneven(data: bytes, name: str) -> np.ndarray:
        seen.add(threading.current_thread())
        time.sleep(0.004 * (int(Path(name).stem) % 3))  # those read last are not those done last
        return decode(data, name)

    monkeypatch.setattr(sources, "decode", uneven)
    found = list(frames(paths, threads))
    assert threading.main_thread() not in seen and len(seen) == threads
    assert [(item.index, item.name) for item in found] == [(k, str(path)) for k, path in enumerate(paths)]
    assert [type(item) for item in found] == [Failure if k % 7 == 3 else Frame for k in range(40)]
    for item, alone in zip(found, plain, strict=True):
        if isinstance(item, Frame) and isinstance(alone, Frame):
            assert np.array_equal(item.image, alone.image)
        else:
            assert item == alone


@pytest.mark.parametrize("threads", [0, 2])
def test_what_is_skipped_is_not_opened_and_the_rest_keeps_its_index(tmp_path: Path, threads: int) -> None:
    paths = folder(tmp_path, 6)
    paths[1].unlink()  # would be a failure
    skip = {str(paths[1]), str(paths[3]), str(paths[4])}
    assert [(item.index, item.name) for item in frames(paths, threads, skip)] == [
        (k, str(paths[k])) for k in (0, 2, 5)
    ]  # fmt: skip


@pytest.mark.parametrize(("limit", "most"), [(64_000_000, 17), (4 * 6 * 8 * 3, 5)])
def test_pictures_read_ahead_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, most: int) -> None:
    paths = folder(tmp_path, 60)
    decode, made, alive = sources.decode, [], []

    def watched(data: bytes, name: str) -> np.ndarray:
        image = decode(data, name)
        made.append(weakref.ref(image))
        return image

    monkeypatch.setattr(sources, "decode", watched)
    monkeypatch.setattr(sources, "_BYTES", limit)
    for item in frames(paths, 2):
        time.sleep(0.002)  # slower than the threads, which would run away
        alive.append(sum(image() is not None for image in made))
        del item
    assert len(made) == 51  # and nine failures
    assert 2 <= max(alive) <= most


def test_who_stops_early_leaves_no_thread(tmp_path: Path) -> None:
    stream = frames(folder(tmp_path, 30), 2)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mien-read")]


def read(source: str | Path, **settings: float) -> tuple[list[Frame], list[Failure]]:
    items = list(Video(source, **settings))
    seen = [item for item in items if isinstance(item, Frame)]
    return seen, [item for item in items if isinstance(item, Failure)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
@pytest.mark.parametrize("start", [0.0, 1.5])
def test_video_times_are_the_containers_own(tmp_path: Path, film: Film, suffix: str, start: float) -> None:
    path = film(tmp_path / f"a{suffix}", [start + t for t in VARIABLE], options={"bf": "3"})
    seen, failed = read(path)
    assert not failed
    assert [number(frame.image) for frame in seen] == [frame.index for frame in seen] == list(range(25))
    assert [frame.time for frame in seen] == pytest.approx(VARIABLE, abs=1e-3 if suffix == ".mkv" else 2e-5)
    assert {frame.name for frame in seen} == {str(path)}


def test_times_rise_where_the_container_has_none(tmp_path: Path, film: Film) -> None:
    path = film(tmp_path / "a.avi", [k / 30 for k in range(20)], "mpeg4", {"bf": "2"}, ticks=30)
    seen, failed = read(path)
    assert not failed
    assert [number(frame.image) for frame in seen] == list(range(20))
    assert [frame.time for frame in seen] == pytest.approx([k / 30 for k in range(20)], abs=1 / 25)
    assert all(a.time < b.time for a, b in pairwise(seen))


def test_times_go_on_where_recordings_were_joined(tmp_path: Path, film: Film) -> None:
    path = tmp_path / "joined.ts"
    with path.open("wb") as joined:
        for start in (2.0, 0.5, 0.0):
            part = film(tmp_path / f"{start}.ts", [start + k / 30 for k in range(60)])
            joined.write(part.read_bytes())
    seen, failed = read(path)
    assert not failed
    assert [number(frame.image) for frame in seen] == [*range(60)] * 3
    # it takes two frames to be sure that a recording begins, of which the first comes half a step early
    times = [(k - (k in (60, 120)) / 2) / 30 for k in range(180)]
    assert [frame.time for frame in seen] == pytest.approx(times, abs=2e-5)


def test_one_wrong_time_does_not_shift_those_after_it() -> None:
    clock = sources._Clock(10.0)
    stamps = [7 + k / 10 for k in range(40)]
    stamps[25] = 0.0  # as OpenCV gives where a packet has none
    assert [clock.time(stamp) for stamp in stamps] == pytest.approx([(k - (k == 25) / 2) / 10 for k in range(40)])


def test_video_of_opencv_needs_no_pyav(tmp_path: Path) -> None:
    path = str(tmp_path / "100%d: me [1].mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (160, 96))
    for k in range(10):
        writer.write(numbered(k))
    writer.release()
    video = Video(path)
    assert (video.fps, video.total, video.name) == (12.5, 10, path)
    for _ in range(2):  # it may be read again
        assert [item.time for item in video if isinstance(item, Frame)] == pytest.approx([k / 12.5 for k in range(10)])


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [((0, 1, -1, 0), (slice(0, 9), slice(-9, None))), ((-1, 0, 0, -1), (slice(-9, None), slice(-9, None)))],
)
def test_a_phones_rotation_is_applied(
    tmp_path: Path, film: Film, matrix: tuple[int, ...], corner: tuple[slice, slice]
) -> None:
    path = film(tmp_path / "a.mp4", [0.0, 0.1])
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    place = data.index(b"tkhd") + 44  # its matrix, behind 40 bytes of a version 0 header
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    frame = read(path)[0][0]
    assert frame.image.shape == ((160, 96, 3) if matrix[0] == 0 else (96, 160, 3))
    red = frame.image[corner].mean(axis=(0, 1))
    assert red[2] > 200 and red[0] < 60


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4")])
def test_a_file_cut_short_gives_what_it_holds_and_says_so(tmp_path: Path, film: Film, suffix: str, codec: str) -> None:
    faststart = {"movflags": "faststart"} if suffix == ".mp4" else None
    path = film(tmp_path / f"a{suffix}", [k / 30 for k in range(60)], codec, {"g": "10"}, faststart, ticks=30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    seen, failed = read(path)
    assert 20 <= len(seen) < 60
    assert [frame.index for frame in seen] == list(range(len(seen)))
    assert "cut short" in failed[-1].reason and "again" in failed[-1].reason
    assert failed[-1].index == len(seen)


def test_a_file_without_its_index_cannot_be_opened(tmp_path: Path, film: Film) -> None:
    path = film(tmp_path / "a.mp4", [k / 30 for k in range(60)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match="cut short"):
        Video(path)


def test_reading_goes_on_after_damage(tmp_path: Path, film: Film) -> None:
    path = film(tmp_path / "a.mp4", [k / 30 for k in range(120)], options={"g": "20"})
    data = bytearray(path.read_bytes())
    damaged = slice(len(data) * 4 // 10, len(data) // 2)
    data[damaged] = np.random.default_rng(0).integers(0, 256, damaged.stop - damaged.start, np.uint8).tobytes()
    path.write_bytes(data)
    seen, failed = read(path)
    assert number(seen[-1].image) == 119 and seen[-1].time == pytest.approx(119 / 30)
    assert 60 < len(seen) < 120
    assert failed and all("damaged" in each.reason for each in failed)


def test_zeros_to_the_end_are_no_silent_end(tmp_path: Path, film: Film) -> None:
    path = film(tmp_path / "a.avi", [k / 30 for k in range(60)], "mpeg4", ticks=30)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    seen, failed = read(path)
    assert 0 < len(seen) < 60
    assert f"only {len(seen)} of 60" in failed[-1].reason


@pytest.mark.parametrize("content", [b"", b"no video at all, only words"])
def test_what_is_no_video_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="not a video"):
        Video(path)
    with pytest.raises(SourceError, match="does not exist"):
        Video(tmp_path / "b.mp4")


def test_an_address_that_does_not_answer_keeps_its_password_to_itself() -> None:
    with pytest.raises(SourceError, match=r"^http://\*\*\*@127.0.0.1:9/a.mp4: .*check the address"):
        Video("http://me:secret@127.0.0.1:9/a.mp4")


@pytest.mark.parametrize("source", ["", "*.png", "p%d.png", "p%02d.png"])
def test_numbered_pictures_are_a_video(tmp_path: Path, source: str) -> None:
    for k in (9, 10, 11):
        cv2.imwrite(str(tmp_path / f"p{k}.png"), numbered(k))
    (tmp_path / "p10.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no picture")
    video = Video(str(tmp_path / source), fps=4.0)
    assert (video.total, video.fps) == (3, 4.0)
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


@pytest.mark.parametrize("name", ["single_face.mp4", "no_face.mp4", "face_noface.mov"])
def test_real_videos_have_pyavs_times(name: str) -> None:
    av, path = pytest.importorskip("av"), SHARED / "media" / name
    if not path.exists():
        pytest.skip("the real videos are not there")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        wanted = [float((frame.pts - stream.start_time) * frame.time_base) for frame in container.decode(stream)]
    times = []
    for item in Video(path):
        assert isinstance(item, Frame)
        times.append(item.time)
    assert times == pytest.approx(wanted, abs=1e-9)


def test_reading_ahead_keeps_the_order_passes_errors_on_and_ends_with_its_reader() -> None:
    closed: list[bool] = []

    def counted() -> Iterator[Frame]:
        try:
            for k in range(50):
                yield Frame(np.zeros((2, 2, 3), np.uint8), k)
            raise SourceError("broken")
        finally:
            closed.append(True)

    items = sources.ahead(counted(), lambda _: 12, 3)
    assert [next(items).index for _ in range(50)] == list(range(50))
    with pytest.raises(SourceError, match="broken"):
        next(items)
    early = sources.ahead(counted(), lambda _: 12, 3)
    next(early)
    early.close()
    assert closed == [True, True]
    assert not [each for each in threading.enumerate() if each.name.startswith("mien-read")]
