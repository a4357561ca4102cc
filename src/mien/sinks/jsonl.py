"""Results as JSON lines."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Container
from pathlib import Path
from typing import Any

from mien.errors import SourceError
from mien.sinks.base import TextSink
from mien.types import Failure, Result


class Jsonl(TextSink):
    """One JSON object a line, in UTF-8: `Result.to_dict()` of an image, {"name", "error"} of a failure.

    `done` maps the names from the run being resumed to the reason of their failure, or "".
    """

    def __init__(self, path: str | Path, resume: bool = False, retry: Container[str] = ()) -> None:
        """Start the draft.

        Args:
            resume: continue the draft of a stopped run, or else a copy of the finished file, which stays until `close`.
                An incomplete last line is cut off. A file of another kind is a SourceError.
            retry: names whose failures are removed from the resumed lines, so that they count as not done.
        """
        self.done: dict[str, str] = {}
        self._mode = "a" if resume else "w"
        self._retry = retry
        super().__init__(path)

    def write(self, result: Result) -> None:
        self._line(result.to_dict())

    def fail(self, failure: Failure) -> None:
        self._line({"name": failure.name, "error": failure.reason})

    def _open(self) -> None:
        if self._mode == "a":
            copied = self.path.exists() and not self._part.exists()
            if copied:
                shutil.copyfile(self.path, self._copy)
                os.replace(self._copy, self._part)  # complete or not at all
            if self._part.exists():
                try:
                    os.truncate(self._part, self._read())
                except SourceError:
                    if copied:
                        self._part.unlink()
                    raise
                if again := {name for name, reason in self.done.items() if reason and name in self._retry}:
                    self._forget(again)
        super()._open()

    @property
    def _copy(self) -> Path:
        return self._part.with_name(self._part.name + ".copy")

    def _read(self) -> int:
        """Fill `done`, and return the number of bytes in complete lines."""
        size = 0
        with self._part.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    self.done[row["name"]] = row.get("error", "")
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    raise SourceError(
                        f"{self._part}: line {number} was not written by mien; give another file, or do not resume"
                    ) from error
                size += len(line)
        return size

    def _forget(self, names: set[str]) -> None:
        with self._part.open("rb") as file, self._copy.open("wb") as copy:
            copy.writelines(line for line in file if json.loads(line)["name"] not in names)
        os.replace(self._copy, self._part)
        self.done = {name: reason for name, reason in self.done.items() if name not in names}

    def _line(self, value: dict[str, Any]) -> None:
        self._put(json.dumps(value, ensure_ascii=False) + "\n")
