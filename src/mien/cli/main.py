"""The command line. An Error becomes one line on stderr and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable

from cyclopts import App
from rich.markup import escape

import mien
from mien.cli.batch import batch
from mien.cli.console import err, single_interrupt, warn
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
    "train": ("torch", "kornia", "lightning_fabric", "yaml", "onnx", "safetensors"),
    "serve": ("fastapi", "starlette", "pydantic", "uvicorn", "python_multipart", "websockets", "prometheus_client"),
}


def current_words(words: list[str]) -> list[str]:
    """Replace the former names in a command line by the current ones, with a note on stderr for each."""
    found = []
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in _FORMER and (name.startswith("--") or place == 0):
            warn(f"note: {name} is now called {_FORMER[name]}; the old name works in this version only")
            name = _FORMER[name]
        found.append(name + equals + value)
    return found


def main() -> None:
    """Run the command line and exit."""
    try:
        with single_interrupt():
            code = app(current_words(sys.argv[1:]), result_action="return_value")
    except KeyboardInterrupt:
        warn("stopped")
        code = 130
    except Error as error:
        code = _fail(str(error))
    except ModuleNotFoundError as error:
        extra = next((extra for extra, modules in _EXTRAS.items() if error.name in modules), "report")
        code = _fail(f"this command needs {error.name}: pip install 'mien[{extra}]'")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> int:
    err.print(f"[red]error:[/red] {escape(message)}", highlight=False)
    return 2
