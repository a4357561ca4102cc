"""What a detector, classifier, sink, source or window must offer; none needs a base class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mien.types.face import Face
    from mien.types.frame import Failure, Frame
    from mien.types.result import Result

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Pixels(Protocol):
    """An image from which small or gray parts are made quickly: a frame of a video, or a large JPEG."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        ...

    def bgr(self) -> Image:
        """Return the whole image, uint8 BGR (H, W, 3)."""
        ...

    def small(self, width: int, height: int) -> Image:
        """Return the image scaled to a size in pixels, uint8 BGR."""
        ...

    def gray(self, box: tuple[int, int, int, int] | None = None, halvings: int = 0) -> Image:
        """Return the part (x1, y1, x2, y2) of the image, uint8 gray (H, W), each side halved that often."""
        ...

    def thumbnail(self, width: int, height: int) -> Image:
        """Return brightness and two colour planes around 128, uint8 (3, height, width), coarse and maybe turned."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Detects faces. Safe to call from several threads."""

    name: str

    def __call__(self, image: Image) -> list[Face]:
        """Return the faces in a uint8 BGR image (H, W, 3), largest first."""


@runtime_checkable
class ScaledDetector(Detector, Protocol):
    """A detector that works on a downscaled image, and is faster for large faces."""

    def find(self, pixels: Image | Pixels, min_face: float | None = None) -> list[Face]:
        """Return the faces of at least `min_face` pixels, or of any size, largest first."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """Classifies crops. Safe to call from several threads."""

    @property
    def labels(self) -> Sequence[str]:
        """Class names in column order."""

    @property
    def confidence_threshold(self) -> float:
        """Top probability below which an answer is uncertain, 0..1; above 1 when all answers are."""

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify uint8 gray crops (N, 48, 48) -> float32 (N, C); rows sum to 1."""


class Sink(Protocol):
    """Writes results one by one.

    A sink that never looks at `result.frame.image` may say so with `reads_pixels = False`. `mien.runner.video` then
    keeps no pixels while it waits for the frames that follow, and `mien.predict` decodes large JPEG files in part.
    """

    def write(self, result: Result) -> None:
        """Add one result."""

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""

    def close(self) -> None:
        """Finish the output; safe to call twice."""


@runtime_checkable
class FrameSource(Protocol):
    """A live source: `Camera` or `RealTimePlayback`.

    `kind` is camera, stream or file; `skipped` counts the frames that were not read in time.
    """

    name: str
    kind: str
    ended: bool
    skipped: int

    @property
    def rate(self) -> float:
        """Frames a second."""

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        """Return the newest frame or a failure; None when there is none within `timeout` seconds."""

    def close(self) -> None:
        """Release the camera or file."""


class View(Protocol):
    """A window."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None before the first image."""

    def show(self, image: Image, lines: Sequence[str] = ()) -> None:
        """Show a uint8 BGR image (H, W, 3) with lines of text."""

    def keys(self) -> list[str]:
        """Return the keys pressed since the last call, such as "q", "space" or "escape"."""

    def toggle_full_screen(self) -> None:
        """Fill the screen, or return to a window."""
