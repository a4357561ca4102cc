"""Consoles, progress bars and JSON files, as all commands use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from mien.media import atomic

out, err = Console(), Console(stderr=True)


def progress(show: bool, *more: ProgressColumn) -> Progress:
    """Show how much is done and the time left, on stderr."""
    name = TextColumn("{task.description}", markup=False)
    return Progress(
        name, BarColumn(), MofNCompleteColumn(), *(more or (TimeRemainingColumn(),)), console=err, disable=not show
    )


def echo(message: str) -> None:
    """Print a line as it is: no markup, no highlighting, no wrapping."""
    out.print(message, highlight=False, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print a line as it is, on stderr."""
    err.print(message, highlight=False, markup=False, soft_wrap=True)


def write_json(path: Path, values: Any) -> None:
    atomic.write_text(path, json.dumps(values, indent=1) + "\n")
