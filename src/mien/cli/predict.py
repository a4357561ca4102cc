"""The command `predict`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

import mien
from mien.cli.console import echo, err, literal, progress, screen_for, warn
from mien.cli.options import Detector, Flag, MinFace, MinScore, Model, OverlayStyle
from mien.cli.tables import faces_rows, faces_table
from mien.errors import ConfigError
from mien.media.paths import IMAGE_SUFFIXES, display
from mien.types import Failure, Result

if TYPE_CHECKING:
    from mien.draw import Style
    from mien.media.output_paths import OutputPaths

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
    min_score: MinScore = None,
    style: OverlayStyle = "panels",
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

    from mien import runner
    from mien.media.output_paths import OutputPaths
    from mien.media.paths import expand_images, skipped_line
    from mien.sinks import MultiSink

    if resume and (csv or not json):
        raise ConfigError("--resume continues JSON lines: give --jsonl FILE, and leave out --csv")
    if retry and not resume:
        raise ConfigError("--retry retries the failures of an earlier run: give --resume with it")
    other: Counter[str] = Counter()
    images = expand_images(sources, other)
    paths = [image for image in images if isinstance(image, Path)]
    outputs = OutputPaths([*paths, model])
    again = _Names(image.name if isinstance(image, Failure) else str(image) for image in images) if retry else ()
    wanted = _Sinks(outputs, paths, save, json, csv, crops, failures, resume, again, style)
    screen = screen_for(json, csv, failures)
    threads = None
    if len(images) > 1:  # images run in parallel: more threads for each would compete
        threads = 1
        cv2.setNumThreads(-1 if detector == "haar" else 1)
    pipeline = mien.load(model=model, detector=detector, min_face=min_face, threads=threads, min_score=min_score)
    shown = _Shown(pipeline.classifier.labels)
    with ExitStack() as stack:
        sinks, done = wanted.open(stack, pipeline.classifier.labels)
        sink = MultiSink(sinks)
        for name, reason in done.items():
            if reason:
                shown.add(Failure(name, reason))
        bar = stack.enter_context(progress(len(images) > 3))
        before = sum(str(path) in done for path in paths)
        task = bar.add_task("images", total=len(images), completed=before)
        for number, item in enumerate(runner.images(images, pipeline, skip=done), start=before + 1):
            shown.add(item)
            sink.put(item)
            bar.update(task, completed=number, total=max(number, len(images)))  # a TIFF file may hold several images
    shown.print(screen, json or csv, failures)
    if done:
        count = "1 image" if len(done) == 1 else f"{len(done):,} images"
        echo(f"skipped {count} done before", screen)
    if save:
        echo(f"annotated images are in {save}", screen)
    if line := skipped_line(other):
        warn(line)
    return 1 if shown.failed else 0


class _Sinks:
    """The sinks of `predict`; all paths are checked at once, before the model is loaded."""

    def __init__(
        self,
        outputs: OutputPaths,
        paths: Sequence[Path],
        save: Path | None,
        json: Path | None,
        csv: Path | None,
        crops: Path | None,
        failures: Path | None,
        resume: bool,
        again: Container[str],
        style: Style,
    ) -> None:
        from functools import partial

        from mien import sinks
        from mien.draw import draw

        self._lines = None
        if json:
            self._lines = sinks.Jsonl(sinks.Jsonl.ask(outputs, json), resume, again)
        self._csv = sinks.Csv.ask(outputs, csv) if csv else None
        self._failures = sinks.Failures(sinks.Failures.ask(outputs, failures)) if failures else None
        self._images: list[Any] = []
        paint = partial(draw, style=style)
        if save and len(paths) == 1 and save.suffix.lower() in IMAGE_SUFFIXES and not save.is_dir():
            self._images.append(
                sinks.AnnotatedImage(sinks.AnnotatedImage.ask(outputs, save), partial(draw, style=style))
            )
        elif save:
            self._images.append(sinks.Images(sinks.Images.ask(outputs, save), paint))
        if crops:
            self._images.append(sinks.Crops(sinks.Crops.ask(outputs, crops)))

    def open(self, stack: ExitStack, labels: Sequence[str]) -> tuple[list[Any], dict[str, str]]:
        """Return the sinks, and what an earlier run has done: name -> reason of a failure, or ""."""
        from mien import sinks

        csv = [sinks.Csv(self._csv, labels)] if self._csv else []
        others = [*self._images, *csv, *filter(None, [self._failures])]
        for sink in [*filter(None, [self._lines]), *others]:
            stack.enter_context(sink)
        done = self._lines.done if self._lines else {}  # first: what a killed run left is read, not replaced
        for name, reason in done.items():
            for folder in self._images:
                if not reason and isinstance(folder, sinks.Images | sinks.Crops):
                    folder.reserve(name)
            if reason and self._failures:
                self._failures.fail(Failure(name, reason))
        return [*others, *filter(None, [self._lines])], done  # the line comes last: an image that has one is finished


class _Names(frozenset[str]):
    """Names of files; the pages of a TIFF file belong to it."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or super().__contains__(str(name).rpartition(", page ")[0])


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

    def print(self, screen: Console, table: Path | None, failures: Path | None) -> None:
        """Print the rows, and the failures on stderr; `table` and `failures` are the files that hold all of them."""
        if self._more:
            rest = f"in {table}" if table else "not shown; --json FILE or --csv FILE lists all"
            self._table.caption = literal(f"probabilities in %; {self._more} more images are {rest}")
        if self._table.row_count:
            screen.print(self._table)
        for failure in self._failures:
            name = display(failure.name)
            reason = display(failure.reason.removeprefix(f"{failure.name}: ")).removeprefix(f"{name}: ")
            err.print(f"[red]not read:[/red] {literal(f'{name}: {reason}')}", highlight=False)
        if more := self.failed - len(self._failures):
            where = f"in {failures}" if failures else "not shown; --failures FILE lists all"
            warn(f"{more} more could not be read, {where}")
