"""The pictures are whole PNG files of a sensible size, or are not there."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mien.draw import COLOURS
from mien.metrics import evaluate
from mien.report import confusion_png, curves_png, explanation_png, montage, robustness_png, timeline
from mien.timeline import Timeline
from mien.types import DataError, Face, Frame, Result

REPORT = evaluate(np.eye(3)[[0, 1, 2, 0]] * 0.7 + 0.1, [0, 1, 2, 1], ("angry", "happy", "sad"), name="T1")


def rows(n: int = 4) -> list[dict[str, float]]:
    return [
        {"epoch": i + 1, "train_loss": 2 / (i + 1), "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.4}
        | {"lr": 0.1, "stage": float(i // 2)}
        for i in range(n)
    ]


def size(path: Path) -> tuple[int, int]:
    """(width, height) of a PNG that is complete."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)


def test_confusion(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "confusion.png"
    confusion_png(REPORT, path)
    assert all(400 <= side <= 1500 for side in size(path))


def test_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, list[float]]] = []
    stages: list[float] = []
    plot, line = Axes.plot, Axes.axvline

    def spy_plot(self: Axes, x: Any, y: Any, **kw: Any) -> Any:
        seen.append((kw["label"], list(y)))
        return plot(self, x, y, **kw)

    def spy_line(self: Axes, x: float, **kw: Any) -> Any:
        stages.append(x)
        return line(self, x, **kw)

    monkeypatch.setattr(Axes, "plot", spy_plot)
    monkeypatch.setattr(Axes, "axvline", spy_line)
    curves_png(rows(), str(tmp_path / "c.png"))
    width, height = size(tmp_path / "c.png")
    assert 800 <= width <= 2000 and 300 <= height < width
    assert [name for name, _ in seen] == ["training", "validation"] * 2
    assert seen[3][1] == pytest.approx([40.0] * 4)  # per cent
    assert stages == [2.5, 2.5]  # once a panel


def test_curves_of_one_epoch_and_of_restarting_epochs(tmp_path: Path) -> None:
    curves_png(rows(1), tmp_path / "c.png")
    plain = [{k: v for k, v in row.items() if k != "stage"} for row in rows(2) + rows(2)]
    curves_png(plain, tmp_path / "c.png")  # replaces
    assert size(tmp_path / "c.png")[0] >= 800


def test_montage(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    groups = {name: rng.integers(0, 256, (k, 48, 48), np.uint8) for name, k in (("happy", 8), ("sad", 3), ("none", 0))}
    montage(groups, tmp_path / "m.png")
    width, height = size(tmp_path / "m.png")
    assert 8 * 48 <= width <= 2000 and 3 * 48 <= height <= 1000


def watched(people: int = 2, seconds: float = 3.0) -> Timeline:
    seen = Timeline(("happy", "sad"))
    for index in range(round(seconds * 25)):
        time = index / 25
        faces = tuple(
            Face((0, 0, 9, 9), probabilities={"happy": 0.75, "sad": 0.25}, id=k, unsure=time > 2)
            for k in range(people)
            if k == 0 or not 1 <= time < 1.5  # all but the first leave for half a second
        )
        seen.write(Result(Frame(np.zeros((4, 4, 3), np.uint8), index, time), faces))
    return seen


def test_timeline_png_and_svg(tmp_path: Path) -> None:
    timeline(watched(), tmp_path / "a" / "t.png")
    width, height = size(tmp_path / "a" / "t.png")
    assert width == 1200 and 300 <= height <= 600
    timeline(watched(8), tmp_path / "t.svg")
    text = (tmp_path / "t.svg").read_text()
    assert "<svg" in text and text.rstrip().endswith("</svg>")
    b, g, r = COLOURS["happy"]
    assert f"#{r:02x}{g:02x}{b:02x}" in text
    timeline(watched(1, 300.0), tmp_path / "long.svg")  # bounded, however long the video
    assert (tmp_path / "long.svg").stat().st_size < 500_000


def test_timeline_leaves_a_gap_where_a_person_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, Any, Any]] = []
    stairs = Axes.stairs

    def spy(self: Axes, values: Any, edges: Any, **kw: Any) -> Any:
        drawn.append((kw["label"], np.array(values), np.array(edges)))
        return stairs(self, values, edges, **kw)

    monkeypatch.setattr(Axes, "stairs", spy)
    timeline(watched(), tmp_path / "t.png")
    (happy, values, edges), (sad, top, _) = drawn[5:7]  # the second person's, behind two areas and three strips
    assert (happy, sad) == ("happy", "sad")
    away = (edges[:-1] > 0.99) & (edges[1:] < 1.53)
    assert np.isnan(values[away]).all() and away.sum() == 13
    assert values[~away] == pytest.approx(0.75) and top[~away] == pytest.approx(1.0)
    unsure = drawn[4][1]
    assert np.isnan(unsure[edges[:-1] < 1.99]).all() and np.isfinite(unsure[edges[:-1] > 2.05]).all()


