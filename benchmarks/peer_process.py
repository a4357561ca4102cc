"""A peer's script in a Python of its own: a line in, a line of JSON out."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any


class PeerProcess:
    """Runs until it is closed.

    Attributes:
        hello: what the script says of itself when it is ready.
    """

    def __init__(self, python: Path, script: str, *arguments: Path) -> None:
        self.script = script
        self.process = subprocess.Popen(
            [python, Path(__file__).with_name(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""},
        )
        self.hello = self._said()

    def ask(self, line: str) -> dict[str, Any]:
        """Its answer to a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._said()

    def close(self) -> None:
        """Wait for its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def _said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.script} ended with {self.process.wait()}: start it by hand to see why")
        found: dict[str, Any] = json.loads(line)
        return found
