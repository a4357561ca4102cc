"""mien: finds faces in pictures and says how each looks, with probabilities.

>>> import mien
>>> pipeline = mien.load()
>>> [face.emotion for face in pipeline("photo.jpg").faces]  # doctest: +SKIP
['happy']
"""

from typing import TYPE_CHECKING, Any

from mien.types import (
    EMOTIONS,
    ConfigError,
    DataError,
    Error,
    Face,
    Failure,
    Frame,
    ModelError,
    Result,
    SourceError,
)

if TYPE_CHECKING:
    from mien.pipeline import Pipeline, load

__version__ = "0.1.0"

__all__ = [
    "EMOTIONS",
    "ConfigError",
    "DataError",
    "Error",
    "Face",
    "Failure",
    "Frame",
    "ModelError",
    "Pipeline",
    "Result",
    "SourceError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import the pipeline when it is first asked for: `mien doctor` must start where OpenCV does not."""
    if name in ("Pipeline", "load"):
        from mien import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")
