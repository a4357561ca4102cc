"""The guided recording of `mien calibrate`: asks for one emotion after the other and keeps what the model says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mien.calibrate import Take
from mien.draw import Overlay
from mien.pipeline import Pipeline
from mien.session import Source, View
from mien.types import EMOTIONS7, ConfigError, DataError, Failure, Floats, Frame, Image, Result

ROUNDS = 2
"""How often each emotion is asked for. Frames of one pose are alike: what a fit brings is seen only in another pose."""

_ADJECTIVES = {"surprise": "surprised", "disgust": "disgusted", "fear": "afraid"}
_FIRST, _NEXT = 5.0, 2.0  # s, to get ready for the first prompt and for each other one
_TURN = 0.03  # s, for which a window waits for a frame before it looks at its keys again


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request; times are in seconds from the first frame.

    Attributes:
        emotion: one of the model's labels.
        round: from 0.
        start: when its recording starts.
        end: when it ends.
    """

    emotion: str
    round: int
    start: float
    end: float

    @property
    def words(self) -> str:
        """What the person reads."""
        return f"look {_ADJECTIVES.get(self.emotion, self.emotion)}"


def prompts(labels: Sequence[str], seconds: float) -> list[Prompt]:
    """All requests in the order of time: neutral, from which a face is at rest, before the others, in each round."""
    known = [name for name in reversed(EMOTIONS7) if name in labels]
    order = known + [name for name in labels if name not in known]
    made: list[Prompt] = []
    for number in range(ROUNDS):
        for emotion in order:
            start = made[-1].end + _NEXT if made else _FIRST
            made.append(Prompt(emotion, number, start, start + seconds))
    return made


class Guide:
    """Leads one person through the prompts; the clock is that of the frames.

    The window shows where the face is and not what the model says of it: else people would pose for the model.

    Attributes:
        prompts: what is asked for.
        crowded: number of recorded frames with more than one face, of which the largest one counts.
    """

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        seconds: float = 4.0,
        view: View | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            source: what to look at; it stays open.
            pipeline: what looks at the frames.
            seconds: for which each prompt is recorded.
            view: a window, or None.
            tell: called with each message to the user.

        Raises:
            ConfigError: `seconds` is not 2 to 60.
        """
        if not (math.isfinite(seconds) and 2 <= seconds <= 60):
            raise ConfigError(f"{seconds:g} seconds for each prompt; give 2 to 60")
        self.prompts = prompts(pipeline.classifier.labels, seconds)
        self.crowded = 0
        self._source, self._pipeline, self._view, self._tell = source, pipeline, view, tell
        self._overlay = Overlay()
        self._rows: list[list[Floats]] = [[] for _ in self.prompts]  # of each prompt, (C,) a frame with a face
        self._frames = [0] * len(self.prompts)
        self._said = ""

    def run(self) -> list[Take] | None:
        """Ask for everything.

        Returns:
            What the model said, a take a prompt; None when q, Esc or the window's cross was pressed.

        Raises:
            DataError: the source ended before the last prompt did.
        """
        began: float | None = None
        while True:
            if self._view and {"q", "escape"} & set(self._view.keys()):
                return None
            item = self._source.get(_TURN if self._view else 0.5)
            if isinstance(item, Failure):
                self._say(item.reason)
            elif item is not None:
                began = item.time if began is None else began
                if item.time - began >= self.prompts[-1].end:
                    return self._takes()
                self._take(item, item.time - began)
            elif self._source.ended:
                raise DataError(
                    f"{self._source.name}: ended before the last prompt; {self.prompts[-1].end:.0f} s are needed"
                )

    def _take(self, frame: Frame, now: float) -> None:
        """One frame: before its prompt starts it is only shown."""
        at = next(k for k, prompt in enumerate(self.prompts) if now < prompt.end)
        prompt, which = self.prompts[at], f"{at + 1} of {len(self.prompts)}"
        result = self._pipeline.process(frame)
        recording = now >= prompt.start
        if recording:
            self._frames[at] += 1
            self.crowded += len(result.faces) > 1
            if result.faces:
                face = result.faces[0]
                row = [face.probabilities[label] for label in self._pipeline.classifier.labels]
                self._rows[at].append(np.array(row, np.float32))
            self._say(f"{which}: {prompt.words}, now, for {prompt.end - prompt.start:g} s")
        else:
            self._say(f"{which}: {prompt.words}, get ready")
        if self._view:
            left = math.ceil((prompt.end if recording else prompt.start) - now)
            count = f"hold it for {left} s" if recording else f"starts in {left} s"
            self._view.show(self._picture(result), [which, prompt.words, count, "q  quit"])

    def _picture(self, result: Result) -> Image:
        """The frame with outlines alone."""
        bare = tuple(replace(face, probabilities={}) for face in result.faces)
        return self._overlay(replace(result, faces=bare))

    def _takes(self) -> list[Take]:
        classes = len(self._pipeline.classifier.labels)
        return [
            Take(p.emotion, p.round, p.end - p.start, frames, np.array(rows, np.float32).reshape(-1, classes))
            for p, frames, rows in zip(self.prompts, self._frames, self._rows, strict=True)
        ]

    def _say(self, message: str) -> None:
        """Once each."""
        if self._tell and message != self._said:
            self._tell(message)
        self._said = message
