"""Results as a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mien.media.output_paths import Output
from mien.sinks.base import COLUMNS, LineWriter, TextSink, rows
from mien.types import EMOTIONS, Failure, Result


class Csv(TextSink):
    """A row a face; an image without a face and a failure get one row with empty face columns.

    Columns: name, index, time (s), shot (from 1), face (from 0), id, x1, y1, x2, y2 (px), score, emotion, confidence,
    uncertain (0 or 1), size to inside (see `Quality`), a probability for each of `labels`, error. `mien.predict` fills
    in the labels of its model.
    """

    reads_pixels = False
    _options: ClassVar = {
        "what": "a CSV table", "suffixes": (".csv", ".txt", ""), "keep": True, "stdout": True,
    }  # fmt: skip

    def __init__(self, path: str | Path | Output, labels: Sequence[str] | None = None) -> None:
        super().__init__(path)
        self.labels = labels

    def _begin(self) -> bool:
        super()._begin()
        self._labels = tuple(self.labels or EMOTIONS)
        columns = [*COLUMNS, *self._labels, "error"]
        self._writer = csv.DictWriter(LineWriter(self._put), columns, restval="", lineterminator="\n")
        self._writer.writeheader()
        return False

    def write(self, result: Result) -> None:
        self.start()
        for row in rows(result, self._labels):
            self._writer.writerow(row if "uncertain" not in row else row | {"uncertain": int(row["uncertain"])})

    def fail(self, failure: Failure) -> None:
        self.start()
        self._writer.writerows(rows(failure, self._labels))
