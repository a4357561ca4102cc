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
