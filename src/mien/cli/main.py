"""The command line. An Error becomes one line on stderr and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import Any

from cyclopts import App

import mien
from mien.cli.batch import batch
from mien.cli.console import err, literal, single_interrupt, warn
from mien.cli.data import audit, info, montage, soft_labels
from mien.cli.doctor import doctor
from mien.cli.evaluate import evaluate
from mien.cli.explain import explain
from mien.cli.live import live
from mien.cli.personalize import personalize
from mien.cli.predict import predict
from mien.cli.report import report
from mien.cli.serve import serve, web
from mien.cli.train import train
from mien.cli.video import video
from mien.errors import Error
from mien.media.targets import output_error

app = App(name="mien", help="Detect faces and classify their expressions.", version=mien.__version__)
data_app = App(name="data", help="Inspect a data set.")
app.command(data_app)
_COMMANDS: tuple[tuple[App, tuple[Callable[..., int], ...]], ...] = (
    (app, (predict, video, live, personalize, batch, serve, web, train, evaluate, report, explain, doctor)),
    (data_app, (info, audit, montage, soft_labels)),
)
for group, commands in _COMMANDS:
    for command in commands:
        group.command(command)

_FORMER = {
    "--whole": "--redetect-every",
    "--every": "--detect-every",
    "--smooth": "--smoothing",
    "--calibration": "--profile",
    "calibrate": "personalize",
}
"""Former flags and commands -> current ones."""

_EXTRAS = {
    module: extra
    for extra, modules in {
        "train": ("torch", "kornia", "lightning_fabric", "yaml", "onnx", "onnxscript", "safetensors"),
        "serve": ("fastapi", "starlette", "pydantic", "uvicorn", "python_multipart", "websockets", "prometheus_client"),
        "report": ("matplotlib", "jinja2"),
        "parquet": ("pyarrow",),
        "batch": ("ray", "pandas", "fsspec"),
        "video": ("av",),
        "live": ("pygame",),
    }.items()
    for module in modules
}
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
        if name in _FORMER and (name.startswith("--") or place == 0):
            warn(f"note: {name} is now called {_FORMER[name]}; the old name works in this version only")
            name = _FORMER[name]
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
    sys.exit(_run(lambda: app(current_words(sys.argv[1:]), result_action="return_value")))


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
        err.print(f"[red]error:[/red] {literal(message.replace(chr(10), ' '))}", highlight=False, soft_wrap=True)
    return 2
