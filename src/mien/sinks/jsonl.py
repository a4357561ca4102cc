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
    """One JSON object a line, in UTF-8: `Result.to_dict()` a picture, {"name", "error"} a failure.

    Attributes:
        done: what the file holds of an earlier run that is gone on with: name -> reason of a failure, or "".
    """

    def __init__(self, path: str | Path, resume: bool = False, retry: Container[str] = ()) -> None:
        """Start the draft.

        Args:
            path: of the file.
            resume: go on behind the lines of a run that was stopped (its draft), or else of the finished file, which
                stays as it is until `close`. A last line that is not whole is cut off.
            retry: then take out the lines of failures of these names, so that they count as not done.

        Raises:
            SourceError: the path cannot be written, or what is to be gone on with is no such file.
        """
        self.done: dict[str, str] = {}
        self._mode = "a" if resume else "w"
        self._retry = retry
        super().__init__(path)

    def write(self, result: Result) -> None:
        """Add a picture; without a face its "faces" is []."""
        self._line(result.to_dict())

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""
        self._line({"name": failure.name, "error": failure.reason})

    def _open(self) -> None:
        if self._mode == "a":
            copied = self.path.exists() and not self._part.exists()
            if copied:
                shutil.copyfile(self.path, self._copy)
                os.replace(self._copy, self._part)  # whole or not at all
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
        """Note what is done; number of bytes up to the end of the last whole line."""
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
                        f"{self._part}: line {number} is none that mien wrote; give another file, or do not resume"
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
