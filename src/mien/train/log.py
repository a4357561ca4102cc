"""log.csv: one row an epoch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from mien.media import atomic

COLUMNS = ("epoch", "stage", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


def read_log(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def append_row(path: Path, row: Sequence[float]) -> None:
    """Add an epoch, and drop rows of later epochs: a resumed run writes those again."""
    rows = [list(old.values()) for old in read_log(path) if old["epoch"] < row[0]] if path.exists() else []
    lines = [",".join(COLUMNS), *(",".join(f"{value:.6g}" for value in values) for values in [*rows, row])]
    atomic.write_text(path, "\n".join(lines) + "\n")
