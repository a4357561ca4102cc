"""Videos written: each frame at its time, with sound, and playable after a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_files import HEIGHT, WIDTH, click, number, numbered, write_video

from mien.media import audio, video_writer
from mien.media.video_reader import VideoError, VideoReader
from mien.media.video_writer import VideoWriter
from mien.types import ConfigError, SourceError

TIMES = [0.0, 0.04, 0.5, 0.53, 0.54, 1.2, 2.3, 2.35]
SHARED = Path(__file__).parents[3] / "shared" / "media"


def write(path: Path, times: list[float], **settings: Any) -> None:
    with VideoWriter(path, WIDTH, HEIGHT, **settings) as writer:
        for k, time in enumerate(times):
            writer.write(numbered(k), time)


def read(path: Path) -> list[tuple[float, int]]:
    return [(frame.time, number(frame.bgr())) for frame in VideoReader(path)]


def heard(path: Path) -> tuple[str, float, float]:
    """Return the codec of a file's sound, the time of its loudest moment and that of its end, after the first frame."""
    with av.open(str(path)) as file:
        stream, video = file.streams.audio[0], file.streams.video[0]
        start = float((video.start_time or 0) * (video.time_base or 0))
        blocks: list[Any] = list(file.decode(stream))
        loud = [(float(np.abs(block.to_ndarray().astype(float)).max()), block.time) for block in blocks]
        return stream.codec_context.codec.canonical_name, max(loud)[1] - start, blocks[-1].time - start


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".MOV", "h264"), (".mkv", "h264"), (".webm", "vp9")])
def test_each_frame_keeps_its_time(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, [7.0 + time for time in TIMES])  # a recording may begin in the middle
    found = read(path)
    assert [time for time, _ in found] == pytest.approx(TIMES, abs=1e-3 if suffix in (".mkv", ".webm") else 2e-5)
    assert [k for _, k in found] == list(range(len(TIMES)))
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        assert (video.codec.canonical_name, video.pix_fmt) == (codec, "yuv420p")
        assert TIMES[-1] <= file.duration / av.time_base < TIMES[-1] + 0.05  # type: ignore[operator]
    if suffix in (".mp4", ".MOV"):
        assert b"moof" not in top_boxes(path) and b"moov" in top_boxes(path)  # a plain file, not one of fragments


def top_boxes(path: Path) -> list[bytes]:
    data, at, names = path.read_bytes(), 0, []
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        names.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at + 8 : at + 16], "big") if length == 1 else max(length, 8)
    return names


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_without_an_h264_encoder_mpeg4_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(video_writer, "_H264", {"no_such_encoder": {}})
    write(tmp_path / f"a{suffix}", TIMES)
    with VideoReader(tmp_path / f"a{suffix}") as video:
        assert video.codec == "mpeg4"
    found = read(tmp_path / f"a{suffix}")
    assert [time for time, _ in found] == pytest.approx(TIMES, abs=1e-3)
    assert [k for _, k in found] == list(range(len(TIMES)))


def test_a_pyav_without_an_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_writer, "_WEBM", {"no_such_encoder": {}})
    with pytest.raises(ConfigError, match=r"no encoder.*\.mp4"):
        VideoWriter(tmp_path / "a.webm", WIDTH, HEIGHT)


def test_colours_are_kept(tmp_path: Path) -> None:
    image = np.zeros((96, 160, 3), np.uint8)
    image[:48, :80], image[:48, 80:], image[48:, :80], image[48:] = (200, 40, 40), (40, 200, 40), (40, 40, 200), 128
    with VideoWriter(tmp_path / "a.mp4", 160, 96) as writer:
        writer.write(image, 0.0)
    found = next(iter(VideoReader(tmp_path / "a.mp4"))).bgr().astype(int)
    for y, x in ((20, 40), (20, 120), (70, 40), (70, 120)):
        assert found[y, x] == pytest.approx(image[y, x].astype(int), abs=6)


def test_odd_and_changing_sizes_are_fitted(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 101, 75) as writer:
        assert (writer.width, writer.height) == (102, 76)
        writer.write(np.full((75, 101, 3), 255, np.uint8), 0.0)
        writer.write(np.full((40, 20, 3), 255, np.uint8), 1 / 30)
    first, second = (frame.bgr() for frame in VideoReader(tmp_path / "a.mp4"))
    assert first.shape == second.shape == (76, 102, 3)
    assert first[:75, :101].mean() > 245
    assert second[:, 34:68].mean() > 235  # 38 px wide, in the middle of black
    assert second[:, :28].mean() < 12 and second[:, 74:].mean() < 12


