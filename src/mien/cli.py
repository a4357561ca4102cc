"""The command line: one library call a command. An Error becomes one line on stderr and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

import mien
from mien import cli_batch, cli_calibrate, cli_data, cli_live, cli_train
from mien.serve.limits import Limits
from mien.terminal import err, out, progress
from mien.types import ConfigError, Error, Failure, Result

app = App(name="mien", help="Finds faces and says how each looks, with probabilities.", version=mien.__version__)
data_app = App(name="data", help="Look at a data set.")
app.command(data_app)
_COMMANDS: list[tuple[App, list[Callable[..., int]]]] = [
    (app, [cli_live.video, cli_live.live, cli_calibrate.calibrate, cli_live.doctor]),
    (app, [cli_train.train, cli_train.evaluate, cli_train.report, cli_train.explain, cli_batch.batch]),
    (data_app, [cli_data.info, cli_data.audit, cli_data.montage, cli_data.soft_labels, cli_data.pretrained]),
]
for group, commands in _COMMANDS:
    for command in commands:
        group.command(command)

_SHOWN = 200  # rows of the table on the terminal, and failures: what is shown must not grow with the pictures


@app.command
def predict(
    sources: Annotated[list[str], Parameter(negative=())],
    *,
    detector: str = "yunet",
    model: str | None = None,
    save: Path | None = None,
    json: Annotated[Path | None, Parameter(name=["--json", "--jsonl"])] = None,
    csv: Path | None = None,
    crops: Path | None = None,
    failures: Path | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    retry: Annotated[bool, Parameter(negative=())] = False,
    min_face: float | None = None,
) -> int:
    """Find the faces of pictures and their emotions.

    Parameters
    ----------
    sources
        Pictures, folders or globs.
    detector
        yunet, haar or mtcnn.
    model
        Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file.
    save
        Folder for the annotated pictures.
    json
        File for JSON lines, one a picture; one that cannot be read has its name and the reason as "error".
    csv
        File for a table, one row a face.
    crops
        Folder for the 48x48 crops that the network saw.
    failures
        File for the pictures that could not be read, with the reasons: JSON lines, or a table when it ends in .csv.
    resume
        Pass over the pictures that the JSON lines hold already, of a run that was stopped or a finished one, and add
        the others. Name the same pictures in the same way. Those that could not be read then are told again, not tried.
    retry
        With --resume: try those again.
    min_face
        Side in pixels of the smallest face that is wanted: a large one is faster, a small one slower in large pictures.
    """
    import cv2

    from mien import run
    from mien.sources import expand

    if resume and (csv or not json):
        raise ConfigError("--resume goes on with JSON lines: give --jsonl FILE, and leave out --csv")
    if retry and not resume:
        raise ConfigError("--retry tries again what an earlier run could not read: give --resume with it")
    paths = expand(sources)
    run.keep_apart(paths, [json, csv, failures])
    threads = None
    if len(paths) > 1:  # they are looked at side by side, and more threads for each would stand in each other's way
        threads = 1
        cv2.setNumThreads(-1 if detector == "haar" else 1)
    pipeline = mien.load(model=model, detector=detector, min_face=min_face, threads=threads)
    shown = _Shown(pipeline.classifier.labels)
    with ExitStack() as stack:
        made, done = _picture_sinks(
            stack, pipeline.classifier.labels, save, json, csv, crops, failures, resume,
            {str(path) for path in paths} if retry else (),
        )  # fmt: skip
        for name, reason in done.items():
            if reason:
                shown.add(Failure(name, reason))
        bar = stack.enter_context(progress(len(paths) > 3))
        task = bar.add_task("pictures", total=len(paths), completed=sum(str(path) in done for path in paths))
        for item in run.pictures(paths, pipeline, skip=done):
            shown.add(item)
            run.give(item, made)
            bar.advance(task)
    shown.print(json or csv, failures)
    if done:
        some = "1 picture was" if len(done) == 1 else f"{len(done):,} pictures were"
        out.print(f"{some} done before", highlight=False)
    if save:
        out.print(f"annotated pictures are in {save}", highlight=False, markup=False)
    return 1 if shown.failed else 0


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str | None = None,
    detector: str = "yunet",
    token: Annotated[str | None, Parameter(env_var="MIEN_TOKEN", show_default=False)] = None,
    allow_host: Annotated[list[str] | None, Parameter(negative=())] = None,
    allow_origin: Annotated[list[str] | None, Parameter(negative=())] = None,
    limits: Annotated[Limits, Parameter(name="*", group="Limits")] = Limits(),  # noqa: B008 (frozen)
) -> int:
    """Serve predictions over HTTP and WebSocket, and the web page.

    Parameters
    ----------
    host
        Address to listen on; where other machines can reach it, it needs a token of 16 characters or more.
    port
        0 for any free one.
    model
        Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file.
    detector
        yunet, haar or mtcnn.
    token
        What clients must send; better in MIEN_TOKEN, since others on this machine can see what was typed here.
    allow_host
        Another name under which the server is reached; may be repeated.
    allow_origin
        Another web page that may use it, such as https://example.org; may be repeated.
    """
    from mien.serve import app as serving
    from mien.serve import engine, server

    hosts = [host, *(allow_host or [])]
    with server.bind(host, port, token) as listening:
        pipeline = engine.load(model, detector)
        made = serving.create_app(pipeline, token=token, hosts=hosts, origins=allow_origin or [], limits=limits)
        out.print(f"mien serves at {server.url(listening)} (Ctrl-C ends it)", highlight=False, markup=False)
        server.run(made, listening, limits)
    return 0


@app.command
def web(*, port: int = 8000) -> int:
    """Open the web page: webcam, pictures and videos, all of which stay in the browser.

    Parameters
    ----------
    port
        0 for any free one.
    """
    import webbrowser

    from mien.serve import app as serving
    from mien.serve import server

    if not (serving.STATIC / "models" / "models.json").is_file():
        raise ConfigError("this copy of mien is without the web page's runtime; run `make web` in a checkout first")
    with server.bind("127.0.0.1", port, None) as listening:
        made = serving.create_app()
        out.print(f"the page is at {server.url(listening)} (Ctrl-C ends it)", highlight=False, markup=False)
        webbrowser.open(server.url(listening))
        server.run(made, listening, Limits())
    return 0


def _picture_sinks(
    stack: ExitStack,
    labels: Any,
    save: Path | None,
    json: Path | None,
    csv: Path | None,
    crops: Path | None,
    failures: Path | None,
    resume: bool,
    retry: Container[str],
) -> tuple[list[Any], dict[str, str]]:
    """The sinks of `predict`, and what an earlier run has done already: name -> reason of a failure, or ""."""
    from mien import sinks
    from mien.draw import draw

    lines = stack.enter_context(sinks.Jsonl(json, resume, retry)) if json else None
    done = lines.done if lines else {}
    made: list[Any] = []
    if save:
        made.append(stack.enter_context(sinks.Images(save, draw)))
    if crops:
        made.append(stack.enter_context(sinks.Crops(crops)))
    for folder in made:
        for name, reason in done.items():
            if not reason:
                folder.reserve(name)
    if csv:
        made.append(stack.enter_context(sinks.Csv(csv, tuple(labels))))
    if failures:
        made.append(stack.enter_context(sinks.Failures(failures)))
        for name, reason in done.items():
            if reason:
                made[-1].fail(Failure(name, reason))
    return [*made, *([lines] if lines else [])], done  # the line comes last: a picture that has one is finished


class _Shown:
    """What `predict` tells on the terminal: the first rows and failures, and how many more there are.

    Attributes:
        failed: number of failures.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.failed = 0
        self._labels = labels
        self._table = _faces_table(labels)
        self._failures: list[Failure] = []
        self._more = 0  # pictures without a row

    def add(self, item: Result | Failure) -> None:
        """Take note of a picture."""
        if isinstance(item, Failure):
            self.failed += 1
            if len(self._failures) < _SHOWN:
                self._failures.append(item)
        elif self._table.row_count < _SHOWN:
            _faces_rows(self._table, item, self._labels)
        else:
            self._more += 1

    def print(self, held: Path | None, failures: Path | None) -> None:
        """The table, and the failures on stderr.

        Args:
            held: the file that holds all pictures, if there is one.
            failures: the one that holds all failures.
        """
        if self._more:
            rest = f"in {held}" if held else "not shown: --json FILE or --csv FILE holds all"
            self._table.caption = escape(f"probabilities in %; {self._more} more pictures are {rest}")
        if self._table.row_count:
            out.print(self._table)
        for failure in self._failures:
            told = failure.reason.removeprefix(f"{failure.name}: ")  # most reasons begin with the name
            err.print(f"[red]not read:[/red] {escape(f'{failure.name}: {told}')}", highlight=False)
        if more := self.failed - len(self._failures):
            where = f"in {failures}" if failures else "not shown: --failures FILE holds all"
            err.print(f"{more} more could not be read, {where}", highlight=False, markup=False)


