"""A list of the items that could not be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import ClassVar

from mien.media.output_paths import Output
from mien.sinks.base import LineWriter, TextSink
from mien.types import Failure, Result


class Failures(TextSink):
    """Names and reasons of failures: a JSON object a line, or a table if the path ends in .csv; empty without any."""

    reads_pixels = False
    _options: ClassVar = {
        "what": "a list of failures", "suffixes": (".jsonl", ".json", ".csv", ".txt", ""), "keep": True, "stdout": True,
    }  # fmt: skip

    def __init__(self, path: str | Path | Output) -> None:
        super().__init__(path)
        is_table = self.path.suffix.lower() == ".csv"
        self._writer = csv.writer(LineWriter(self._put), lineterminator="\n") if is_table else None

    def _begin(self) -> bool:
        super()._begin()
        if self._writer:
            self._writer.writerow(("name", "reason"))
        return False

    def write(self, result: Result) -> None:
        """Write nothing."""

    def fail(self, failure: Failure) -> None:
        if self._writer:
            self._writer.writerow((failure.name, failure.reason))
        else:
            self._put(json.dumps({"name": failure.name, "reason": failure.reason}, ensure_ascii=False) + "\n")