@pytest.mark.parametrize(
    ("source", "goal", "codec", "note"),
    [
        (("a.mp4", "aac", 0.0), "b.mp4", "aac", ""),  # copied
        (("a.mp4", "aac", 0.6), "b.mkv", "aac", ""),  # the sound of the source begins before its pictures
        (("a.mkv", "pcm_s16le", 0.6), "b.mp4", "aac", "anew"),
        (("a.mkv", "pcm_s16le", 0.6), "b.mkv", "pcm_s16le", ""),
        (("a.mp4", "aac", 0.0), "b.webm", "opus", "anew"),
        (("a.ts", "aac", 0.0), "b.mp4", "aac", ""),
    ],
)
def test_the_sound_stays_with_the_pictures(
    tmp_path: Path, source: tuple[str, str, float], goal: str, codec: str, note: str
) -> None:
    name, kind, start = source
    original = write_video(tmp_path / name, [start + k / 30 for k in range(60)], sound=(kind, click(start + 1.0)))
    messages: list[str] = []
    video = VideoReader(original)
    write(
        tmp_path / goal,
        [k / 30 for k in range(45)],
        audio_from=original,
        audio_start=video.start,
        on_message=messages.append,
    )
    found, at, end = heard(tmp_path / goal)
    assert found == codec
    assert at == pytest.approx(1.0, abs=0.05)
    assert 1.4 < end < 1.55  # no longer than the pictures
    assert [note in message for message in messages] == ([True] if note else [])
    assert [k for _, k in read(tmp_path / goal)] == list(range(45))


def test_the_start_of_the_sound_is_looked_up(tmp_path: Path) -> None:
    original = write_video(tmp_path / "a.mp4", [0.5 + k / 30 for k in range(60)], sound=("aac", click(1.5)))
    write(tmp_path / "b.mp4", [k / 30 for k in range(45)], audio_from=original)
    assert heard(tmp_path / "b.mp4")[1] == pytest.approx(1.0, abs=0.05)


def test_sound_goes_on_where_recordings_were_joined(tmp_path: Path) -> None:
    path = tmp_path / "joined.ts"
    with path.open("wb") as joined:
        for k, start in enumerate((2.0, 0.0)):
            part = write_video(
                tmp_path / f"{k}.ts",
                [start + j / 30 for j in range(30)],
                sound=("aac", click(start + 0.5, start + 1.0)),
            )
            joined.write(part.read_bytes())
    video = VideoReader(path)
    with VideoWriter(tmp_path / "b.mp4", WIDTH, HEIGHT, audio_from=path, audio_start=video.start) as writer:
        for frame in video:
            writer.write(frame.bgr(), frame.time)
    codec, _, end = heard(tmp_path / "b.mp4")
    assert codec == "aac"
    assert 1.5 < end < 2.2


def test_sound_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    silent = write_video(tmp_path / "silent.mp4", [0.0, 0.1])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    messages: list[str] = []
    for k, source in enumerate((silent, tmp_path / "broken.mp4", tmp_path / "missing.mp4")):
        write(tmp_path / f"{k}.mp4", TIMES, audio_from=source, on_message=messages.append)
        assert len(read(tmp_path / f"{k}.mp4")) == len(TIMES)
    assert len(messages) == 2 and all("sound cannot be read" in message for message in messages)


def test_sound_that_the_format_refuses_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "_OF_MOV", {"opus"})  # libav says that MOV takes it, and then does not
    source = write_video(tmp_path / "a.mkv", [0.0, 0.1], sound=("libopus", click(1.0)))
    messages: list[str] = []
    write(tmp_path / "b.mov", TIMES, audio_from=source, on_message=messages.append)
    assert [k for _, k in read(tmp_path / "b.mov")] == list(range(len(TIMES)))
    assert len(messages) == 1 and "its sound is left out" in messages[0]


