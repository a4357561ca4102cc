"""Consoles, messages, progress bars, the summary line and JSON files, as all commands use them."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

out = Console()
err = Console(stderr=True)  # warnings, errors and progress
aside = Console(stderr=True)  # results, where rows go to stdout
_PEACE = 5.0  # seconds
_BAR = 60  # columns from which a progress bar has room


class Clock:
    """The time that a command has taken, for its last line."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def summary(self, *parts: str, screen: Console = out) -> None:
        """Print the last line of a command: the parts and the seconds."""
        echo(", ".join([*parts, f"{time.perf_counter() - self._started:.1f} s"]), screen)


def start(quiet: bool) -> Clock:
    """Begin a command: decide whether it prints its results, and start its clock."""
    out.quiet = aside.quiet = quiet
    return Clock()


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, as in "1 face" and "2,000 faces"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


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


class _NoProgress:
    """What `progress` returns where nothing is shown: rich's progress bar takes a tenth of the start of a command."""

    console = err
    disable = True
    task_ids: tuple[TaskID, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_task(self, description: str, **_: Any) -> TaskID:
        return cast("TaskID", 0)

    def update(self, task: TaskID, **_: Any) -> None:
        pass


def progress(show: bool, *more: ProgressColumn) -> Progress:
    """Show how much is done and the time left, on stderr."""
    if not (show and err.is_terminal) or out.quiet:
        return cast("Progress", _NoProgress())
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
    columns += [BarColumn(bar_width=None)] if err.width >= _BAR else []
    columns += [MofNCompleteColumn(), *(more or (TimeRemainingColumn(),))]
    return Progress(*columns, console=err)


def above(bar: Progress, screen: Console) -> Console:
    """Return the console that prints above a progress bar, where both are on the terminal."""
    return bar.console if screen.is_terminal and not screen.quiet and not bar.disable else screen


def screen_for(*outputs: Path | None) -> Console:
    """Return stdout's console, or one on stderr if one of the outputs goes to stdout."""
    from mien.media.targets import resolve

    return aside if any(path is not None and resolve(path).descriptor == 1 for path in outputs) else out


def echo(message: str, screen: Console = out) -> None:
    """Print a message as it is, at once; on a terminal it is broken between words, and elsewhere not at all."""
    _print("", printable(message), screen)


def warn(message: str, label: str = "", style: str = "") -> None:
    """Print a message as it is, on stderr, even where --quiet is given; a label such as `error:` has a style."""
    _print(label, printable(message), err, style)


def _print(label: str, message: str, screen: Console, style: str = "") -> None:
    text = f"{label} {message}" if label else message
    lines = text.split("\n")
    if screen.is_terminal:
        lines = [part for line in lines for part in wrap(line.split(" "), screen.width, " ", "")]
    for number, line in enumerate(lines):
        shown = Text(line)
        if label and not number:
            shown.stylize(style, 0, len(label))
        screen.print(shown, highlight=False, soft_wrap=True)
    if not screen.quiet:
        screen.file.flush()  # a log is complete up to the last message


def wrap(items: Sequence[str], width: int, separator: str = ", ", indent: str = "  ") -> list[str]:
    """Join items to lines of at most `width` columns; only a longer word, such as a path, makes a longer line."""
    lines: list[str] = []
    end = separator.rstrip()
    for item in items:
        longer = f"{lines[-1]}{separator}{item}" if lines else item
        if cell_len(longer + end) <= width:
            lines[-1:] = [longer]
            continue
        if lines:
            lines[-1] += end
        start = indent if lines else ""
        words = item.split(" ")
        parts = wrap(words, width - len(indent), " ", "") if len(words) > 1 else [item]
        lines += [(start if not k else indent) + part for k, part in enumerate(parts)]
    return lines


def printable(text: str) -> str:
    """Escape what terminals obey or cannot show: control characters, and bytes of names that are not UTF-8."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def literal(text: str) -> str:
    """Escape markup, too."""
    return escape(printable(text))


def write_json(path: Path, values: Any) -> None:
    from mien.media import atomic

    atomic.write_text(path, json.dumps(values, indent=1) + "\n")
