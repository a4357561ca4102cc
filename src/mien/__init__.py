"""mien: finds faces in pictures and says how each looks, with probabilities.

>>> import mien
>>> pipeline = mien.load()
>>> [face.emotion for face in pipeline("photo.jpg").faces]  # doctest: +SKIP
['happy']
"""

from mien.pipeline import Pipeline, load
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
