"""Images and videos from files to sinks: order, times, ids, bounded memory, failures."""

from __future__ import annotations

import csv
import json
import subprocess
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from time import sleep
from typing import Any

import cv2
import numpy as np
import pytest
from media_files import number, numbered

from conftest import SHARED
from mien import Pipeline, runner
from mien.errors import ConfigError
from mien.media import prefetch, readers
from mien.media.paths import expand_videos, unique_names
from mien.media.video import Video
from mien.media.video_reader import VideoReader
from mien.types import Face, Failure, Frame, Result
from mien.video_pipeline import VideoPipeline

Film = Callable[..., Path]
MEDIA = SHARED / "media"


@dataclass
class Even:
    """A detector that finds one face in frames with an even number (see `numbered`), or in all."""

    always: bool = False
    name: str = "even"

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [Face((20, 20, 60, 60))] if self.always or number(image) % 2 == 0 else []


@dataclass
class Happy:
    """A classifier that always answers happy, and records the size of each call."""

    labels: tuple[str, ...] = ("happy", "sad")
    confidence_threshold: float = 0.5
    calls: list[int] = field(default_factory=list)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.calls.append(len(crops))
        return np.tile(np.float32([0.9, 0.1]), (len(crops), 1))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def frames(count: int) -> Iterator[Frame]:
    for k in range(count):
        yield Frame(np.zeros((10, 20, 3), np.uint8), k, k / 10)


def test_each_video_frame_has_a_row_with_its_time(film: Film, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.5, 0.52, 1.3, 1.34, 1.5, *(1.6 + k / 30 for k in range(30))]
    path = film(tmp_path / "a.mp4", times)
    told: list[tuple[int, int | None]] = []
    with ExitStack() as stack:
        made = runner.tables(stack, ("happy", "sad"), tmp_path / "a.jsonl", tmp_path / "a.csv", tmp_path / "a.parquet")
        seen = runner.video(path, Pipeline(Even(), Happy()), made, on_progress=lambda *facts: told.append(facts))
    table = rows(tmp_path / "a.csv")
    assert [float(row["time"]) for row in table] == pytest.approx(times, abs=1e-4)
    assert [int(row["index"]) for row in table] == list(range(len(times)))
    assert {row["name"] for row in table} == {str(path)}
    assert [row["face"] for row in table] == ["0" if k % 2 == 0 else "" for k in range(len(times))]
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [len(line["faces"]) for line in lines] == [1 - k % 2 for k in range(len(times))]
    parquet = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "a.parquet")
    assert parquet["time"].to_pylist() == [float(row["time"]) for row in table]
    assert (seen.name, seen.frames, seen.failures) == (str(path), len(times), ())
    assert seen.people.summary()[0].frames == len(times) // 2
    assert told == [(k, len(times)) for k in range(1, len(times) + 1)]


@dataclass
class Slow:
    """A detector and a classifier that reads the frame number from each crop, both with a delay."""

    searching: float = 0.0
    looking: float = 0.0
    name: str = "slow"
    labels: tuple[str, ...] = ("happy", "sad")
    confidence_threshold: float = 0.5

    def __call__(self, pictures: np.ndarray) -> Any:
        if pictures.shape[1:] != (48, 48):
            sleep(self.searching)
            return [Face((0, -32, 160, 128))]
        sleep(self.looking)
        share = np.float32([number(each[..., None]) / 255 for each in pictures])
        return np.stack([share, 1 - share], axis=1)


def test_table_does_not_depend_on_the_slowest_step(film: Film, tmp_path: Path) -> None:
    path, tables = film(tmp_path / "a.mp4", [k / 30 for k in range(60)]), []
    for slow in (Slow(), Slow(searching=0.002), Slow(looking=0.05)):
        with ExitStack() as stack:
            made = runner.tables(stack, slow.labels, None, tmp_path / "a.csv", None)
            runner.video(path, Pipeline(slow, slow), made, smoothing=0)
        tables.append(rows(tmp_path / "a.csv"))
    assert [float(row["happy"]) for row in tables[0]] == pytest.approx([k / 255 for k in range(60)], abs=1e-4)
    assert tables[0] == tables[1] == tables[2]


def test_track_classifies_in_batches_and_keeps_failures_in_place() -> None:
    classifier = Happy()
    items = [*frames(20), Failure("a", "damaged", 20), *frames(3)]
    found = list(VideoPipeline(Pipeline(Even(always=True), classifier)).track(items))
    assert classifier.calls == [16, 4, 3]
    assert [item.frame.index if isinstance(item, Result) else "damaged" for item in found] == [
        *range(20), "damaged", 0, 1, 2,
    ]  # fmt: skip