def test_metadata_that_is_not_utf8_does_no_harm(tmp_path: Path) -> None:
    source = tmp_path / "a.webm"
    with av.open(str(source), "w", metadata_encoding="latin-1") as out:
        out.metadata["title"] = "caf\xe9"
        stream: Any = out.add_stream("libopus", rate=48_000)
        stream.metadata["title"] = "caf\xe9"
        stream.layout = "mono"
        for at in range(0, 48_000, 960):
            block = av.AudioFrame.from_ndarray(click(0.5, 1.0)[None, at : at + 960], "s16", "mono")
            block.sample_rate, block.pts = 48_000, at
            out.mux(stream.encode(block))
        out.mux(stream.encode(None))
    write(tmp_path / "b.mp4", [k / 30 for k in range(30)], audio_from=source)
    assert heard(tmp_path / "b.mp4")[0] == "opus"


def test_a_path_without_its_suffix_takes_the_format_it_is_told(tmp_path: Path) -> None:
    write(tmp_path / ".draft", TIMES, file_format="mp4")
    assert len(read(tmp_path / ".draft")) == len(TIMES)


def test_what_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"end in \.mp4"):
        VideoWriter(tmp_path / "a.gif", WIDTH, HEIGHT)
    with pytest.raises(SourceError, match=r"a\.mp4: cannot be written \(No such file"):
        VideoWriter(tmp_path / "missing" / "a.mp4", WIDTH, HEIGHT)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(SourceError, match="cannot be written"):
        VideoWriter(tmp_path / "folder.mp4", WIDTH, HEIGHT)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_a_full_disk_is_told_once(kind: str) -> None:
    def fill() -> None:
        with VideoWriter("/dev/full", WIDTH, HEIGHT, file_format=kind) as writer:
            for k in range(120):
                writer.write(np.random.default_rng(k).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), k / 30)

    with pytest.raises(SourceError, match=r"/dev/full: cannot be written \(No space left on device\)"):
        fill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes")
def test_a_disk_that_fills_up_is_told_once(tmp_path: Path) -> None:
    limited = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import numpy as np
from media_files import WIDTH, HEIGHT
from mien.media.video_writer import VideoWriter
from mien.types import SourceError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
writer = VideoWriter(sys.argv[1], WIDTH, HEIGHT)
try:
    for k in range(500):
        writer.write(np.random.default_rng(k).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), k / 30)
    print("no error")
except SourceError as error:
    print(error)
writer.close()
"""
    code = limited.format(tests=str(Path(__file__).parent))
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mp4"], capture_output=True, text=True, check=True)
    assert "cannot be written (File too large)" in run.stdout and run.stderr == ""
    with pytest.raises(VideoError, match=r"cut short; it ends after \d\d frames"):  # what fitted can be played
        read(tmp_path / "a.mp4")


def test_a_finished_video_takes_no_more_frames(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT)
    writer.write(numbered(1), 0.0)
    writer.close()
    writer.close()
    with pytest.raises(SourceError, match="finished"):
        writer.write(numbered(2), 1.0)


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from media_files import WIDTH, HEIGHT, numbered
from mien.media.video_writer import VideoWriter
writer = VideoWriter(sys.argv[1], WIDTH, HEIGHT, audio_from=sys.argv[2])
for k in range(100):
    writer.write(numbered(k), k / 30)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_what_a_kill_leaves_can_be_played(tmp_path: Path, suffix: str) -> None:
    source = write_video(tmp_path / "source.mp4", [k / 30 for k in range(100)], sound=("aac", click(1.0)))
    path = tmp_path / f"a{suffix}"
    code = KILLED.format(tests=str(Path(__file__).parent))
    assert subprocess.run([sys.executable, "-c", code, path, source], check=False).returncode == -9
    found = read(path)
    assert [k for _, k in found] == list(range(len(found)))
    assert len(found) >= 60
    assert heard(path)[1] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("name", ["single_face.mp4", "face_noface.mov"])
def test_a_real_video_keeps_its_times_and_sound(tmp_path: Path, name: str) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip("the real videos are not there")
    video, times = VideoReader(path), []
    with VideoWriter(tmp_path / "a.mp4", 64, 36, video.rate, audio_from=path, audio_start=video.start) as writer:
        for frame in video:
            writer.write(frame.small(64, 36), frame.time)
            times.append(frame.time)
    assert [frame.time for frame in VideoReader(tmp_path / "a.mp4")] == pytest.approx(times, abs=2e-5)
    lengths = []
    for each in (path, tmp_path / "a.mp4"):
        with av.open(str(each)) as file:
            lengths.append(sum(packet.size for packet in file.demux(audio=0)))
    assert 0.9 * lengths[0] < lengths[1] <= lengths[0]
