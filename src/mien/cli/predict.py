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
from mien.cli import options
from mien.cli.console import above, count, echo, err, progress, screen_for, start, warn
from mien.cli.names import short_names
from mien.cli.profile import with_profile
from mien.cli.tables import faces_table, result_line
from mien.cli.tally import Tally
from mien.errors import ConfigError
from mien.media.paths import IMAGE_SUFFIXES, display
from mien.types import Face, Failure, Result

if TYPE_CHECKING:
    from mien.draw import Style
    from mien.media.output_paths import OutputPaths

_SHOWN = 200  # images and failures on a terminal: the output must not grow with the number of images


def predict(
    sources: Annotated[list[str], Parameter(negative=())],
    *,
    detector: options.Detector = "yunet",
    model: options.Model = None,
    min_face: options.MinFace = None,
    min_score: options.MinScore = None,
    quick_search: options.QuickSearch = False,
    profile: options.Profile = None,
    save: options.Save = None,
    jsonl: options.JsonLines = None,
    csv: options.CsvTable = None,
    parquet: options.ParquetTable = None,
    crops: options.CropsFolder = None,
    failures: options.FailuresFile = None,
    resume: options.Resume = False,
    retry: Annotated[bool, options.flag("With --resume: retry the images that failed earlier.")] = False,
    style: options.OverlayStyle = "panels",
    quiet: options.Quiet = False,
) -> int:
    """Detect faces in images and classify their expressions.

    `--resume` skips the images that the JSON lines already hold, from a stopped or finished run, and appends the
    others. Name the same images in the same way.

    Args:
        sources: Images, folders or globs.
    """
    import cv2

    from mien import runner
    from mien.media.output_paths import OutputPaths
    from mien.media.paths import expand_images, skipped_line
    from mien.sinks import MultiSink

    clock = start(quiet)
    if resume and (csv or parquet or not jsonl):
        raise ConfigError("--resume continues JSON lines: give --jsonl FILE, and leave out --csv and --parquet")
    if retry and not resume:
        raise ConfigError("--retry retries the failures of an earlier run: give --resume with it")
    other: Counter[str] = Counter()
    images = expand_images(sources, other)
    paths = [image for image in images if isinstance(image, Path)]
    outputs = OutputPaths([*paths, model, profile])
    again = _Names(image.name if isinstance(image, Failure) else str(image) for image in images) if retry else ()
    wanted = _Sinks(outputs, paths, save, jsonl, csv, parquet, crops, failures, resume, again, style)
    screen = screen_for(jsonl, csv, failures)
    threads = None
    if len(images) > 1:  # images run in parallel: more threads for each would compete
        threads = 1
        cv2.setNumThreads(-1 if detector == "haar" else 1)
    elif detector == "yunet" and min_face is None:
        threads = 1  # for one search and one call of the classifier, more threads take longer to start than they save
    pipeline = mien.load(model=model, detector=detector, min_face=min_face, threads=threads, min_score=min_score)
    pipeline = with_profile(pipeline, profile)
    with ExitStack() as stack:
        sinks, done = wanted.open(stack, pipeline.classifier.labels)
        bar = stack.enter_context(progress(len(images) > 3))
        shown = _Shown(pipeline.classifier.labels, above(bar, screen))
        sink = MultiSink(sinks)
        for name, reason in done.items():
            if reason:
                shown.add(Failure(name, reason))
        before = sum(str(path) in done for path in paths)
        task = bar.add_task("images", total=len(images), completed=before)
        found = runner.images(images, pipeline, skip=done, quick_search=quick_search, keep_pixels=save is not None)
        for number, item in enumerate(found, start=before + 1):
            shown.add(item)
            sink.put(item)
            bar.update(task, completed=number, total=max(number, len(images)))  # a TIFF file may hold several images
    shown.print(screen, jsonl or csv or parquet, failures)
    if done:
        echo(f"skipped {count(len(done), 'image')} done before", screen)
    if save:
        echo(f"annotated images are in {save}", screen)
    if line := skipped_line(other):
        warn(line)
    clock.summary(*shown.tally.parts(), screen=screen)
    return 1 if shown.tally.failed else 0


