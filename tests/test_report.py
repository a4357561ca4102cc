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

from mien.metrics import evaluate
from mien.report import confusion_png, curves_png, montage
from mien.types import DataError

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
    assert list(tmp_path.iterdir()) == []
