"""The command line. An Error becomes one line on stderr and exit code 2."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError

import mien
from mien.cli.console import single_interrupt, warn
from mien.cli.examples import epilogue
from mien.errors import Error
from mien.media.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mien.media.targets import output_error

app = App(
    name="mien",
    help="Detect faces and classify their expressions.",
    help_format="markdown",
    help_epilogue=epilogue(""),
    version=mien.__version__,
    version_flags=["--version", "-V"],
    suppress_keyboard_interrupt=False,  # cyclopts would exit without a word; `_run` says that it stopped
)
data_app = App(name="data", help="Inspect a data set.", help_epilogue=epilogue("data"))
app.command(data_app)
_MODULES = {"web": "serve"}
for command in (
    "predict", "video", "live", "personalize", "batch", "serve", "web", "train", "evaluate", "report", "explain",
    "doctor",
):  # fmt: skip
    # The module is imported when its command is used.
    app.command(f"mien.cli.{_MODULES.get(command, command)}:{command}", name=command, help_epilogue=epilogue(command))
for command in ("info", "audit", "montage", "soft-labels"):
    function = command.replace("-", "_")
    data_app.command(f"mien.cli.data:{function}", name=command, help_epilogue=epilogue(f"data {command}"))
_GROUPS = (app, data_app)
app.register_install_completion_command(help="Install completion with Tab for bash, zsh, fish or PowerShell.")

_FORMER = {
    "--whole": "--redetect-every",
    "--every": "--detect-every",
    "--smooth": "--smoothing",
    "--calibration": "--profile",
    "calibrate": "personalize",
}
"""Former flags and commands -> current ones."""
_WORDS = frozenset((*app, *_FORMER))
_FORMER_OF = {
    **{(command, "--json"): "--jsonl" for command in ("predict", "video", "live")},
    ("batch", "--crops"): "--cropped",
}
"""Command and former flag -> current one, where other commands have the flag with another meaning."""

_EXTRAS = {
    module: extra
    for extra, modules in {
        "train": ("torch", "kornia", "lightning_fabric", "yaml", "onnx", "onnxscript", "safetensors"),
        "serve": (
            "fastapi", "starlette", "pydantic", "uvicorn", "h11", "python_multipart", "websockets", "prometheus_client",
        ),
        "report": ("matplotlib", "jinja2", "markupsafe"),
        "heif": ("pillow_heif",),
        "parquet": ("pyarrow",),
        "batch": ("ray", "pandas", "fsspec"),
        "live": ("pygame",),
    }.items()
    for module in modules
}  # fmt: skip
"""Module -> extra of mien that brings it."""
_PACKAGES = {"cv2": "opencv-python-headless", "PIL": "pillow"}
"""Module -> package, where the names differ."""


def current_words(words: list[str]) -> list[str]:
    """Replace the former names in a command line by the current ones, with a note on stderr for each.

    A value `-` is joined to its flag.
    """
    found: list[str] = []
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        current = _FORMER.get(name) if name.startswith("--") or place == 0 else None
        current = _FORMER_OF.get((words[0], name), current)
        if current:
            warn(f"note: {name} is now called {current}; the old name works in this version only")
            name = current
        if word == "-" and found and found[-1].startswith("--"):  # standard output; the parser takes it for a flag
            found[-1] += "=-"
        else:
            found.append(name + equals + value)
    return found


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal's encoding must not end a run
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:]
    sys.exit(_run(lambda: _command(words)))


def _command(words: list[str]) -> Any:
    _import_for_list(words)
    try:
        return app(current_words(words), result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        text = " ".join(str(error).split())
        return _fail(_hint(words) or f"{text} (mien --help lists commands, mien COMMAND --help flags)")


def _import_for_list(words: list[str]) -> None:
    """Import all commands where the words name none: their list takes its help from the functions."""
    is_data = words[:1] == ["data"]
    group, word = _GROUPS[is_data], next(iter(words[is_data:]), "-")
    if word.startswith("-") or word not in group:
        for name in group:
            group[name]


def _hint(words: list[str]) -> str:
    """Say which command a file without one is for."""
    word = words[0] if words else ""
    kind = Path(word).suffix.lower()
    if word.startswith("-") or word in _WORDS or not (kind in IMAGE_SUFFIXES | VIDEO_SUFFIXES or Path(word).exists()):
        return ""
    command = "video" if kind in VIDEO_SUFFIXES else "predict"
    return f"{word} is not a command; did you mean: mien {command} {shlex.join(words)}"


def _run(command: Callable[[], Any]) -> int:
    try:
        with single_interrupt():
            code = command()
            if sys.stdout is not None:
                sys.stdout.flush()  # here a full disk behind `> log` is an error, and at exit only a warning
    except KeyboardInterrupt:
        warn("stopped")
        return 130
    except Error as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        return _fail(_missing(error))
    except MemoryError:
        return _fail("not enough memory")
    except OSError as error:
        if error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror or error}")
        with suppress(OSError):  # standard output: only its errors have no name; the flush at exit must not fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141 if isinstance(error, BrokenPipeError) else _fail(str(output_error("-", error)))
    return code if isinstance(code, int) else 0


def _missing(error: ModuleNotFoundError) -> str:
    """Say which package brings a missing module."""
    module = (error.name or "").partition(".")[0]
    if module in _EXTRAS:
        return f"this command needs {module}: pip install 'mien[{_EXTRAS[module]}]'"
    return f"{module or error} is missing, which mien always needs: pip install {_PACKAGES.get(module, module)}"


def _fail(message: str) -> int:
    with suppress(OSError):  # stderr may be full as well
        warn(message.replace("\n", " "), "error:", "red")
    return 2
