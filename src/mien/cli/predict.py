"""The command `predict`."""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

import mien
from mien.cli.console import echo, err, out, progress, warn
from mien.cli.options import Detector, Flag, MinFace, Model
from mien.cli.tables import faces_rows, faces_table
from mien.errors import ConfigError
from mien.types import Failure, Result

_SHOWN = 200  # rows and failures on the terminal: the output must not grow with the number of images


def predict(
    sources: Annotated[list[str], Parameter(negative=())],
    *,
    detector: Detector = "yunet",
    model: Model = None,
    save: Path | None = None,
    json: Annotated[Path | None, Parameter(name=["--json", "--jsonl"])] = None,
    csv: Path | None = None,
    crops: Path | None = None,
    failures: Path | None = None,
    resume: Flag = False,
    retry: Flag = False,
    min_face: MinFace = None,
) -> int:
    """Detect faces in images and classify their expressions.

    Args:
        sources: Images, folders or globs.
        save: Folder for annotated images.
        json: JSON lines, one an image; an image that cannot be read has its name and the reason as "error".
        csv: Table with one row a face.
        crops: Folder for the 48x48 crops that the network saw.
        failures: List of the images that could not be read, as JSON lines, or as a table if it ends in .csv.
        resume: Skip the images that the JSON lines already hold, from a stopped or finished run, and append the others.
            Name the same images in the same way. Lists images that failed earlier; `--retry` retries them.
        retry: With --resume: retry the images that failed earlier.
    """
    import cv2

    from mien import runner, sinks
    from mien.media.output_paths import OutputPaths
    from mien.media.paths import expand_images

    if resume and (csv or not json):
        raise ConfigError("--resume continues JSON lines: give --jsonl FILE, and leave out --csv")
    if retry and not resume:
        raise ConfigError("--retry retries the failures of an earlier run: give --resume with it")
    paths = expand_images(sources)
    OutputPaths(paths).check(json, csv, failures)
    threads = None
    if len(paths) > 1:  # images run in parallel: more threads for each would compete
        threads = 1
        cv2.setNumThreads(-1 if detector == "haar" else 1)
    pipeline = mien.load(model=model, detector=detector, min_face=min_face, threads=threads)
    shown = _Shown(pipeline.classifier.labels)
    with ExitStack() as stack:
        made, done = _image_sinks(
            stack, pipeline.classifier.labels, save, json, csv, crops, failures, resume,
            {str(path) for path in paths} if retry else (),
        )  # fmt: skip
        for name, reason in done.items():
            if reason:
                shown.add(Failure(name, reason))
        bar = stack.enter_context(progress(len(paths) > 3))
        task = bar.add_task("images", total=len(paths), completed=sum(str(path) in done for path in paths))
        sink = sinks.MultiSink(made)
        for item in runner.images(paths, pipeline, skip=done):
            shown.add(item)
            sink.put(item)
            bar.advance(task)
    shown.print(json or csv, failures)
    if done:
        echo("skipped 1 image done before" if len(done) == 1 else f"skipped {len(done):,} images done before")
    if save:
        echo(f"annotated images are in {save}")
    return 1 if shown.failed else 0


def _image_sinks(
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
    """Return the sinks, and what an earlier run has done: name -> reason of a failure, or ""."""
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
    return [*made, *([lines] if lines else [])], done  # the line comes last: an image that has one is finished


class _Shown:
    """The first rows and failures for the terminal, and the number of the others."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.failed = 0
        self._labels = labels
        self._table = faces_table(labels)
        self._failures: list[Failure] = []
        self._more = 0  # images without a row

    def add(self, item: Result | Failure) -> None:
        if isinstance(item, Failure):
            self.failed += 1
            if len(self._failures) < _SHOWN:
                self._failures.append(item)
        elif self._table.row_count < _SHOWN:
            faces_rows(self._table, item, self._labels)
        else:
            self._more += 1

    def print(self, table: Path | None, failures: Path | None) -> None:
        """Print the rows on stdout and the failures on stderr; the arguments are the files that hold all of them."""
        if self._more:
            rest = f"in {table}" if table else "not shown; --json FILE or --csv FILE lists all"
            self._table.caption = escape(f"probabilities in %; {self._more} more images are {rest}")
        if self._table.row_count:
            out.print(self._table)
        for failure in self._failures:
            reason = failure.reason.removeprefix(f"{failure.name}: ")  # most reasons begin with the name
            err.print(f"[red]not read:[/red] {escape(f'{failure.name}: {reason}')}", highlight=False)
        if more := self.failed - len(self._failures):
            where = f"in {failures}" if failures else "not shown; --failures FILE lists all"
            warn(f"{more} more could not be read, {where}")