def test_timeline_of_nobody(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no face"):
        timeline(Timeline(), tmp_path / "t.png")
    assert list(tmp_path.iterdir()) == []


def shaken(names: list[str], clean: float = 0.8) -> dict[str, Any]:
    return {"clean": clean, "accuracy": {name: [0.7, 0.6, 0.5, 0.4, 0.3] for name in names}}


def test_robustness_has_a_panel_a_corruption_and_a_line_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[float]]] = []
    titles: list[str] = []
    plot, title = Axes.plot, Axes.set_title

    def spy_plot(self: Axes, y: Any, **kw: Any) -> Any:
        seen.append((kw["label"], list(y)))
        return plot(self, y, **kw)

    def spy_title(self: Axes, text: str, **kw: Any) -> Any:
        titles.append(text)
        return title(self, text, **kw)

    monkeypatch.setattr(Axes, "plot", spy_plot)
    monkeypatch.setattr(Axes, "set_title", spy_title)
    names = [f"corruption {i}" for i in range(7)]
    robustness_png({"small": shaken(names), "large": shaken(names, 0.9)}, tmp_path / "r.png")
    width, height = size(tmp_path / "r.png")
    assert 1000 <= width <= 2000 and 400 <= height < width
    assert titles == names
    assert [name for name, _ in seen] == ["small", "large"] * 7
    assert seen[1][1] == pytest.approx([90, 70, 60, 50, 40, 30])  # per cent, the clean ones first


def test_explanation_has_a_row_a_face(tmp_path: Path) -> None:
    face = Face((0, 0, 9, 9), probabilities={"angry": 0.2, "happy": 0.8})
    crops, values = np.zeros((2, 48, 48), np.uint8), np.zeros((48, 48), np.float32)
    values[30:40, 10:40] = 0.4
    image = np.zeros((9, 9, 3), np.uint8)
    explanation_png(Result(Frame(image), (face,), crops[:1]), [values], tmp_path / "e.png")
    width, height = size(tmp_path / "e.png")
    explanation_png(Result(Frame(image), (face, face), crops), [values, -values], tmp_path / "e.png")
    assert size(tmp_path / "e.png")[0] == width and size(tmp_path / "e.png")[1] > 1.8 * height


@pytest.mark.parametrize("step", ["savefig", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "c.png"
    path.write_bytes(b"old")

    def broken(self: Figure, name: Path, **_: Any) -> None:
        Path(name).write_bytes(b"half")
        raise OSError("disk full")

    def stuck(*_: Any) -> None:
        raise OSError("disk full")

    if step == "savefig":
        monkeypatch.setattr(Figure, "savefig", broken)
    else:
        monkeypatch.setattr(os, "replace", stuck)
    with pytest.raises(OSError, match="disk full"):
        confusion_png(REPORT, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_errors_write_nothing(tmp_path: Path) -> None:
    path, face = tmp_path / "x.png", np.zeros((1, 48, 48), np.uint8)
    with pytest.raises(DataError, match="empty"):
        curves_png([], path)
    with pytest.raises(DataError, match="val_loss"):
        curves_png([{k: v for k, v in rows(1)[0].items() if k != "val_loss"}], path)
    bad: list[dict[str, Any]] = [{}, {"a": face[:0]}, {"a": face.astype(float)}, {"a": face[0]}]
    for groups in [*bad, {"a": face, "b": face[:, :40]}]:
        with pytest.raises(DataError):
            montage(groups, path)
    for models in ({}, {"a": shaken([])}, {"a": shaken(["noise"]), "b": shaken(["jpeg"])}):
        with pytest.raises(DataError, match="same corruptions"):
            robustness_png(models, path)
    seen = Result(Frame(np.zeros((9, 9, 3), np.uint8)), (Face((0, 0, 9, 9), probabilities={"sad": 1.0}),), face)
    for result, maps in ((seen, []), (Result(seen.frame), [])):
        with pytest.raises(DataError, match="one map for each face"):
            explanation_png(result, maps, path)
    assert list(tmp_path.iterdir()) == []
