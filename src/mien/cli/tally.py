"""Tally: what a run has shown, for its last line."""

from __future__ import annotations

from mien.cli.console import count
from mien.types import Failure, Result


class Tally:
    """A sink that counts results, faces, results without a face, failures and tracked people."""

    def __init__(self) -> None:
        self.results = self.faces = self.empty = self.failed = self.people = 0

    def write(self, result: Result) -> None:
        self.results += 1
        self.faces += len(result.faces)
        self.empty += not result.faces
        self.people = max([self.people, *(face.id or 0 for face in result.faces)])

    def fail(self, failure: Failure) -> None:
        self.failed += 1

    def close(self) -> None:
        """Do nothing."""

    def parts(self, noun: str = "image") -> list[str]:
        """Return the counts in words; failures among `results` count as images, too."""
        found = [count(self.results + self.failed, noun), count(self.faces, "face")]
        return [*found, f"{self.empty:,} without a face", f"{self.failed:,} failed"]
