"""The items that could not be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from mien.sinks.base import LineWriter, TextSink
from mien.types import Failure, Result


class Failures(TextSink):
    """What could not be read, and why: {"name", "reason"} a line, or a table where the path ends in .csv.

    An empty file, or table, says that there was nothing.

    Raises:
        SourceError: the path cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._writer = (
            csv.writer(LineWriter(self._put), lineterminator="\n") if self.path.suffix.lower() == ".csv" else None
        )
        if self._writer:
            self._writer.writerow(("name", "reason"))

    def write(self, result: Result) -> None:
        """What could be read is no failure."""

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""
        if self._writer:
            self._writer.writerow((failure.name, failure.reason))
        else:
            self._put(json.dumps({"name": failure.name, "reason": failure.reason}, ensure_ascii=False) + "\n")
