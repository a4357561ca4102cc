"""mien video on the videos that people have: interlaced, trimmed, turned, without times, from a server, animated."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from media_files import click, serve, write_video
from PIL import Image

import mien
from mien.cli import main
from mien.media import video_source
from mien.media.video_reader import VideoReader

PORTRAIT = cv2.imread(str(Path(mien.__file__).parent / "assets" / "portrait.jpg"))
WIDTH, HEIGHT = 320, 240
TURN_180 = (-1 << 16, 0, 0, 0, -1 << 16, 0, 0, 0, 1 << 30)
MIRROR = (-1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
Rows = list[dict[str, str]]


def portrait(width: int = WIDTH, height: int = HEIGHT, left: int = 20) -> np.ndarray:
    """Return a gray canvas with the happy portrait on it, as high as the canvas."""
    image = np.full((height, width, 3), 90, np.uint8)
    size = (PORTRAIT.shape[1] * height // PORTRAIT.shape[0], height)
    image[:, left : left + size[0]] = cv2.resize(PORTRAIT, size, interpolation=cv2.INTER_AREA)
    return image


def write(path: Path, codec: str = "libx264", count: int = 5, **settings: Any) -> Path:
    """Write a video of the portrait, 25 frames a second."""
    settings.setdefault("draw", lambda k: portrait())
    settings.setdefault("setup", lambda stream: setattr(stream.codec_context, "framerate", Fraction(25)))
    return write_video(path, [k / 25 for k in range(count)], codec, ticks=25, **settings)


@pytest.fixture
def watch(tmp_path: Path) -> Callable[..., tuple[int, Rows]]:
    """Run `mien video` and return its exit code and the rows of its table."""

    def run(*words: str | Path) -> tuple[int, Rows]:
        table = tmp_path / "table.csv"
        code = main.app(["video", *map(str, words), "--csv", str(table)], result_action="return_value")
        with table.open(newline="", encoding="utf-8") as file:
            return code, list(csv.DictReader(file))

    return run


def times(rows: Rows) -> list[float]:
    return [float(row["time"]) for row in rows if not row.get("error")]


def emotions(rows: Rows) -> list[str]:
    return [row["emotion"] for row in rows]


def center(row: dict[str, str]) -> tuple[float, float]:
    return (float(row["x1"]) + float(row["x2"])) / 2, (float(row["y1"]) + float(row["y2"])) / 2


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("a.mp4", "libx264", "yuv420p", (WIDTH, HEIGHT)),
        ("a.mpg", "mpeg2video", "yuv420p", (WIDTH, HEIGHT)),
        ("a.mov", "prores_ks", "yuv422p10le", (WIDTH, HEIGHT)),
        ("a.dv", "dvvideo", "yuv420p", (720, 576)),
    ],
)
def test_interlaced_video_shows_its_face(
    name: str, codec: str, pixels: str, size: tuple[int, int], watch: Callable[..., Any], tmp_path: Path
) -> None:
    options = {"flags": "+ildct+ilme"} | ({"x264-params": "tff=1"} if codec == "libx264" else {})
    path = write(tmp_path / name, codec, draw=lambda k: portrait(*size), pixels=pixels, options=options)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    code, rows = watch(path)
    assert (code, emotions(rows)) == (0, ["happy"] * 5)


def test_trimmed_video_has_no_failure(watch: Callable[..., Any], tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", count=20, options={"g": "30", "bf": "2"})
    path = tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as out:
        stream = source.streams.video[0]
        target: Any = out.add_stream_from_template(stream)
        cut = round(8 / 25 / stream.time_base)  # inside the only group of pictures: an edit list skips its start
        for packet in source.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts - cut, packet.dts - cut
                packet.stream = target
                out.mux(packet)
    code, rows = watch(path)
    assert (code, emotions(rows)) == (0, ["happy"] * 12)
    assert times(rows) == pytest.approx([k / 25 for k in range(12)], abs=1e-3)


def test_theora_with_repeated_frames_has_no_failure(watch: Callable[..., Any]) -> None:
    code, rows = watch(Path(__file__).parents[1] / "media" / "repeats.ogv")
    assert code == 0
    assert times(rows) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_song_is_shown_by_its_cover(watch: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        cover: Any = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        audio: Any = out.add_stream("aac", rate=48_000)
        block = av.AudioFrame.from_ndarray(click(0.1, 0.2)[None, :1024], "s16", "mono")
        block.sample_rate = 48_000
        image = av.VideoFrame.from_ndarray(portrait(), "bgr24")
        image.pts = 0
        for packet in [*cover.encode(image), *cover.encode(None), *audio.encode(block), *audio.encode(None)]:
            out.mux(packet)
    code, rows = watch(path)
    assert (code, emotions(rows)) == (0, ["happy"])


@pytest.mark.parametrize(("matrix", "upside_down"), [(MIRROR, False), (TURN_180, True)])
def test_mirrored_and_turned_video_is_shown_as_players_do(
    matrix: tuple[int, ...], upside_down: bool, watch: Callable[..., Any], tmp_path: Path
) -> None:
    def draw(k: int) -> np.ndarray:
        return portrait()[::-1, ::-1] if upside_down else portrait()[:, ::-1]

    path = write(tmp_path / "a.mp4", draw=draw, setup=lambda stream: stream.set_display_matrix(matrix))
    plain = write(tmp_path / "plain.mp4")
    code, rows = watch(path)
    assert (code, emotions(rows)) == (0, ["happy"] * 5)
    assert center(rows[0]) == pytest.approx(center(watch(plain)[1][0]), abs=4)


def test_wide_pixels_are_stretched_in_results_and_copy(watch: Callable[..., Any], tmp_path: Path) -> None:
    def wide(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

    path = write(tmp_path / "a.mp4", draw=lambda k: cv2.resize(portrait(), (WIDTH // 2, HEIGHT)), setup=wide)
    plain = write(tmp_path / "plain.mp4")
    code, rows = watch(path, "--save", tmp_path / "copy.mp4")
    assert (code, emotions(rows)) == (0, ["happy"] * 5)
    assert center(rows[0]) == pytest.approx(center(watch(plain)[1][0]), abs=4)
    with VideoReader(tmp_path / "copy.mp4") as copy:
        assert (copy.width, copy.height) == (WIDTH, HEIGHT)


def test_each_frame_keeps_its_own_size(watch: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "joined.ts"
    sizes = [(320, 240), (320, 320)]
    with path.open("wb") as joined:
        for k, (width, height) in enumerate(sizes):
            part = write(tmp_path / f"{k}.ts", draw=lambda _, size=(width, height): portrait(*size, left=0))
            joined.write(part.read_bytes())
    code, rows = watch(path, "--save", tmp_path / "copy.mp4")
    assert (code, emotions(rows)) == (0, ["happy"] * 10)
    heights = [float(row["y2"]) - float(row["y1"]) for row in rows]
    assert heights[7] / heights[2] == pytest.approx(320 / 240, abs=0.1)
    assert [frame.shape for frame in VideoReader(tmp_path / "copy.mp4")] == [(240, 320, 3)] * 10


def test_raw_h264_has_the_times_of_its_rate(watch: Callable[..., Any], tmp_path: Path) -> None:
    code, rows = watch(write(tmp_path / "a.h264", count=10))
    assert (code, emotions(rows)) == (0, ["happy"] * 10)
    assert times(rows) == pytest.approx([k / 25 for k in range(10)])


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    """The bytes of a Matroska file of two seconds."""
    return write(tmp_path / "film.mkv", count=50, options={"g": "10"}).read_bytes()


def test_server_without_ranges_is_read(film: bytes, watch: Callable[..., Any]) -> None:
    with serve(film) as (url, _):
        code, rows = watch(url)
    assert (code, emotions(rows)) == (0, ["happy"] * 50)


def test_copy_of_a_url_says_at_the_end_that_it_has_no_sound(
    watch: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, sound in (("loud.mkv", ("aac", click(0.1, 0.4))), ("silent.mkv", None)):
        film = write(tmp_path / name, count=10, sound=sound).read_bytes()
        with serve(film) as (url, _):
            assert watch(url, "--save", tmp_path / "copy.mp4")[0] == 0
        said = capsys.readouterr().err
        assert ("its sound is not in the copy; download the file first" in said) == (sound is not None), said
        with av.open(str(tmp_path / "copy.mp4")) as copy:
            assert not copy.streams.audio


@pytest.mark.parametrize("ranges", [False, True])
def test_connection_that_breaks_off_is_a_failure(ranges: bool, film: bytes, watch: Callable[..., Any]) -> None:
    with serve(film, ranges, stop_at=len(film) // 2) as (url, _):
        code, rows = watch(url)
    assert code == 1
    assert set(emotions(rows[:-1])) == {"happy"} and 10 < len(rows) < 50
    assert "broke off" in rows[-1]["error"] and "try again" in rows[-1]["error"]


def test_server_that_stalls_is_a_failure(
    film: bytes, watch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = video_source.HttpFile
    monkeypatch.setattr(video_source, "HttpFile", lambda url, timeout: original(url, 0.5))
    with serve(film, stop_at=len(film) // 2, stall=threading.Event()) as (url, _):
        code, rows = watch(url)
    assert code == 1
    assert "does not answer in time" in rows[-1]["error"]


def test_metadata_that_is_not_utf8_does_not_end_the_copy(watch: Callable[..., Any], tmp_path: Path) -> None:
    path, copy = tmp_path / "a.webm", tmp_path / "copy.webm"
    with av.open(str(path), "w", metadata_encoding="latin-1") as out:
        out.metadata["title"] = "caf\xe9"
        video: Any = out.add_stream("libvpx", rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(5):
            out.mux(video.encode(av.VideoFrame.from_ndarray(portrait(), "bgr24")))
        out.mux(video.encode(None))
    code, rows = watch(path, "--save", copy)
    assert (code, emotions(rows)) == (0, ["happy"] * 5)
    assert len(list(VideoReader(copy))) == 5
    assert not list(tmp_path.glob("*.part*"))


def test_unreadable_video_among_others_is_one_failure(
    watch: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, closed = write(tmp_path / "good.mp4"), write(tmp_path / "closed.mp4")
    closed.chmod(0)
    if os.access(closed, os.R_OK):  # this user may read everything
        original = video_source.av.open

        def refuse(path: Any, *words: Any, **settings: Any) -> Any:
            if str(path).endswith("closed.mp4"):
                raise PermissionError(13, "Permission denied")
            return original(path, *words, **settings)

        monkeypatch.setattr(video_source.av, "open", refuse)
    code, rows = watch(closed, good)
    assert code == 1
    assert "permission denied" in rows[0]["error"]
    assert emotions(rows[1:]) == ["happy"] * 5
    assert capsys.readouterr().err.count("closed.mp4") == 1


def launch(code: str, *words: str | Path, **settings: Any) -> subprocess.Popen[str]:
    """Start a Python program with pipes for stdout and stderr."""
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


@pytest.mark.skipif(sys.platform == "win32", reason="a current folder cannot be deleted there")
def test_deleted_current_folder_is_one_line(tmp_path: Path) -> None:
    code = """
