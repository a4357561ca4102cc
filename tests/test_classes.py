"""Models of three, seven, eight and twelve classes: overlay, tracker, timeline, rows, metrics, server."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.draw import draw
from mien.evaluation import plots
from mien.evaluation.metrics import evaluate
from mien.faces.tracker import Tracker
from mien.serve.schemas import FaceResult, ModelInfo
from mien.sinks import Csv, Jsonl, Timeline
from mien.types import EMOTIONS7, EMOTIONS8, Face, Frame, Result

SETS = (("yes", "no", "perhaps"), EMOTIONS7, EMOTIONS8, tuple(f"class {n}" for n in range(12)))


def frames(labels: tuple[str, ...]) -> list[Result]:
    """One face that shows one class after the other, two seconds each."""
    found = []
    for index in range(20 * len(labels)):
        shown = labels[index // 20]
        rest = 0.3 / (len(labels) - 1)
        face = Face((50, 50, 150, 150), 0.9, probabilities={name: 0.7 if name == shown else rest for name in labels})
        found.append(Result(Frame(np.full((240, 320, 3), 120, np.uint8), index, index / 10, "film"), (face,)))
    return found


@pytest.mark.parametrize("labels", SETS, ids=len)
def test_video_of_any_classes_is_tracked_drawn_plotted_and_written(labels: tuple[str, ...], tmp_path: Path) -> None:
    tracker, people = Tracker(), Timeline(labels)
    rows, table = Jsonl(tmp_path / "f.jsonl"), Csv(tmp_path / "f.csv", labels)
    shown = []
    for result in frames(labels):
        tracked = replace(result, faces=tracker.update(result.faces, result.frame.time))
        shown.append(tracked.faces[0].emotion)
        assert draw(tracked).shape == (240, 320, 3)
        for sink in (people, rows, table):
            sink.write(tracked)
    for sink in (rows, table):
        sink.close()
    assert list(dict.fromkeys(shown)) == list(labels)
    [track] = people.summary()
    assert set(track.share) == {*labels, "uncertain"}
    plots.timeline(people, tmp_path / "t.svg")
    drawn = (tmp_path / "t.svg").read_text("utf-8")
    assert drawn.count("<path") > 2 * len(labels)
    last = json.loads((tmp_path / "f.jsonl").read_text("utf-8").splitlines()[-1])
    assert set(last["faces"][0]["probabilities"]) == set(labels)
    with (tmp_path / "f.csv").open(newline="", encoding="utf-8") as stream:
        assert set(labels) <= set(next(csv.reader(stream)))


@pytest.mark.parametrize("labels", SETS, ids=len)
def test_colours_of_a_timeline_differ(labels: tuple[str, ...]) -> None:
    colours = plots._colours(labels)
    assert list(colours) != [] and len(set(colours.values())) == len(labels)


@pytest.mark.parametrize("labels", SETS, ids=len)
def test_metrics_take_any_number_of_classes(labels: tuple[str, ...], tmp_path: Path) -> None:
    truth = np.arange(10 * len(labels)) % len(labels)
    rows = np.full((len(truth), len(labels)), 0.4 / (len(labels) - 1))
    rows[np.arange(len(truth)), truth] = 0.6
    report = evaluate(rows, truth, labels, bootstraps=20)
    assert (report.balanced_accuracy, set(report.per_class)) == (1.0, set(labels))
    plots.confusion_png(report, tmp_path / "c.png")


@pytest.mark.parametrize("labels", SETS, ids=len)
def test_server_answers_with_any_classes(labels: tuple[str, ...]) -> None:
    [face] = frames(labels)[0].faces
    assert FaceResult(**face.to_dict()).probabilities.keys() == set(labels)
    info = ModelInfo(name="m", version="0", sha256="", labels=list(labels), uncertain_below=0, detector="d", limits={})
    assert info.labels == list(labels)
