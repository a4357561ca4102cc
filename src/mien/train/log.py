"""log.csv: one row an epoch."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from mien.media import atomic

COLUMNS = ("epoch", "stage", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


def read_log(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def append_row(path: Path, row: Sequence[float], more: Mapping[str, float] | None = None) -> None:
    """Add an epoch with further columns, and drop rows of later epochs: a resumed run writes those again."""
    names = [*COLUMNS, *(more or {})]
    rows = [list(old.values()) for old in read_log(path) if old["epoch"] < row[0]] if path.exists() else []
    rows.append([*row, *(more or {}).values()])
    lines = [",".join(names), *(",".join(f"{value:.6g}" for value in values) for values in rows)]
    atomic.write_text(path, "\n".join(lines) + "\n")