import os, sys
os.mkdir(sys.argv[1])
os.chdir(sys.argv[1])
os.rmdir(sys.argv[1])
from mien.cli.main import main
sys.argv = ["mien", "video", "a.mp4"]
main()
"""
    with launch(code, tmp_path / "gone") as program:
        message = program.communicate(timeout=60)[1]
    assert program.returncode in (1, 2)
    assert "a.mp4: does not exist" in message
    assert "Traceback" not in message


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_second_ctrl_c_during_a_download_changes_nothing(film: bytes, tmp_path: Path) -> None:
    code = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mien.cli.main import main
main()
"""
    draft = tmp_path / "out.jsonl"
    with serve(film, stop_at=len(film) * 9 // 10, stall=threading.Event()) as (url, _):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(mien.__file__).parents[1])])}
        with launch(code, "video", url, "--jsonl", draft, "--save", tmp_path / "out.mp4", env=environment) as program:
            try:
                deadline = time.monotonic() + 120
                while sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("out.jsonl*")) < 32:
                    assert time.monotonic() < deadline and program.poll() is None
                    time.sleep(0.02)
                program.send_signal(signal.SIGINT)
                time.sleep(0.05)
                program.send_signal(signal.SIGINT)
                message = program.communicate(timeout=60)[1]
            finally:
                program.kill()
    assert program.returncode == 130
    assert message.startswith("stopped") and len(message.splitlines()) == 1
    (copy,) = tmp_path.glob("out.mp4*")
    assert len(list(VideoReader(copy))) >= 31  # a row is written before its frame


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_animation_gives_all_frames_with_their_times(suffix: str, watch: Callable[..., Any], tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(portrait(), 4 * k, axis=1)[:, :, ::-1].copy()) for k in range(4)]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 200, 50, 300])
    code, rows = watch(path)
    assert (code, emotions(rows)) == (0, ["happy"] * 4)
    assert times(rows) == pytest.approx([0, 0.1, 0.3, 0.35])


def test_still_image_is_a_video_of_one_frame(watch: Callable[..., Any], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), portrait())
    code, rows = watch(tmp_path / "a.png")
    assert (code, emotions(rows)) == (0, ["happy"])
