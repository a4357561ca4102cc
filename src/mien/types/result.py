"""Result: the faces of one frame; Results: those of several images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mien.types.face import Face
from mien.types.frame import Frame
from mien.types.protocols import Image

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The faces of one frame: iterate over it, index it, ask for its length. Without a face it is false.

    Results are equal when frames, faces and crops are. The hash leaves pixels and crops out. In a notebook a result
    shows its annotated image and a table.

    Attributes:
        frame: the frame itself.
        faces: largest first.
        crops: uint8 gray (N, 48, 48), the input of the network, in the order of `faces`.
        shot: number of the shot within a video, from 1, or None for an image.
    """

    frame: Frame
    faces: tuple[Face, ...] = ()
    crops: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 48, 48), np.uint8))
    shot: int | None = None

    @property
    def name(self) -> str:
        """Path or another name of the frame."""
        return self.frame.name

    @property
    def index(self) -> int:
        """Number of the frame in its source, from 0."""
        return self.frame.index

    @property
    def time(self) -> float:
        """Seconds from the start of the source; 0 for a still image."""
        return self.frame.time

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    @overload
    def __getitem__(self, number: int) -> Face: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[Face, ...]: ...

    def __getitem__(self, number: int | slice) -> Face | tuple[Face, ...]:
        return self.faces[number]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        same = self.faces == other.faces and self.shot == other.shot and self.frame == other.frame
        return same and bool(np.array_equal(self.crops, other.crops))

    def __hash__(self) -> int:
        return hash((self.frame, self.faces))

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.faces[:5])) + (f", and {len(self) - 5} more" if len(self) > 5 else "")
        height, width = self.frame.shape[:2]
        count = f"{len(self) or 'no'} face{'s' * (len(self) != 1)}"
        return f"Result({self.name!r}, {width} x {height}, {count}{': ' * bool(self)}{shown})"

    def plot(self, *, rgb: bool = False, inset: bool = False) -> Image:
        """Return the image with boxes and labels, a new uint8 BGR array (H, W, 3); RGB with `rgb`.

        With `inset` each panel shows the 48x48 crop that the network saw.
        """
        from mien import rendering

        return rendering.plot(self, rgb, inset)

    def save(self, path: str | Path, *, inset: bool = False) -> Path:
        """Write the annotated image to a .jpg, .png or .webp file, whole or not at all, and return its path.

        Raises:
            ConfigError: the path is the source image or has another suffix.
            OutputError: it cannot be written.
        """
        from mien import rendering

        return rendering.save(self, path, inset)

    def show(self) -> None:
        """Show the annotated image in the notebook, or else in the system's image viewer."""
        from mien import rendering

        rendering.show(self)

    def to_dict(self) -> dict[str, Any]:
        """Return rounded floats, strings and lists for `json.dumps`."""
        height, width = self.frame.shape[:2]
        return {
            "name": self.name,
            "index": self.index,
            "time": round(float(self.time), 6),
            "shot": self.shot,
            "width": int(width),
            "height": int(height),
            "faces": [face.to_dict() for face in self.faces],
        }

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as JSON text."""
        from mien import conversions

        return conversions.to_json(self, indent)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a pandas table with a row a face and the columns of `mien.sinks.Csv`; needs pandas."""
        from mien import conversions

        return conversions.to_pandas([self])

    def to_fer(self) -> list[dict[str, Any]]:
        """Return the format of the `fer` package: box as [x, y, width, height], `emotions` by name."""
        from mien import conversions

        return conversions.to_fer(self)

    def to_hf(self) -> list[list[dict[str, Any]]]:
        """Return the image-classification format of Hugging Face: per face a list of label and score, best first."""
        from mien import conversions

        return conversions.to_hf(self)

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`, or an object with the same attributes where supervision is not installed."""
        from mien import conversions

        return conversions.to_supervision(self)

    def _repr_png_(self) -> bytes:
        from mien import rendering

        return rendering.png(self)

    def _repr_html_(self) -> str:
        from mien import rendering

        return rendering.html(self)


class Results(list[Result]):
    """A list of results, in the order of the images; in a notebook it shows their annotated images."""

    def to_dict(self) -> list[dict[str, Any]]:
        """Return `Result.to_dict` of each."""
        return [result.to_dict() for result in self]

    def to_json(self, indent: int | None = None) -> str:
        """Return a JSON list."""
        from mien import conversions

        return conversions.to_json(self, indent)

    def to_pandas(self) -> pandas.DataFrame:
        """Return one table with a row a face of all images, see `Result.to_pandas`."""
        from mien import conversions

        return conversions.to_pandas(self)

    def __repr__(self) -> str:
        lines = [repr(result) for result in self[:20]] + [f"... and {len(self) - 20} more"] * (len(self) > 20)
        text = ",\n ".join(lines)
        return f"[{text}]"

    def _repr_html_(self) -> str:
        from mien import rendering

        return rendering.html_list(self)
