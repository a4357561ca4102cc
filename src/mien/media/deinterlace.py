"""Deinterlacer: whole frames from the two fields of interlaced video."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Generic, TypeVar

from av.filter import Graph, filters_available

T = TypeVar("T")

_FILTER = next((name for name in ("bwdif", "yadif") if name in filters_available), None)
_SMALLEST = 4  # pixels, the shortest side that the filters take
_TICK = Fraction(1, 25)  # any time base will do: frames are numbered, not timed


class Deinterlacer(Generic[T]):
    """Passes progressive frames on and interpolates the missing lines of interlaced ones.

    Each frame is returned once, with its note. The filter looks one frame ahead: from the first interlaced frame on, a
    frame is returned when the next one is pushed.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._kind: tuple[int, int, str] = (0, 0, "")
        self._inside: dict[int, tuple[T, int, int]] = {}
        self._count = 0

    def push(self, frame: Any, note: T) -> list[tuple[Any, T]]:
        """Take a frame and a note; return the frames that are ready, in order, with their notes."""
        kind = (frame.width, frame.height, frame.format.name)
        ready = self.flush() if self._graph and kind != self._kind else []
        if self._graph is None:
            if not frame.interlaced_frame or _FILTER is None or min(kind[:2]) < _SMALLEST:
                return [*ready, (frame, note)]
            self._graph, self._kind = _graph(frame), kind
        self._inside[self._count] = (note, frame.colorspace, frame.color_range)
        frame.pts, frame.time_base = self._count, _TICK
        self._count += 1
        self._graph.push(frame)
        return ready + self._pull()

    def flush(self) -> list[tuple[Any, T]]:
        """Return the remaining frames."""
        if self._graph is None:
            return []
        self._graph.push(None)
        ready = self._pull()
        self._graph = None
        self._inside.clear()
        return ready

    def _pull(self) -> list[tuple[Any, T]]:
        ready: list[tuple[Any, T]] = []
        assert self._graph is not None
        while True:
            try:
                frame: Any = self._graph.vpull()
            except (BlockingIOError, EOFError):
                return ready
            number = round(frame.pts * frame.time_base / _TICK)
            note, frame.colorspace, frame.color_range = self._inside.pop(number)
            ready.append((frame, note))


def _graph(frame: Any) -> Graph:
    assert _FILTER is not None
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_TICK)
    # one frame a frame, field order as the frame declares it, and only frames declared interlaced
    lines = graph.add(_FILTER, "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, lines, graph.add("buffersink"))
    graph.configure()
    return graph
