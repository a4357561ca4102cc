"""Videos are read as players show them, with true times; what is broken says so."""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import Interpolation
from media_files import HEIGHT, WIDTH, click, natural, number, numbered, write_video
from PIL import Image

from mien.errors import SourceError, VideoError
from mien.media.video_frame import Turn, VideoFrame
from mien.media.video_reader import VideoReader, _Clock

STEPS = [0.02, 0.5, 0.05, 0.1, 0.05, 0.02, 0.3, 0.04] * 3
VARIABLE = [round(sum(STEPS[:k]), 3) for k in range(len(STEPS) + 1)]
STEADY = [k / 30 for k in range(20)]


def read(source: str | Path) -> tuple[list[VideoFrame], str]:
    """Return the frames, and the message of the error that ended them, or ""."""
    frames: list[VideoFrame] = []
    try:
        with VideoReader(source) as video:
            frames.extend(video)
    except VideoError as error:
        return frames, str(error)
    return frames, ""


def times(frames: list[VideoFrame]) -> list[float]:
    return [frame.time for frame in frames]


def numbers(frames: list[VideoFrame]) -> list[int]:
    return [number(frame.bgr()) for frame in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
@pytest.mark.parametrize("start", [0.0, 1.5])
def test_times_are_those_of_the_container(tmp_path: Path, suffix: str, start: float) -> None:
    path = write_video(tmp_path / f"a{suffix}", [start + t for t in VARIABLE], options={"bf": "3"})
    frames, error = read(path)
    assert not error and not any(frame.gap for frame in frames)
    assert numbers(frames) == [frame.index for frame in frames] == list(range(25))
    assert times(frames) == pytest.approx(VARIABLE, abs=1e-3 if suffix == ".mkv" else 2e-5)
    assert {frame.name for frame in frames} == {str(path)}


def test_video_is_read_twice_and_described(tmp_path: Path) -> None:
    path = write_video(tmp_path / "100%d: me [1].mp4", STEADY, ticks=30)
    with VideoReader(path) as video:
        assert (video.width, video.height, video.rate, video.frame_count) == (WIDTH, HEIGHT, 30.0, 20)
        assert (video.codec, video.rotation, video.mirrored) == ("h264", 0, False)
        assert video.duration == pytest.approx(20 / 30, abs=1e-3)
        assert [frame.index for frame in video] == [frame.index for frame in video] == list(range(20))


def test_avi_times_follow_its_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", STEADY, "mpeg4", options={"bf": "2"}, ticks=30)
    frames, error = read(path)
    assert not error
    assert numbers(frames) == list(range(20))
    assert times(frames) == pytest.approx(STEADY)


@pytest.mark.parametrize("options", [{}, {"flags": "+ildct+ilme", "x264-params": "tff=1"}])
def test_raw_h264_times_follow_its_rate(tmp_path: Path, options: dict[str, str]) -> None:
    path = write_video(tmp_path / "a.h264", STEADY, options={"bf": "2", **options}, ticks=30)
    frames, error = read(path)
    assert not error
    assert [number(frame.bgr()) for frame in frames] == list(range(20))
    assert times(frames) == pytest.approx(STEADY)


def test_frames_skipped_by_an_edit_list_are_not_read(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", STEADY, options={"g": "30", "bf": "2"}, ticks=30)
    path = tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as out:
        stream = source.streams.video[0]
        target: Any = out.add_stream_from_template(stream)
        cut = round(8 / 30 / stream.time_base)  # in the middle of the only group of pictures
        for packet in source.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts - cut, packet.dts - cut
                packet.stream = target
                out.mux(packet)
    with VideoReader(path) as video:
        frames = list(video)
        assert video.frame_count == 12
    assert numbers(frames) == list(range(8, 20))
    assert times(frames) == pytest.approx([k / 30 for k in range(12)], abs=1e-4)


def test_repeated_theora_frames_are_read_again() -> None:
    path = Path(__file__).parent / "repeats.ogv"  # the third of its five packets is empty
    with av.open(str(path)) as container:
        assert [packet.size == 0 for packet in container.demux(video=0)][:5] == [False, False, True, False, False]
    frames, error = read(path)
    assert not error
    assert times(frames) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert np.array_equal(frames[1].bgr(), frames[2].bgr())
    assert not np.array_equal(frames[2].bgr(), frames[3].bgr())


def test_times_continue_in_joined_recordings(tmp_path: Path) -> None:
    path = tmp_path / "joined.ts"
    with path.open("wb") as joined:
        for start in (2.0, 0.5, 0.0):
            part = write_video(tmp_path / f"{start}.ts", [start + k / 30 for k in range(60)])
            joined.write(part.read_bytes())
    frames, error = read(path)
    assert not error
    assert numbers(frames) == [*range(60)] * 3
    # it takes two frames to be sure that a recording begins, of which the first comes half a step early
    expected = [(k - (k in (60, 120)) / 2) / 30 for k in range(180)]
    assert times(frames) == pytest.approx(expected, abs=2e-5)


def test_wrong_time_does_not_shift_later_ones() -> None:
    clock = _Clock(10.0)
    stamps = [7 + k / 10 for k in range(40)]
    stamps[25] = 0.0
    assert [clock.time(stamp) for stamp in stamps] == pytest.approx([(k - (k == 25) / 2) / 10 for k in range(40)])


# Interlaced


def bar(time: float, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a white bar on gray that moves 600 pixels a second."""
    image = np.full((height, width, 3), 60, np.uint8)
    left = round(20 + 600 * time)
    image[:, left : left + 30] = 220
    return image


def woven(k: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a frame of which each other line was taken a fiftieth of a second later."""
    image = bar(k / 25, width, height)
    image[1::2] = bar(k / 25 + 0.02, width, height)[1::2]
    return image


def combing(image: np.ndarray) -> float:
    """Return how much neighbouring lines differ, where those a line further do not."""
    rows = image[8:-8].astype(int)
    return float((np.abs(rows[:-2] - rows[1:-1]) - np.abs(rows[:-2] - rows[2:])).mean())


@pytest.mark.parametrize(
    ("name", "codec", "options", "pixels", "size"),
    [
        ("a.mp4", "libx264", {"flags": "+ildct+ilme", "x264-params": "tff=1"}, "yuv420p", (WIDTH, HEIGHT)),
        ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme", "b": "8M"}, "yuv420p", (WIDTH, HEIGHT)),
        ("a.mov", "prores_ks", {"flags": "+ildct+ilme"}, "yuv422p10le", (WIDTH, HEIGHT)),
        ("a.dv", "dvvideo", {}, "yuv420p", (720, 576)),
    ],
)
def test_interlaced_video_is_deinterlaced(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], pixels: str, size: tuple[int, int]
) -> None:
    path = write_video(
        tmp_path / name,
        [k / 25 for k in range(5)],
        codec,
        lambda k: woven(k, *size),
        pixels,
        options,
        ticks=25,
        setup=lambda stream: setattr(stream.codec_context, "framerate", Fraction(25)),
    )
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0))
        assert stored.interlaced_frame
        assert combing(stored.to_ndarray(format="bgr24")) > 3
    frames, error = read(path)
    assert not error
    assert times(frames) == pytest.approx([k / 25 for k in range(5)], abs=1e-4)
    for k, frame in enumerate(frames):
        image = frame.bgr()
        assert combing(image) < 0.5
        left = (20 + 600 * k / 25) * image.shape[1] / size[0]
        assert image[:, round(left) + 15 : round(left) + 25].mean() > 180  # where the bar is, in the order of frames
        assert 50 < image[:, :15].mean() < 75