def _faces_table(labels: Sequence[str]) -> Table:
    # A long file name folds, and boxes need a wide terminal: the figures stay whole on 80 columns.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption="probabilities in %")
    table.add_column("picture", overflow="fold")
    table.add_column("face")
    if out.width >= 100:
        table.add_column("box")
    table.add_column("emotion")
    for name in labels:
        table.add_column(escape(name), justify="right")
    for column in table.columns[1:]:
        column.no_wrap, column.min_width = True, len(str(column.header))
    return table


def _faces_rows(table: Table, result: Result, labels: Sequence[str]) -> None:
    name = escape(Path(result.frame.name).name)
    wide = len(table.columns) > 3 + len(labels)
    if not result.faces:
        table.add_row(name, "-", *[""] * wide, "no face found", *[""] * len(labels))
    for number, face in enumerate(result.faces, start=1):
        box = [" ".join(f"{v:.0f}" for v in face.box)] if wide else []
        emotion = escape(f"{face.emotion}?" if face.uncertain else face.emotion)
        table.add_row(name, str(number), *box, emotion, *(f"{100 * face.probabilities[k]:.0f}" for k in labels))


def main() -> None:
    """Entry point."""
    try:
        code = app(sys.argv[1:], result_action="return_value")
    except Error as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        code = 2
    except ModuleNotFoundError as error:
        train = ("torch", "kornia", "captum", "lightning_fabric", "yaml", "onnx", "safetensors")
        serve = ("fastapi", "starlette", "pydantic", "uvicorn", "python_multipart", "websockets", "prometheus_client")
        extra = "train" if error.name in train else "serve" if error.name in serve else "report"
        advice = escape(f"this command needs {error.name}: pip install 'mien[{extra}]'")
        err.print(f"[red]error:[/red] {advice}", highlight=False)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
