"""The guided recording of `mien personalize`: asks for one emotion after the other and keeps the predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mien.draw import Overlay
from mien.errors import ConfigError, DataError
from mien.personal.fit import Take
from mien.pipeline import Pipeline
from mien.types import EMOTIONS7, Failure, Floats, Frame, FrameSource, View

ROUNDS = 2
"""How often each emotion is asked for. The frames of one pose are alike: only another pose shows what a fit brings."""

_ADJECTIVES = {"surprise": "surprised", "disgust": "disgusted", "fear": "afraid"}
_FIRST, _NEXT = 5.0, 2.0  # s, to get ready for the first prompt and for the next ones
_WAIT = 0.03  # s, for a frame before the keys of the window are read again


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request to show an emotion; recorded from `start` to `end`, seconds from the first frame; rounds from 0."""

    emotion: str
    round: int
    start: float
    end: float

    @property
    def text(self) -> str:
        return f"look {_ADJECTIVES.get(self.emotion, self.emotion)}"


def prompts(labels: Sequence[str], seconds: float) -> list[Prompt]:
    """Return the prompts of all rounds in the order of time; neutral comes first, while the face is still at rest."""
    known = [name for name in reversed(EMOTIONS7) if name in labels]
    order = known + [name for name in labels if name not in known]
    plan: list[Prompt] = []
    for number in range(ROUNDS):
        for emotion in order:
            start = plan[-1].end + _NEXT if plan else _FIRST
            plan.append(Prompt(emotion, number, start, start + seconds))
    return plan


class Recorder:
    """Leads one person through the prompts; the clock is that of the frames.

    The window shows where the face is and not what the model predicts: else people would pose for the model.

    Attributes:
        prompts: in the order of time.
        crowded: number of recorded frames with more than one face, of which the largest one counts.
    """

    def __init__(
        self,
        source: FrameSource,
        pipeline: Pipeline,
        seconds: float = 4.0,
        view: View | None = None,
        on_message: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Prepare to record each prompt for 2 to 60 `seconds`; the source stays open."""
        if not (math.isfinite(seconds) and 2 <= seconds <= 60):
            raise ConfigError(f"{seconds:g} seconds for each prompt; give 2 to 60")
        self._labels = tuple(pipeline.classifier.labels)
        self.prompts = prompts(self._labels, seconds)
        self.crowded = 0
        self._source, self._pipeline, self._view, self._on_message = source, pipeline, view, on_message
        self._overlay = Overlay()
        self._rows: list[list[Floats]] = [[] for _ in self.prompts]  # of each prompt, (C,) a frame with a face
        self._frames = [0] * len(self.prompts)
        self._message = ""

    def run(self) -> list[Take] | None:
        """Record a take for each prompt; None when q, Esc or the window's close button was pressed."""
        start: float | None = None
        while True:
            if self._view and {"q", "escape"} & set(self._view.keys()):
                return None
            item = self._source.get(_WAIT if self._view else 0.5)
            if isinstance(item, Failure):
                self._show_message(item.reason)
            elif item is not None:
                start = item.time if start is None else start
                if item.time - start >= self.prompts[-1].end:
                    return self._takes()
                self._record(item, item.time - start)
            elif self._source.ended:
                raise DataError(
                    f"{self._source.name}: ended before the last prompt; {self.prompts[-1].end:.0f} s are needed"
                )

    def _record(self, frame: Frame, now: float) -> None:
        """Process one frame; before its prompt starts, it is only shown."""
        index = next(k for k, prompt in enumerate(self.prompts) if now < prompt.end)
        prompt, number = self.prompts[index], f"{index + 1} of {len(self.prompts)}"
        result = self._pipeline.process(frame)
        recording = now >= prompt.start
        if recording:
            self._frames[index] += 1
            self.crowded += len(result.faces) > 1
            for face in result.faces[:1]:
                self._rows[index].append(np.array([face.probabilities[label] for label in self._labels], np.float32))
            self._show_message(f"{number}: {prompt.text}, now, for {prompt.end - prompt.start:g} s")
        else:
            self._show_message(f"{number}: {prompt.text}, get ready")
        if self._view:
            left = math.ceil((prompt.end if recording else prompt.start) - now)
            countdown = f"hold it for {left} s" if recording else f"starts in {left} s"
            outlined = replace(result, faces=tuple(replace(face, probabilities={}) for face in result.faces))
            self._view.show(self._overlay(outlined), [number, prompt.text, countdown, "q  quit"])

    def _takes(self) -> list[Take]:
        shape = (-1, len(self._labels))
        return [
            Take(p.emotion, p.round, p.end - p.start, frames, np.array(rows, np.float32).reshape(shape))
            for p, frames, rows in zip(self.prompts, self._frames, self._rows, strict=True)
        ]

    def _show_message(self, message: str) -> None:
        if message != self._message:
            self._on_message(message)
        self._message = message
