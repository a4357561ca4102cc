"""What a run tells about each epoch: log.csv, and TensorBoard on request."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from mien.errors import ConfigError
from mien.media import atomic

COLUMNS = ("epoch", "stage", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of a run; accuracies are 0..1.

    Attributes:
        epoch: number of the epoch, from 1, of `epochs`.
        lr: the last learning rate.
        train_accuracy: on augmented images, from which `val_accuracy` differs.
        val_loss, val_accuracy: means over the data sets.
        sets: data set -> its validation loss and accuracy.
        is_best: whether no earlier epoch of the last stage had a higher validation accuracy.
    """

    epoch: int
    epochs: int
    stage: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    sets: Mapping[str, tuple[float, float]]
    is_best: bool

    def metrics(self) -> dict[str, float]:
        """Return all figures by name, as log.csv has them; several data sets have a column each."""
        each = {f"val_accuracy_{name}": accuracy for name, (_, accuracy) in self.sets.items()}
        return {name: getattr(self, name) for name in COLUMNS} | (each if len(each) > 1 else {})


def tensorboard(folder: Path) -> TensorBoardLogger:
    """Return a logger into the folder `tensorboard` of a run, for `Trainer` and `fit`."""
    try:
        return TensorBoardLogger(folder, "tensorboard", "", flush_secs=10)
    except ModuleNotFoundError as error:
        raise ConfigError("the log for TensorBoard needs the package tensorboard: pip install tensorboard") from error


def read_log(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Add an epoch, and drop rows of later epochs: a resumed run writes those again."""
    rows = [old for old in read_log(path) if old["epoch"] < row["epoch"]] if path.exists() else []
    lines = [",".join(row), *(",".join(f"{value:.6g}" for value in values.values()) for values in [*rows, row])]
    atomic.write_text(path, "\n".join(lines) + "\n")
