"""Write results: JSON lines, CSV, Parquet, failures, annotated videos and images, face crops.

A file is written under a draft's name and renamed when it is complete (see mien.media.atomic). Drafts can be read after
a crash or kill -9:
    Jsonl, Csv, Failures: `<name>.mien.part` holds every result.
    Parquet: `<name>.mien.part/` is a folder of Parquet files, which readers take as one table; the last seconds are
        missing.
    Video: `<name>.mien.part<suffix>` plays up to about the last second.
The next run replaces an old draft; Jsonl can also resume it. Sinks for a run are given to `MultiSink` together with the
run's inputs, so that none replaces an input.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.sinks.crops import Crops
    from mien.sinks.csv import Csv
    from mien.sinks.failures import Failures
    from mien.sinks.images import AnnotatedImage, Images
    from mien.sinks.jsonl import Jsonl
    from mien.sinks.multi import MultiSink
    from mien.sinks.parquet import Parquet
    from mien.sinks.timeline import Timeline
    from mien.sinks.video import Video

__all__ = ["AnnotatedImage", "Crops", "Csv", "Failures", "Images", "Jsonl", "MultiSink", "Parquet", "Timeline", "Video"]

_MODULES = {"AnnotatedImage": "images", "MultiSink": "multi"}


def __getattr__(name: str) -> Any:
    """Import on first use: only `Video` needs PyAV, which takes a tenth of the start of `mien predict`."""
    if name in __all__:
        return getattr(import_module(f"mien.sinks.{_MODULES.get(name, name.lower())}"), name)
    raise AttributeError(f"module 'mien.sinks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
