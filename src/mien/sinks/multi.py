"""Several sinks as one."""

from __future__ import annotations

from collections.abc import Iterable

from mien.media.output_paths import OutputPaths
from mien.sinks.base import FileSink, FolderSink
from mien.types import Failure, Result, Sink


class MultiSink:
    """A sink that passes everything on to others, in order.

    `outputs` knows the inputs of the run; the others are started with it, so that none replaces an input.
    """

    def __init__(self, sinks: Iterable[Sink], outputs: OutputPaths | None = None) -> None:
        self._sinks = tuple(sinks)
        for sink in self._sinks:
            if isinstance(sink, FileSink | FolderSink):
                sink.start(outputs)

    def put(self, item: Result | Failure) -> None:
        """Write a result or a failure."""
        if isinstance(item, Failure):
            self.fail(item)
        else:
            self.write(item)

    def write(self, result: Result) -> None:
        for sink in self._sinks:
            sink.write(result)

    def fail(self, failure: Failure) -> None:
        for sink in self._sinks:
            sink.fail(failure)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
