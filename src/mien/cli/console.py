"""Consoles, progress bars and JSON files, as all commands use them."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from mien.media import atomic
from mien.media.targets import resolve

out, err = Console(), Console(stderr=True)
_PEACE = 5.0  # seconds


@contextmanager
def single_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C raise KeyboardInterrupt and ignore others for 5 s, so that outputs are closed in peace."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    stopped = -math.inf

    def stop(*_: object) -> None:
        nonlocal stopped
        if time.monotonic() - stopped > _PEACE:
            stopped = time.monotonic()
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        # after an interrupt the program ends, and Python's default action would kill it before its threads have ended
        signal.signal(signal.SIGINT, signal.default_int_handler if stopped == -math.inf else signal.SIG_IGN)


def progress(show: bool, *more: ProgressColumn) -> Progress:
    """Show how much is done and the time left, on stderr."""
    name = TextColumn("{task.description}", markup=False)
    return Progress(
        name, BarColumn(), MofNCompleteColumn(), *(more or (TimeRemainingColumn(),)), console=err, disable=not show
    )


def screen_for(*outputs: Path | None) -> Console:
    """Return stdout's console, or stderr's if one of the outputs goes to stdout."""
    return err if any(path is not None and resolve(path).descriptor == 1 for path in outputs) else out


def echo(message: str, screen: Console = out) -> None:
    """Print a line as it is: no markup, no highlighting, no wrapping."""
    screen.print(printable(message), highlight=False, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print a line as it is, on stderr."""
    echo(message, err)


def printable(text: str) -> str:
    """Escape what terminals obey or cannot show: control characters, and bytes of names that are not UTF-8."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def literal(text: str) -> str:
    """Escape markup, too."""
    return escape(printable(text))


def write_json(path: Path, values: Any) -> None:
    atomic.write_text(path, json.dumps(values, indent=1) + "\n")
