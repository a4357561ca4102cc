"""The command `predict`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

import mien
from mien.cli.console import err, out, progress, warn
from mien.cli.tables import faces_rows, faces_table
from mien.errors import ConfigError
from mien.media.paths import display
from mien.types import Failure, Result

_SHOWN = 200  # rows of the table on the terminal, and failures: what is shown must not grow with the pictures


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

    from mien import runner, sinks
    from mien.media.output_paths import OutputPaths
    from mien.media.paths import expand_images, skipped_line

    if resume and (csv or not json):
        raise ConfigError("--resume goes on with JSON lines: give --jsonl FILE, and leave out --csv")
    if retry and not resume:
        raise ConfigError("--retry tries again what an earlier run could not read: give --resume with it")
    other: Counter[str] = Counter()
    images = expand_images(sources, other)
    paths = [image for image in images if isinstance(image, Path)]
    OutputPaths(paths).check(json, csv, failures)
    threads = None
    if len(images) > 1:  # they are looked at side by side, and more threads for each would stand in each other's way
        threads = 1
        cv2.setNumThreads(-1 if detector == "haar" else 1)
    pipeline = mien.load(model=model, detector=detector, min_face=min_face, threads=threads)
    shown = _Shown(pipeline.classifier.labels)
    with ExitStack() as stack:
        made, done = _image_sinks(
            stack, pipeline.classifier.labels, save, json, csv, crops, failures, resume,
            _Names(image.name if isinstance(image, Failure) else str(image) for image in images) if retry else (),
        )  # fmt: skip
        for name, reason in done.items():
            if reason:
                shown.add(Failure(name, reason))
        bar = stack.enter_context(progress(len(images) > 3))
        before = sum(str(path) in done for path in paths)
        task = bar.add_task("pictures", total=len(images), completed=before)
        sink = sinks.MultiSink(made)
        for number, item in enumerate(runner.images(images, pipeline, skip=done), start=before + 1):
            shown.add(item)
            sink.put(item)
            bar.update(task, completed=number, total=max(number, len(images)))  # a TIFF file may hold several images
    shown.print(json or csv, failures)
    if done:
        some = "1 picture was" if len(done) == 1 else f"{len(done):,} pictures were"
        out.print(f"{some} done before", highlight=False)
    if save:
        out.print(f"annotated pictures are in {save}", highlight=False, markup=False)
    if line := skipped_line(other):
        warn(line)
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


class _Names(frozenset[str]):
    """Names of files; the pages of a TIFF file belong to it."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or super().__contains__(str(name).rpartition(", page ")[0])


class _Shown:
    """What `predict` tells on the terminal: the first rows and failures, and how many more there are.

    Attributes:
        failed: number of failures.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.failed = 0
        self._labels = labels
        self._table = faces_table(labels)
        self._failures: list[Failure] = []
        self._more = 0  # pictures without a row

    def add(self, item: Result | Failure) -> None:
        """Take note of a picture."""
        if isinstance(item, Failure):
            self.failed += 1
            if len(self._failures) < _SHOWN:
                self._failures.append(item)
        elif self._table.row_count < _SHOWN:
            faces_rows(self._table, item, self._labels)
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
            name = display(failure.name)
            told = display(failure.reason.removeprefix(f"{failure.name}: ")).removeprefix(f"{name}: ")  # most begin so
            err.print(f"[red]not read:[/red] {escape(f'{name}: {told}')}", highlight=False)
        if more := self.failed - len(self._failures):
            where = f"in {failures}" if failures else "not shown: --failures FILE holds all"
            err.print(f"{more} more could not be read, {where}", highlight=False, markup=False)
