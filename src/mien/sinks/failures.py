"""A list of the items that could not be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from mien.sinks.base import LineWriter, TextSink
from mien.types import Failure, Result


class Failures(TextSink):
    """Names and reasons of failures: a JSON object a line, or a table if the path ends in .csv; empty without any."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._writer = (
            csv.writer(LineWriter(self._put), lineterminator="\n") if self.path.suffix.lower() == ".csv" else None
        )
        if self._writer:
            self._writer.writerow(("name", "reason"))

    def write(self, result: Result) -> None:
        """Write nothing."""

    def fail(self, failure: Failure) -> None:
        if self._writer:
            self._writer.writerow((failure.name, failure.reason))
        else:
            self._put(json.dumps({"name": failure.name, "reason": failure.reason}, ensure_ascii=False) + "\n")
