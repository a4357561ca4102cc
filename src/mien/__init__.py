"""mien: detects faces in images and classifies their expression, with calibrated probabilities.

>>> import mien
>>> pipeline = mien.load()
>>> [face.emotion for face in pipeline("photo.jpg").faces]  # doctest: +SKIP
['happy']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mien.errors import ConfigError, DataError, Error, ModelError, OutputError, SourceError
from mien.types import EMOTIONS, Face, Failure, Frame, Result, Results

if TYPE_CHECKING:
    from mien import data, draw, evaluation, serve, sinks, train
    from mien.pipeline import Pipeline, load
    from mien.runner import Summary, predict

__version__ = "0.2.0"

__all__ = [
    "EMOTIONS", "ConfigError", "DataError", "Error", "Face", "Failure", "Frame", "ModelError", "OutputError",
    "Pipeline", "Result", "Results", "SourceError", "Summary", "__version__", "data", "draw", "evaluation", "load",
    "predict", "serve", "sinks", "train",
]  # fmt: skip

_MODULES = {"Pipeline": "pipeline", "Summary": "runner", "load": "pipeline", "predict": "runner"}


def __getattr__(name: str) -> Any:
    """Import on first use: `import mien` must work without OpenCV, so that `mien doctor` can report it."""
    if name in _MODULES:
        return getattr(import_module(f"mien.{_MODULES[name]}"), name)
    if name in __all__:
        return import_module(f"mien.{name}")
    raise AttributeError(f"module 'mien' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