def test_images_stay_in_order_and_few_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{k:02d}.png" for k in range(80)]
    for k, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((20, 30, 3), k, np.uint8))
    paths[40].write_bytes(b"no picture")
    decode, made, alive = readers.decode, [], []

    def watched(data: bytes, name: str) -> np.ndarray:
        image = decode(data, name)
        made.append(weakref.ref(image))
        return image

    monkeypatch.setattr(readers, "decode", watched)
    classifier = Happy()
    found = []
    for item in runner.images(tmp_path, Pipeline(Even(always=True), classifier), 2, {str(paths[5])}):
        found.append((item.frame.index, item.frame.name) if isinstance(item, Result) else (item.index, item.name))
        alive.append(sum(image() is not None for image in made))
        del item
    assert found == [(k, str(path)) for k, path in enumerate(paths) if k != 5]
    assert classifier.calls == [16, 16, 7, 16, 16, 7]
    assert max(alive) <= 2 * prefetch.BATCH + 1  # a block, as many read ahead


@pytest.mark.parametrize("threads", [0, 2])
def test_threads_that_read_images_detect_faces(threads: int) -> None:
    names: set[str] = set()

    class Where(Even):
        def __call__(self, image: np.ndarray) -> list[Face]:
            names.add(threading.current_thread().name)
            return super().__call__(image)

    images = [frame.image for frame in frames(20)]
    found = list(runner.images(images, Pipeline(Where(always=True), Happy()), threads))
    assert [(item.frame.index, len(item.faces)) for item in found if isinstance(item, Result)] == [
        (k, 1) for k in range(20)
    ]
    assert all(name.startswith("mien-read") == bool(threads) for name in names)


def test_detector_error_ends_the_run() -> None:
    class Broken(Even):
        def __call__(self, image: np.ndarray) -> list[Face]:
            raise RuntimeError("no weights")

    images = [frame.image for frame in frames(3)]
    with pytest.raises(RuntimeError, match="no weights"):
        list(runner.images(images, Pipeline(Broken(), Happy()), 2))


def test_large_frames_make_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Happy()
    monkeypatch.setattr(prefetch, "MAX_BYTES", 3 * 10 * 20 * 3)
    list(VideoPipeline(Pipeline(Even(always=True), classifier)).track(frames(7)))
    assert classifier.calls == [3, 3, 1]


def test_track_releases_frames() -> None:
    made: list[weakref.ref[np.ndarray]] = []

    def watched() -> Iterator[Frame]:
        for frame in frames(200):
            made.append(weakref.ref(frame.image))
            yield frame
            del frame  # else this generator keeps one more

    most = 0
    for item in VideoPipeline(Pipeline(Even(always=True), Happy())).track(watched()):
        del item
        most = max(most, sum(image() is not None for image in made))
    # a batch, what waits for the next, what three threads hold; 0.3 s to find cuts and 2.5 s to smooth, at 10 a second
    assert len(made) == 200 and 1 <= most <= 16 + 16 + 3 + 4 + 26


class Collected(list[Result]):
    """A sink that keeps the results."""

    write, fail = list.append, list.append

    def close(self) -> None:
        """Do nothing."""


def test_pixels_are_kept_only_for_sinks_that_read_them(film: Film, tmp_path: Path) -> None:
    path, pipeline = film(tmp_path / "a.mp4", [k / 10 for k in range(6)]), Pipeline(Even(), Happy())
    reader, counter = Collected(), Collected()
    counter.reads_pixels = False  # type: ignore[attr-defined]
    runner.video(path, pipeline, [reader, counter])
    assert [number(result.frame.image) for result in reader] == list(range(6))
    counter.clear()
    runner.video(path, pipeline, [counter])
    assert [len(result) for result in counter] == [1, 0, 1, 0, 1, 0]
    assert counter[0].frame.shape == reader[0].frame.shape
    assert counter[0].frame.nbytes == 0
    with pytest.raises(ConfigError, match="reads_pixels"):
        _ = counter[0].frame.image


def test_ids_start_at_1_in_each_video(film: Film, tmp_path: Path) -> None:
    pipeline = Pipeline(Even(always=True), Happy())
    paths = [film(tmp_path / name, [0.0, 0.1, 0.2]) for name in ("a.mp4", "b.mp4")]
    assert [runner.video(path, pipeline).people.ids for path in paths] == [(1,), (1,)]


