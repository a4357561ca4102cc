"""Results as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path
from typing import Any, ClassVar

from mien.errors import SourceError
from mien.media.output_paths import Output
from mien.sinks.base import TextSink
from mien.types import Failure, Result


class Jsonl(TextSink):
    """One JSON object a line, in UTF-8: `Result.to_dict()` of an image, {"name", "error"} of a failure."""

    reads_pixels = False
    _options: ClassVar = {
        "what": "JSON lines", "suffixes": (".jsonl", ".json", ".ndjson", ".txt", ""), "keep": True, "resumable": True,
        "stdout": True,
    }  # fmt: skip

    def __init__(self, path: str | Path | Output, resume: bool = False, retry: Container[str] = ()) -> None:
        """Check the path.

        Args:
            path: the file, or what `ask` returned for it.
            resume: continue the draft of a stopped run, or else a copy of the finished file, which stays until `close`.
                An incomplete last line is cut off. A file of another kind is a SourceError.
            retry: names whose failures are removed from the resumed lines, so that they count as not done.
        """
        self._done: dict[str, str] = {}
        self._resume, self._retry = resume, retry
        super().__init__(path)

    @property
    def done(self) -> dict[str, str]:
        """Names in the resumed file -> reason of their failure, or ""; starts the sink."""
        if not self._closed:
            self.start()
        return self._done

    def write(self, result: Result) -> None:
        self._line(result.to_dict())

    def fail(self, failure: Failure) -> None:
        self._line({"name": failure.name, "error": failure.reason})

    def _begin(self) -> bool:
        if not self._resume:
            return super()._begin()
        is_new = self.file.draft is not None and not self.file.draft.exists()
        self.file.start(resume=True, may_drop=_is_failure)
        try:
            self.file.truncate(self._read())
            if retried := {name for name, reason in self._done.items() if reason and name in self._retry}:
                self._forget(retried)
        except BaseException:
            self.file.discard() if is_new else self.file.release()
            raise
        return not is_new

    def _read(self) -> int:
        """Fill `_done`, and return the number of bytes in complete lines."""
        size = 0
        with self.file.read() as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    self._done[row["name"]] = row.get("error", "")
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    raise SourceError(
                        f"{self.path}: line {number} was not written by mien; give another file, or do not resume"
                    ) from error
                size += len(line)
        return size

    def _forget(self, names: set[str]) -> None:
        with self.file.read() as lines:
            self.file.replace(line for line in lines if json.loads(line)["name"] not in names)
        self._done = {name: reason for name, reason in self._done.items() if name not in names}

    def _line(self, value: dict[str, Any]) -> None:
        self._put(json.dumps(value, ensure_ascii=False) + "\n")


def _is_failure(line: bytes) -> bool:
    try:
        return "error" in json.loads(line)
    except (ValueError, TypeError):
        return False
