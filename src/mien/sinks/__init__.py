"""Write results: JSON lines, CSV, Parquet, failures, annotated videos and images, face crops.

A file is written under a draft's name and renamed when it is complete. Drafts can be read after a crash or kill -9:
    Jsonl, Csv, Failures: `<name>.part` holds every result; each line is flushed before the next.
    Parquet: `<name>.part/` is a folder of Parquet files, which readers take as one table; the last seconds are missing.
    Video: `<name>.part` plays up to about the last second.
The next run replaces an old draft; Jsonl can also resume it.
"""

from mien.sinks.crops import Crops
from mien.sinks.csv import Csv
from mien.sinks.failures import Failures
from mien.sinks.images import Images
from mien.sinks.jsonl import Jsonl
from mien.sinks.multi import MultiSink
from mien.sinks.parquet import Parquet
from mien.sinks.timeline import Timeline
from mien.sinks.video import Video

__all__ = ["Crops", "Csv", "Failures", "Images", "Jsonl", "MultiSink", "Parquet", "Timeline", "Video"]