def test_unreadable_video_is_a_failure_row(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with ExitStack() as stack:
        made = runner.tables(stack, ("happy", "sad"), None, tmp_path / "a.csv", None)
        seen = [
            runner.video(tmp_path / name, Pipeline(Even(), Happy()), made, tmp_path / "copy.mp4")
            for name in ("bad.mp4", "none.mp4")
        ]
    assert [each.frames for each in seen] == [0, 0]
    assert "not a video" in seen[0].failures[0].reason and "does not exist" in seen[1].failures[0].reason
    assert [row["error"] for row in rows(tmp_path / "a.csv")] == [each.failures[0].reason for each in seen]
    assert not (tmp_path / "copy.mp4").exists()


def test_deleted_video_is_a_failure(film: Film, tmp_path: Path) -> None:
    source = Video(film(tmp_path / "a.mp4", [0.0, 0.1]))
    (tmp_path / "a.mp4").unlink()
    list(source)
    (failure,) = source
    assert isinstance(failure, Failure) and "a.mp4" in failure.reason


def test_unwritable_copy_is_an_error(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [0.0, 0.1])
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        runner.video(path, Pipeline(Even(), Happy()), save=tmp_path / "file" / "copy.mp4")


def test_annotated_copy_keeps_all_frames_and_times(film: Film, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.5, 0.52, 1.3]
    runner.video(film(tmp_path / "a.mp4", times), Pipeline(Even(), Happy()), save=tmp_path / "copy.mp4")
    copied = list(VideoReader(tmp_path / "copy.mp4"))
    assert [frame.time for frame in copied] == pytest.approx(times, abs=1e-3)
    corner = copied[0].image[20, 21:28].astype(int)  # of the box
    assert np.abs(corner - numbered(0)[20, 21:28]).mean() > 20


def test_smoothing_0_is_off_and_negative_is_refused(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [0.0, 0.1])
    with pytest.raises(ConfigError, match="smoothing"):
        runner.video(path, Pipeline(Even(), Happy()), smoothing=-1.0)
    assert runner.video(path, Pipeline(Even(), Happy()), smoothing=0.0).frames == 2


def test_folders_and_globs_expand_to_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "c.txt", ".hidden.mp4", "pictures/1.png", "odd [1].mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    inside = [str(tmp_path / name) for name in ("a.MOV", "b.mp4", "odd [1].mp4")]
    assert expand_videos([str(tmp_path)]) == inside
    assert expand_videos([f"{tmp_path}/*.mp4"]) == inside[1:]
    kept = [f"{tmp_path}/pictures", f"{tmp_path}/odd [1].mp4", "nowhere.mp4", "http://host/a?.mp4", f"{tmp_path}/*.x"]
    assert expand_videos(kept) == kept


def test_names_of_videos_are_unique_and_safe() -> None:
    videos = ["http://host/film.mp4", "frames/%04d.png", "...", "..."]
    assert unique_names(videos) == ["film", "_04d", "video", "video_2"]


def ffprobe_times(path: Path) -> list[float]:
    """Return the times of all frames, the first as 0, by ffprobe."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time"]
    done = subprocess.run([*command, "-of", "json", str(path)], capture_output=True, text=True, check=True)
    times = [float(frame["best_effort_timestamp_time"]) for frame in json.loads(done.stdout)["frames"]]
    return [time - times[0] for time in times]


@pytest.mark.skipif(not which("ffprobe") or not MEDIA.exists(), reason="needs ffprobe and the real videos")
@pytest.mark.parametrize(("name", "people", "last"), [("single_face.mp4", (1,), 2.37), ("face_noface.mov", (1,), 2.37)])
def test_real_video_has_one_person_and_a_stable_label(
    name: str, people: tuple[int, ...], last: float, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        made = runner.tables(stack, (), tmp_path / "a.jsonl", None, None)
        seen = runner.video(MEDIA / name, Pipeline(), made)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["time"] for line in lines] == pytest.approx(ffprobe_times(MEDIA / name), abs=1e-4)
    assert seen.people.ids == people
    (track,) = seen.people.summary()
    assert track.last == pytest.approx(last, abs=0.04)
    assert track.flips <= track.seconds
    assert all(line["faces"] == [] for line in lines if line["time"] > last + 0.04)