class _Sinks:
    """The sinks of `predict`; all paths are checked at once, before the model is loaded."""

    def __init__(
        self,
        outputs: OutputPaths,
        paths: Sequence[Path],
        save: Path | None,
        jsonl: Path | None,
        csv: Path | None,
        parquet: Path | None,
        crops: Path | None,
        failures: Path | None,
        resume: bool,
        again: Container[str],
        style: Style,
    ) -> None:
        from functools import partial

        from mien import sinks

        self._lines = None
        if jsonl:
            self._lines = sinks.Jsonl(sinks.Jsonl.ask(outputs, jsonl), resume, again)
        self._csv = sinks.Csv.ask(outputs, csv) if csv else None
        self._parquet = sinks.Parquet.ask(outputs, parquet) if parquet else None
        self._failures = sinks.Failures(sinks.Failures.ask(outputs, failures)) if failures else None
        self._images: list[Any] = []
        if save:
            from mien.draw import draw

            paint = partial(draw, style=style)
        if save and len(paths) == 1 and save.suffix.lower() in IMAGE_SUFFIXES and not save.is_dir():
            self._images.append(sinks.AnnotatedImage(sinks.AnnotatedImage.ask(outputs, save), paint))
        elif save:
            self._images.append(sinks.Images(sinks.Images.ask(outputs, save), paint))
        if crops:
            self._images.append(sinks.Crops(sinks.Crops.ask(outputs, crops)))

    def open(self, stack: ExitStack, labels: Sequence[str]) -> tuple[list[Any], dict[str, str]]:
        """Return the sinks, and what an earlier run has done: name -> reason of a failure, or ""."""
        from mien import sinks

        tables: list[Any] = [sinks.Csv(self._csv, labels)] if self._csv else []
        tables += [sinks.Parquet(self._parquet, labels)] if self._parquet else []
        others = [*self._images, *tables, *filter(None, [self._failures])]
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
    """What the terminal shows: the first images in a table at the end, without a terminal each in a line at once."""

    def __init__(self, labels: Sequence[str], screen: Console) -> None:
        self.tally = Tally()
        self._labels, self._screen = labels, screen
        self._images: list[tuple[str, tuple[Face, ...]]] = []
        self._failures: list[Failure] = []

    def add(self, item: Result | Failure) -> None:
        if isinstance(item, Failure):
            self.tally.fail(item)
            if not err.is_terminal:
                _warn(item)
            elif len(self._failures) < _SHOWN:
                self._failures.append(item)
            return
        self.tally.write(item)
        if not self._screen.is_terminal:
            echo(result_line(item), self._screen)
        elif len(self._images) < _SHOWN:
            self._images.append((item.frame.name, tuple(item.faces)))

    def print(self, screen: Console, table: Path | None, failures: Path | None) -> None:
        """Print the images, and the failures on stderr; `table` and `failures` are the files that hold all of them."""
        if self._images:
            more = self.tally.results - len(self._images)
            rest = f"in {table}" if table else "not shown; --jsonl FILE or --csv FILE lists all"
            names = short_names([display(name) for name, _ in self._images])
            images = list(zip(names, (faces for _, faces in self._images), strict=True))
            caption = f"; {count(more, 'more image')} {'is' if more == 1 else 'are'} {rest}" if more else ""
            faces_table(images, self._labels, caption).print(screen)
        for failure in self._failures:
            _warn(failure)
        if err.is_terminal and (more := self.tally.failed - len(self._failures)):
            where = f"in {failures}" if failures else "not shown; --failures FILE lists all"
            warn(f"{more:,} more could not be read, {where}")


def _warn(failure: Failure) -> None:
    name = display(failure.name)
    reason = display(failure.reason.removeprefix(f"{failure.name}: ")).removeprefix(f"{name}: ")
    warn(f"{name}: {reason}", "not read:", "red")