def test_progressive_frames_are_unchanged(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY[:3], draw=woven, ticks=30)
    frames, _ = read(path)
    with av.open(str(path)) as container:
        for frame, stored in zip(frames, container.decode(video=0), strict=True):
            assert combing(stored.to_ndarray(format="bgr24")) == pytest.approx(combing(frame.bgr()), abs=0.1)


# Turned, mirrored, stretched

CORNERS = {"upper left": (0, 0), "upper right": (0, -1), "lower left": (-1, 0), "lower right": (-1, -1)}


def red_corner(image: np.ndarray) -> str:
    def is_red(corner: tuple[int, int]) -> bool:
        y, x = (slice(0, 9) if side == 0 else slice(-9, None) for side in corner)
        blue, _, red = image[y, x].mean(axis=(0, 1))
        return bool(red > 200 and blue < 60)

    (found,) = [name for name, corner in CORNERS.items() if is_red(corner)]
    return found


@pytest.mark.parametrize(
    ("matrix", "corner", "rotation", "mirrored"),
    [
        ((1, 0, 0, 1), "upper left", 0, False),
        ((0, 1, -1, 0), "upper right", 90, False),
        ((-1, 0, 0, -1), "lower right", 180, False),
        ((0, -1, 1, 0), "lower left", 270, False),
        ((-1, 0, 0, 1), "upper right", 0, True),
        ((1, 0, 0, -1), "lower left", 180, True),
        ((0, 1, 1, 0), "upper left", 90, True),
        ((0, -1, -1, 0), "lower right", 270, True),
    ],
)
def test_rotation_and_mirroring_are_applied(
    tmp_path: Path, matrix: tuple[int, ...], corner: str, rotation: int, mirrored: bool
) -> None:
    a, b, c, d = (value << 16 for value in matrix)
    path = write_video(
        tmp_path / "a.mp4",
        [0.0, 0.1],
        setup=lambda stream: stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30)),
    )
    with VideoReader(path) as video:
        frame = next(iter(video))
        assert (video.rotation, video.mirrored) == (rotation, mirrored)
    image = frame.bgr()
    assert image.shape == frame.shape == ((HEIGHT, WIDTH, 3) if matrix[0] else (WIDTH, HEIGHT, 3))
    assert red_corner(image) == corner
    assert red_corner(frame.small(frame.width // 2, frame.height // 2)) == corner
    box = (11, 3, 77, 60)
    assert np.abs(frame.gray(box).astype(int) - gray_of(image, box)).max() <= 2


def test_pixel_aspect_ratio_is_applied(tmp_path: Path) -> None:
    def wide(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

    path = write_video(tmp_path / "a.mp4", STEADY[:2], setup=wide)
    with VideoReader(path) as video:
        frame = next(iter(video))
        assert (video.width, video.height) == (2 * WIDTH, HEIGHT)
    assert frame.bgr().shape == (HEIGHT, 2 * WIDTH, 3)
    assert number(frame.bgr()) == 0
    assert red_corner(frame.bgr()) == "upper left"
    assert frame.small(WIDTH, HEIGHT // 2).shape == (HEIGHT // 2, WIDTH, 3)
    assert np.array_equal(frame.gray((5, 6, 50, 40)), gray_of(frame.bgr(), (5, 6, 50, 40)))


def test_each_frame_keeps_its_own_size(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    with path.open("wb") as joined:
        for k, (width, height) in enumerate([(160, 96), (240, 176), (96, 160)]):
            part = write_video(
                tmp_path / f"{k}.ts",
                [k + j / 30 for j in range(4)],
                draw=lambda j, size=(width, height): numbered(j, *size),  # type: ignore[misc]
            )
            joined.write(part.read_bytes())
    frames, error = read(path)
    assert not error
    assert [frame.bgr().shape[:2] for frame in frames] == [(96, 160)] * 4 + [(176, 240)] * 4 + [(160, 96)] * 4
    assert numbers(frames) == [0, 1, 2, 3] * 3


# What is no video, or several things


def test_cover_art_is_read_only_without_a_video(tmp_path: Path) -> None:
    def cover(out: Any, name: str) -> tuple[Any, Any]:
        stream = out.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 640, 640, "yuvj420p"
        stream.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.full((640, 640, 3), 200, np.uint8), "bgr24")
        frame.pts = 0
        return stream, frame

    film = write_video(tmp_path / "film.mp4", STEADY[:5], ticks=30)
    song, both = tmp_path / "song.m4a", tmp_path / "both.mp4"
    with av.open(str(song), "w", format="mp4") as out:
        audio: Any = out.add_stream("aac", rate=48_000)
        stream, picture = cover(out, "song")
        block = av.AudioFrame.from_ndarray(click(0.1, 0.2)[None, :1024], "s16", "mono")
        block.sample_rate = 48_000
        for packet in [*stream.encode(picture), *stream.encode(None), *audio.encode(block), *audio.encode(None)]:
            out.mux(packet)
    with av.open(str(film)) as source, av.open(str(both), "w") as out:
        stream, picture = cover(out, "both")
        target: Any = out.add_stream_from_template(source.streams.video[0])
        for packet in [*stream.encode(picture), *stream.encode(None)]:
            out.mux(packet)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = target
                out.mux(packet)
    frames, error = read(song)  # a song is shown by its cover
    assert not error
    assert [frame.bgr().shape for frame in frames] == [(640, 640, 3)]
    frames, error = read(both)
    assert not error
    assert numbers(frames) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("content", "reason"), [(b"", "not a video"), (b"no video at all, only words", "not a video")])
def test_non_video_is_refused_with_advice(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        VideoReader(path)
    with pytest.raises(VideoError, match="does not exist"):
        VideoReader(tmp_path / "b.mp4")
    with pytest.raises(VideoError, match="is a folder"):
        VideoReader(tmp_path)
    with pytest.raises(VideoError, match="cannot be read"):
        VideoReader("a\0.mp4")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match="not a regular file"):
        VideoReader(tmp_path / "a.mp4")


def test_permission_error_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY[:2])

    def refuse(*_: Any, **__: Any) -> None:
        raise av.error.PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(av, "open", refuse)  # the superuser of a container may read anything
    with pytest.raises(VideoError, match="permission denied"):
        VideoReader(path)


def test_video_above_the_pixel_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY[:2])
    monkeypatch.setattr("mien.media.video_source.MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(VideoError, match=f"{WIDTH} x {HEIGHT} pixels|no frame|not a video"):
        VideoReader(path)


def test_metadata_that_is_not_utf8_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    with av.open(str(path), "w", metadata_encoding="latin-1") as out:
        out.metadata["title"] = "caf\xe9"
        video: Any = out.add_stream("libvpx", rate=30)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for k in range(3):
            out.mux(video.encode(av.VideoFrame.from_ndarray(numbered(k), "bgr24")))
        out.mux(video.encode(None))
    assert b"caf\xe9" in path.read_bytes()
    frames, error = read(path)
    assert not error
    assert len(frames) == 3


# Cut short and damaged


@pytest.mark.parametrize(
    ("suffix", "codec", "container"),
    [
        (".mp4", "libx264", {"movflags": "faststart"}),
        (".mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        (".mkv", "libx264", {}),
        (".webm", "libvpx", {}),
        (".flv", "libx264", {}),
        (".avi", "mpeg4", {}),
    ],
)
def test_truncated_file_gives_its_frames_and_an_error(
    tmp_path: Path, suffix: str, codec: str, container: dict[str, str]
) -> None:
    path = write_video(
        tmp_path / f"a{suffix}", [k / 30 for k in range(60)], codec, options={"g": "10"}, container=container, ticks=30
    )
    whole, error = read(path)
    assert len(whole) == 60 and not error
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    frames, error = read(path)
    assert 20 <= len(frames) < 60
    assert numbers(frames) == [frame.index for frame in frames] == list(range(len(frames)))
    assert not any(frame.gap for frame in frames)
    assert "cut short" in error and "again" in error


def test_longer_sound_is_not_damage(tmp_path: Path) -> None:
    for suffix in (".mkv", ".mp4", ".flv"):
        path = write_video(tmp_path / f"a{suffix}", STEADY, sound=("aac", click(1.0)))
        assert [read(path)[1]] == [""]


def test_file_without_index_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match="cut short"):
        VideoReader(path)


def test_reading_continues_after_damage(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [k / 30 for k in range(120)], options={"g": "20"})
    data = bytearray(path.read_bytes())
    damaged = slice(len(data) * 4 // 10, len(data) // 2)
    data[damaged] = np.random.default_rng(0).integers(0, 256, damaged.stop - damaged.start, np.uint8).tobytes()
    path.write_bytes(data)
    frames, error = read(path)
    assert not error
    assert number(frames[-1].bgr()) == 119 and frames[-1].time == pytest.approx(119 / 30)
    assert 60 < len(frames) <= 120
    gaps = [frame.gap for frame in frames if frame.gap]
    assert gaps and all("damaged after" in gap for gap in gaps)


def test_zeros_at_the_end_are_an_error(tmp_path: Path) -> None:
    for suffix, codec in ((".avi", "mpeg4"), (".mp4", "libx264")):
        container = {"movflags": "faststart"} if suffix == ".mp4" else {}
        path = write_video(tmp_path / f"a{suffix}", [k / 30 for k in range(60)], codec, container=container, ticks=30)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
        frames, error = read(path)
        assert 0 < len(frames) < 60
        assert "damaged" in error


def test_close_ends_an_iteration(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [k / 30 for k in range(60)])
    video = VideoReader(path)
    seen = 0
    for _ in video:
        seen += 1
        if seen == 3:
            video.close()
    assert 3 <= seen < 20
    with pytest.raises(VideoError, match="closed"):
        iter(video)


# Converted as far as asked


def gray_of(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = box
    return cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY).astype(int)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "nv12"])
@pytest.mark.parametrize("space", [2, 1, 6, 9])
def test_gray_parts_equal_those_of_opencv(pixels: str, space: int) -> None:
    picture: Any = av.VideoFrame.from_ndarray(natural(), "bgr24").reformat(
        format=pixels, dst_colorspace={2: 5, 1: 1, 6: 5, 9: 9}[space], dst_color_range=2 if pixels == "yuvj420p" else 1
    )
    picture.colorspace = space
    frame = VideoFrame(picture)
    accurate = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    exact = picture.reformat(format="bgr24", interpolation=accurate).to_ndarray()
    for box in ((0, 0, WIDTH, HEIGHT), (11, 7, 60, 52), (12, 8, 13, 9)):
        part = frame.gray(box).astype(int)
        if pixels not in ("yuv420p10le", "nv12"):  # these have no plane of 8-bit luma alone
            assert np.abs(part - gray_of(exact, box)).max() <= 2
        assert np.abs(part - gray_of(frame.bgr(), box)).max() <= 3  # swscale's quick conversion is a little dark
    assert frame.gray((5, 5, 5, 9)).shape == (4, 0)
    with pytest.raises(ValueError, match="exceeds"):
        frame.gray((0, 0, WIDTH + 1, 4))


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray", "nv12"])
@pytest.mark.parametrize("space", [1, 6])
@pytest.mark.parametrize("turn", [Turn(), Turn(flip_x=True), Turn(True, False, True)])
def test_halved_gray_parts_are_averages_of_the_frame(pixels: str, space: int, turn: Turn) -> None:
    picture: Any = av.VideoFrame.from_ndarray(natural(), "bgr24").reformat(
        format=pixels, dst_colorspace=5 if space == 6 else 1, dst_color_range=2 if pixels == "yuvj420p" else 1
    )
    picture.colorspace = space
    frame = VideoFrame(picture, turn=turn)
    for box in ((0, 0, 96, 96), (11, 7, 62, 52), (12, 8, 13, 9), (10, 12, 15, 90)):
        for step in (2, 4):
            part = frame.gray(box, step.bit_length() - 1).astype(int)
            x1, y1, x2, y2 = box
            width, height = (max((high - low) // step, 1) for low, high in ((x1, x2), (y1, y2)))
            kept = (x1, y1, min(x1 + width * step, x2), min(y1 + height * step, y2))
            expected = cv2.resize(
                gray_of(frame.bgr(), kept).astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA
            )
            assert part.shape == expected.shape
            assert np.abs(part - expected).max() <= 4


@pytest.mark.parametrize("space", range(20))
def test_every_declared_colour_space_is_converted(space: int) -> None:
    picture = av.VideoFrame.from_ndarray(natural(), "bgr24").reformat(format="yuv420p")
    picture.colorspace = space
    frame = VideoFrame(picture)
    assert frame.bgr().shape == (HEIGHT, WIDTH, 3)
    assert np.abs(frame.gray() - gray_of(frame.bgr(), (0, 0, WIDTH, HEIGHT))).max() <= 3


def test_gray_part_does_not_convert_the_whole_frame() -> None:
    frame = VideoFrame(av.VideoFrame.from_ndarray(natural(), "bgr24").reformat(format="yuv420p"))
    before = frame.nbytes
    frame.gray((10, 10, 60, 60))
    frame.small(80, 48)
    assert frame.nbytes == before
    assert frame.bgr() is frame.image is frame.bgr()
    assert frame.nbytes == before + 3 * WIDTH * HEIGHT


def test_small_image_equals_the_downscaled_frame() -> None:
    image = cv2.GaussianBlur(natural(), (0, 0), 2)
    frame = VideoFrame(av.VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuv420p"))
    for size in ((80, 48), (50, 30), (40, 24), (7, 3), (1, 1)):
        expected = cv2.resize(frame.bgr(), size, interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(frame.small(*size).astype(int) - expected).mean() < 4
    assert frame.small(WIDTH, HEIGHT) is frame.bgr()


def test_colours_survive_encoding_and_reading(tmp_path: Path) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:48, :80], image[:48, 80:], image[48:, :80], image[48:] = (200, 40, 40), (40, 200, 40), (40, 40, 200), 128
    frame = VideoFrame(av.VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuv420p", dst_colorspace=1))
    for y, x in ((20, 40), (20, 120), (70, 40), (70, 120)):
        assert frame.bgr()[y, x].astype(int) == pytest.approx(image[y, x].astype(int), abs=4)


def test_another_thread_converts_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [k / 30 for k in range(120)])
    waiting: list[VideoFrame] = []
    ready, found = threading.Semaphore(0), []

    def convert() -> None:
        for _ in range(120):
            ready.acquire()
            frame = waiting.pop(0)
            small, gray = frame.small(80, 48), frame.gray((20, 20, 60, 60))
            found.append((number(small), number(frame.bgr()), gray.shape))

    consumer = threading.Thread(target=convert)
    consumer.start()
    for frame in VideoReader(path):
        waiting.append(frame)
        ready.release()
    consumer.join()
    assert found == [(k, k, (40, 40)) for k in range(120)]


# Animated images


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_animation_has_all_frames_and_times(tmp_path: Path, suffix: str) -> None:
    frames = []
    for k in range(4):
        pixels = np.zeros((48, 64, 4), np.uint8)
        pixels[10:20, 10 * k : 10 * k + 10] = (250, 30, 30, 255)
        pixels[-4:, -4:] = pixels[:4, :4] = (0, 0, 0, 255)
        frames.append(Image.fromarray(pixels, "RGBA"))
    path = tmp_path / f"a{suffix}"
    settings = {".gif": {"disposal": 2}, ".png": {"disposal": 1}, ".webp": {"quality": 100}}[suffix]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 200, 50, 300], **settings)
    read_frames, error = read(path)
    assert not error
    assert times(read_frames) == pytest.approx([0, 0.1, 0.3, 0.35])
    for k, frame in enumerate(read_frames):
        image = frame.bgr()
        assert image.shape == (48, 64, 3)
        assert image[15, 10 * k + 5].astype(int) == pytest.approx([30, 30, 250], abs=25)
        assert image[30, 50].tolist() == [255, 255, 255]  # transparency is laid over white


def test_damaged_animation_is_an_error(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((48, 64, 3), 40 * k, np.uint8)) for k in range(4)]
    path = tmp_path / "a.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    _, error = read(path)
    assert "damaged" in error or "not an image" in error or "no frame" in error


SHARED = Path(__file__).parents[3] / "shared" / "media"


@pytest.mark.parametrize("name", ["single_face.mp4", "no_face.mp4", "face_noface.mov"])
def test_real_video_has_all_frames_and_rising_times(name: str) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip("the real videos are not there")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        expected = [float(frame.pts * stream.time_base) for frame in container.decode(stream)]  # type: ignore[operator]
    frames, error = read(path)
    assert not error
    assert times(frames) == pytest.approx([time - expected[0] for time in expected], abs=1e-9)
    assert all(a < b for a, b in pairwise(times(frames)))


def test_huge_animation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    frames = [Image.fromarray(np.full((48, 64, 3), 40 * k, np.uint8)) for k in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    data = bytearray(path.read_bytes())
    assert data[12:16] == b"VP8X"
    for side in (
        b"\xff\xff\x00",
        b"\x00\x20\x00",
    ):  # 65,536 and 8,193 pixels: beyond Pillow's limit and beyond this one
        data[24:27] = data[27:30] = side
        path.write_bytes(data)
        with pytest.raises(VideoError, match=r"a\.webp: not an image that can be read"):
            VideoReader(path)


def test_late_streams_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    parts = [
        write_video(tmp_path / "0.ts", STEADY, sound=("aac", click(0.1, 0.5))),
        write_video(tmp_path / "1.ts", [1 + time for time in STEADY]),
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in reversed(parts)))
    frames, error = read(path)
    assert not error
    assert numbers(frames) == [*range(20)] * 2
