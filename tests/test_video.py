"""Videos written: each picture at its time, with sound, whole or not at all."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import SHARED, number, numbered
from mien.sources import Video
from mien.types import ConfigError, Frame
from mien.video import OpencvEncoder, encoder

Film = Callable[..., Path]
TIMES = [0.0, 0.04, 0.5, 0.53, 0.54, 1.2, 2.3, 2.35]


def read(path: Path) -> list[Frame]:
    items = list(Video(path))
    assert all(isinstance(item, Frame) for item in items)
    return [item for item in items if isinstance(item, Frame)]


def write(path: Path, times: list[float], sound: Path | None = None) -> None:
    made = encoder(path, 30.0)
    for k, time in enumerate(times):
        made.write(numbered(k), time)
    made.finish(sound)


def click(at: float) -> np.ndarray:
    """Three seconds of silence at 48 kHz, with a click of 20 ms."""
    samples = np.zeros(3 * 48_000, np.int16)
    samples[round(at * 48_000) : round((at + 0.02) * 48_000)] = 20_000
    return samples


def heard(path: Path) -> tuple[str, float, float]:
    """Codec of a file's sound, time of its loudest moment and of its end, in seconds after the first picture."""
    import av

    with av.open(str(path)) as file:
        stream, video = file.streams.audio[0], file.streams.video[0]
        start = float((video.start_time or 0) * (video.time_base or 0))
        blocks: list[Any] = list(file.decode(stream))
        loud = [(float(np.abs(block.to_ndarray().astype(float)).max()), block.time) for block in blocks]
        return stream.codec_context.codec.canonical_name, max(loud)[1] - start, blocks[-1].time - start


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".mov", "h264"), (".mkv", "h264"), (".webm", "vp9")])
def test_each_picture_keeps_its_time(tmp_path: Path, suffix: str, codec: str) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / f"a{suffix}"
    write(path, [7.0 + time for time in TIMES])  # a recording may begin in the middle
    seen = read(path)
    assert [frame.time for frame in seen] == pytest.approx(TIMES, abs=1e-3 if suffix in (".mkv", ".webm") else 2e-5)
    assert [number(frame.image) for frame in seen] == list(range(len(TIMES)))
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        assert (video.codec.name, video.pix_fmt) == (codec, "yuv420p")
        assert TIMES[-1] <= file.duration / 1e6 < TIMES[-1] + 0.05
    if suffix in (".mp4", ".mov"):  # a browser can start before it has the whole file
        data = path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat") and b"moof" not in data
    assert list(tmp_path.iterdir()) == [path]


def test_pictures_keep_their_colours(tmp_path: Path) -> None:
    pytest.importorskip("av")
    image = np.zeros((96, 160, 3), np.uint8)
    image[:48, :80], image[:48, 80:], image[48:, :80], image[48:] = (200, 40, 40), (40, 200, 40), (40, 40, 200), 128
    made = encoder(tmp_path / "a.mp4")
    made.write(image, 0.0)
    made.finish()
    found = read(tmp_path / "a.mp4")[0].image.astype(int)
    for y, x in ((20, 40), (20, 120), (70, 40), (70, 120)):
        assert found[y, x] == pytest.approx(image[y, x], abs=6)


