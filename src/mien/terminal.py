"""What the commands share: consoles, a progress bar, and files of figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mien import files

out, err = Console(), Console(stderr=True)


def progress(show: bool, extra: str = "") -> Progress:
    """Done, of how many, and the time left."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    if extra:
        columns.append(TextColumn(extra))
    return Progress(*columns, console=err, disable=not show)


def say(message: str) -> None:
    """A line as it is: no markup, no colours of numbers."""
    out.print(message, highlight=False, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """The same, on stderr."""
    err.print(message, highlight=False, markup=False, soft_wrap=True)


def write_json(path: Path, values: Any) -> None:
    """A file of figures, whole or not there at all."""
    files.write_text(path, json.dumps(values, indent=1) + "\n")
