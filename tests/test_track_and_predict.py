"""`pipeline.track` and `mien.predict` over every kind of source."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media_files import serve, write_video

import mien
from mien import Face, Failure, Frame, OutputError, Pipeline, Result, SourceError, video_pipeline
from mien.media.camera import Camera

PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


@dataclass
class Whole:
    """Takes each image that is not black for a face."""

    name: str = "whole"

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [Face((0, 0, image.shape[1], image.shape[0]))] if image.max() > 50 else []


@dataclass
class Brightness:
    labels: tuple[str, ...] = ("dark", "bright", "other")
    confidence_threshold: float = 0.5

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        bright = crops.mean(axis=(1, 2), dtype=np.float32) / 255
        return np.stack([1 - bright, bright, 0 * bright], axis=1)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(Whole(), Brightness())


class Live:
    """A camera without a device: `count` gray images, or none."""

    def __init__(self, source: Any, count: int = 3) -> None:
        self.source, self.left = source, count

    def isOpened(self) -> bool:
        return self.left > 0

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return self.left >= 0, np.full((48, 64, 3), 200, np.uint8)

    def release(self) -> None:
        """Do nothing."""


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> list[Camera]:
    """Replace all devices by `Live`; return the cameras that were opened."""
    opened: list[Camera] = []

    class Fake(Camera):
        def __init__(self, source: Any) -> None:
            opened.append(self)
            super().__init__(source, retries=(), patience=0.0, opener=Live)

    monkeypatch.setattr(video_pipeline, "Camera", Fake)
    return opened


def test_video_is_tracked_with_ids_and_smoothing(pipeline: Pipeline, tmp_path: Path) -> None:
    path = write_video(tmp_path / "talk.mp4", [k / 25 for k in range(30)])
    results = list(pipeline.track(str(path)))
    assert [result.index for result in results] == list(range(30))
    assert [result.time for result in results] == pytest.approx([k / 25 for k in range(30)])
    assert {face.id for result in results for face in result} == {1}
    plain = [result[0].probabilities["bright"] for result in pipeline.track(path, smoothing=0) if result]
    smooth = [result[0].probabilities["bright"] for result in results if result]
    assert np.abs(np.diff(smooth)).sum() < np.abs(np.diff(plain)).sum()
    with serve(path.read_bytes()) as (url, _):
        assert [result.faces for result in pipeline.track(url)] == [result.faces for result in results]


def test_tracking_can_be_ended_early(pipeline: Pipeline, tmp_path: Path) -> None:
    path = write_video(tmp_path / "talk.mp4", [k / 25 for k in range(30)])
    for result in pipeline.track(path):
        if result.index == 3:
            break
    results = pipeline.track(path)
    next(results)
    results.close()  # type: ignore[attr-defined]
    path.unlink()


@pytest.mark.parametrize("source", [0, "0", "/dev/video1", "rtsp://me:secret@host/cam"])
def test_cameras_and_streams_give_the_newest_frame(
    source: int | str, pipeline: Pipeline, cameras: list[Camera], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mien"):
        results = list(pipeline.track(source))
    assert results and all(face.id == 1 for result in results for face in result)
    assert len(cameras) == 1 and cameras[0].ended
    assert "delivers no more frames" in caplog.text and "secret" not in caplog.text


def test_frames_of_any_source_are_tracked(pipeline: Pipeline) -> None:
    frames = [Frame(np.full((48, 64, 3), 200, np.uint8), k, k / 25) for k in range(3)]
    failures: list[Failure] = []
    results = list(pipeline.track([*frames, Failure("talk", "broken", 3)], on_failure=failures.append))
    assert [result[0].id for result in results] == [1, 1, 1] and failures == [Failure("talk", "broken", 3)]


def test_sources_that_cannot_be_tracked_are_named(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.mp4"):
        next(pipeline.track(tmp_path / "none.mp4"))
    for source, kind in ((None, "None"), (2.5, "a float"), (b"x", "a bytes")):
        with pytest.raises(SourceError, match=f"{kind} is not a video"):
            pipeline.track(source)  # type: ignore[arg-type]
    with pytest.raises(mien.ConfigError, match="detect_every"):
        pipeline.track("talk.mp4", detect_every=0)


def test_damaged_video_goes_on_with_a_warning(
    pipeline: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "talk.mp4", [k / 25 for k in range(60)], container={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-2000])
    with caplog.at_level(logging.WARNING, "mien"):
        assert 0 < len(list(pipeline.track(path))) < 60
    assert "cut short" in caplog.text


@pytest.fixture
def holiday(tmp_path: Path) -> Path:
    """A folder of two bright images, a black one, a broken one, a video of five frames and a text."""
    folder = tmp_path / "holiday"
    (folder / "sub").mkdir(parents=True)
    for name, value in (("a.png", 255), ("sub/b.png", 200), ("black.png", 0)):
        cv2.imwrite(str(folder / name), np.full((60, 60, 3), value, np.uint8))
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("hello")
    write_video(folder / "talk.mp4", [k / 25 for k in range(5)])
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_folder_goes_to_the_sinks(pipeline: Pipeline, holiday: Path, tmp_path: Path) -> None:
    done: list[int] = []
    sinks = [mien.sinks.Csv(tmp_path / "faces.csv"), mien.sinks.Images(tmp_path / "annotated")]
    summary = mien.predict(holiday, sinks, pipeline, on_progress=done.append)
    assert (summary.images, summary.failed, summary.without_face) == (8, 1, 1)
    assert summary.faces == 7 == sum(summary.emotions.values()) and done == list(range(1, 9))
    assert [Path(failure.name).name for failure in summary.failures] == ["broken.jpg"]
    assert summary.skipped == {".txt": 1} and summary.seconds > 0
    table = rows(tmp_path / "faces.csv")
    assert {"dark", "bright", "other"} < set(table[0])
    assert [Path(row["name"]).name for row in table] == ["a.png", "black.png", "broken.jpg", "b.png"] + ["talk.mp4"] * 5
    assert len(list((tmp_path / "annotated").iterdir())) == 8


def test_summary_reads_well(pipeline: Pipeline, holiday: Path) -> None:
    summary = mien.predict([holiday / "a.png", holiday / "black.png", holiday / "none.png"], pipeline=pipeline)
    text = repr(summary)
    assert text.startswith("Summary(2 images, 1 face (1 uncertain), 1 without a face, 1 failed, ")  # no edges: blurred
    assert text == f"Summary({summary})" and "\n" not in text


@pytest.mark.parametrize("kind", ["image", "glob", "glob of both", "video", "array", "bytes", "url", "generator"])
def test_every_kind_of_source_is_predicted(kind: str, pipeline: Pipeline, holiday: Path) -> None:
    image = holiday / "a.png"

    def paths() -> Iterator[str]:
        yield str(image)
        yield str(holiday / "talk.mp4")

    sources: dict[str, tuple[Any, int]] = {
        "image": (str(image), 1),
        "glob": (str(holiday / "*.png"), 2),
        "glob of both": (str(holiday / "[at]*.*"), 6),
        "video": (holiday / "talk.mp4", 5),
        "array": (np.full((60, 60, 3), 255, np.uint8), 1),
        "bytes": (image.read_bytes(), 1),
        "generator": (paths(), 6),
    }
    if kind == "url":
        with serve(image.read_bytes()) as (url, _):
            assert mien.predict(url, pipeline=pipeline).images == 1
        return
    source, images = sources[kind]
    summary = mien.predict(source, pipeline=pipeline)
    assert (summary.images, summary.failed) == (images, 0)


def test_folder_of_videos_is_predicted(pipeline: Pipeline, holiday: Path) -> None:
    for path in holiday.glob("*.*"):
        if path.suffix != ".mp4":
            path.unlink()
    (holiday / "sub" / "b.png").unlink()
    (holiday / "talk.mp4").rename(holiday / "sub" / "Talk.MP4")
    summary = mien.predict(str(holiday), pipeline=pipeline)
    assert (summary.images, summary.failed, dict(summary.skipped)) == (5, 0, {})


def test_single_source_that_cannot_be_read_is_an_error(pipeline: Pipeline, holiday: Path, tmp_path: Path) -> None:
    for name in ("none.jpg", "broken.jpg", "none.mp4"):
        with pytest.raises(SourceError, match=name):
            mien.predict(holiday / name, [mien.sinks.Csv(tmp_path / "faces.csv")], pipeline)
    assert not (tmp_path / "faces.csv").exists()
    with pytest.raises(SourceError, match=r"use pipeline\.track\(0\)"):
        mien.predict(0, pipeline=pipeline)  # type: ignore[arg-type]
    summary = mien.predict([None, holiday / "a.png"], pipeline=pipeline)  # type: ignore[list-item]
    assert (summary.images, summary.failed) == (1, 1) and "None is not an image" in summary.failures[0].reason


def test_sinks_are_closed_and_never_write_over_an_input(pipeline: Pipeline, holiday: Path, tmp_path: Path) -> None:
    with pytest.raises(mien.ConfigError, match="is an input"):
        mien.predict(holiday / "a.png", [mien.sinks.AnnotatedImage(holiday / "a.png")], pipeline)
    lines = mien.sinks.Jsonl(tmp_path / "faces.jsonl")
    mien.predict(holiday / "a.png", [lines], pipeline)
    with pytest.raises(OutputError, match="already closed"):
        lines.write(Result(Frame(np.zeros((2, 2, 3), np.uint8))))


def test_failing_sink_leaves_no_complete_file(pipeline: Pipeline, holiday: Path, tmp_path: Path) -> None:
    class Broken:
        def write(self, result: Result) -> None:
            raise RuntimeError("full")

        def fail(self, failure: Failure) -> None:
            """Do nothing."""

        def close(self) -> None:
            """Do nothing."""

    with pytest.raises(RuntimeError, match="full"):
        mien.predict(holiday, [mien.sinks.Csv(tmp_path / "faces.csv"), Broken()], pipeline)
    assert not (tmp_path / "faces.csv").exists()


def test_default_model_is_loaded() -> None:
    assert mien.predict(PORTRAIT).emotions == {"happy": 1}