@pytest.mark.parametrize("kind", [encoder, OpencvEncoder])
def test_odd_and_changing_sizes_are_fitted(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    if kind is encoder:
        pytest.importorskip("av")
    made = kind(tmp_path / "a.mp4")
    made.write(np.full((75, 101, 3), 255, np.uint8), 0.0)
    made.write(np.full((40, 20, 3), 255, np.uint8), 1 / 30)
    made.finish()
    first, second = read(tmp_path / "a.mp4")
    assert first.image.shape == second.image.shape == (76, 102, 3)
    assert first.image[:75, :101].mean() > 245
    assert second.image[:, 34:68].mean() > 235  # 38 px wide, in the middle of black
    assert second.image[:, :28].mean() < 12 and second.image[:, 74:].mean() < 12


@pytest.mark.parametrize(
    ("source", "goal", "codec"),
    [
        (("a.mp4", "aac", 0.0), "b.mp4", "aac"),  # copied
        (("a.mp4", "aac", 0.6), "b.mkv", "aac"),  # the sound of the source begins before its pictures
        (("a.mkv", "pcm_s16le", 0.6), "b.mp4", "aac"),  # encoded anew
        (("a.mp4", "aac", 0.0), "b.webm", "opus"),
        (("a.ts", "aac", 0.0), "b.mp4", "aac"),
    ],
)
def test_the_sound_stays_with_the_pictures(
    tmp_path: Path, film: Film, source: tuple[str, str, float], goal: str, codec: str
) -> None:
    name, kind, start = source
    original = film(tmp_path / name, [start + k / 30 for k in range(60)], sound=(kind, click(start + 1.0)))
    write(tmp_path / goal, [k / 30 for k in range(45)], original)
    found, at, end = heard(tmp_path / goal)
    assert found == codec
    assert at == pytest.approx(1.0, abs=0.05)
    assert 1.4 < end < 1.55  # no longer than the pictures


def test_sound_that_is_not_there_is_no_error(tmp_path: Path, film: Film) -> None:
    silent = film(tmp_path / "silent.mp4", [0.0, 0.1])
    write(tmp_path / "a.mp4", TIMES, silent)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    write(tmp_path / "b.mp4", TIMES, tmp_path / "broken.mp4")
    assert len(read(tmp_path / "a.mp4")) == len(read(tmp_path / "b.mp4")) == len(TIMES)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_opencv_keeps_the_time_at_a_constant_rate(tmp_path: Path, suffix: str) -> None:
    made = OpencvEncoder(tmp_path / f"a{suffix}", fps=10.0)
    for k, time in enumerate([0.0, 0.1, 0.12, 0.5, 0.6]):
        made.write(numbered(k), time)
    made.finish()
    seen = read(tmp_path / f"a{suffix}")
    assert [number(frame.image) for frame in seen] == [0, 1, 1, 1, 1, 3, 4]  # 2 came too early, 1 stays until 3
    assert [frame.time for frame in seen] == pytest.approx([k / 10 for k in range(7)], abs=1e-3)
    assert [each.name for each in tmp_path.iterdir()] == [f"a{suffix}"]


def test_a_clock_that_jumps_does_not_fill_the_disk(tmp_path: Path) -> None:
    made = OpencvEncoder(tmp_path / "a.mkv", fps=1.0)
    for time in (0.0, 1e6, 1e6 + 1):
        made.write(numbered(1), time)
    made.finish()
    assert len(read(tmp_path / "a.mkv")) == 63


def test_a_draft_that_was_stopped_can_be_read(tmp_path: Path) -> None:
    made = encoder(tmp_path / "a.mp4")
    for k, time in enumerate(TIMES):
        made.write(numbered(k), time)
    made.stop()
    made.stop()
    assert not made.path.exists()
    assert len(read(made.part)) >= len(TIMES)


@pytest.mark.parametrize("kind", [encoder, OpencvEncoder])
def test_without_pictures_there_is_no_file(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    made = kind(tmp_path / "a.mp4")
    made.part.touch()
    made.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [encoder, OpencvEncoder])
def test_a_place_that_cannot_be_written_is_an_oserror(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    made = kind(tmp_path / "missing" / "a.mp4")
    with pytest.raises(OSError):  # noqa: PT011
        made.write(numbered(0), 0.0)


def test_the_suffix_and_pyav_choose_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"end in \.mp4"):
        encoder(tmp_path / "a.gif")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert isinstance(encoder(tmp_path / "a.MP4"), OpencvEncoder)
    with pytest.raises(ConfigError, match=r"mien\[video\]"):
        encoder(tmp_path / "a.webm")


@pytest.mark.parametrize("name", ["single_face.mp4", "face_noface.mov"])
def test_a_real_video_keeps_its_times_and_sound(tmp_path: Path, name: str) -> None:
    av, path = pytest.importorskip("av"), SHARED / "media" / name
    if not path.exists():
        pytest.skip("the real videos are not there")
    made, times = encoder(tmp_path / "a.mp4"), []
    for item in Video(path):
        assert isinstance(item, Frame)
        made.write(cv2.resize(item.image, (64, 36)), item.time)  # type: ignore[arg-type]
        times.append(item.time)
    made.finish(path)
    assert [frame.time for frame in read(tmp_path / "a.mp4")] == pytest.approx(times, abs=2e-5)
    lengths = []
    for each in (path, tmp_path / "a.mp4"):
        with av.open(str(each)) as file:
            lengths.append(sum(packet.size for packet in file.demux(audio=0)))
    assert 0.9 * lengths[0] < lengths[1] <= lengths[0]
