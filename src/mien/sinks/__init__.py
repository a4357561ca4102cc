"""Where results go: JSON lines, CSV, Parquet, failures, annotated video, drawn images, face crops.

Nothing half-written ever carries its final name: a file is written under a draft's name beside it and renamed when
whole. A draft can be read after a crash, kill -9 included:
    Jsonl, Csv, Failures: `<name>.part` holds every result (the system has each line before the next one is written);
    Parquet: `<name>.part/` is a folder of whole Parquet files, which readers take as one table, up to some seconds ago;
    Video: `<stem>.part.mp4` or `.mkv` plays, see mien.media.video_writer.
The next run into the same name replaces what an earlier one left; Jsonl can go on behind it instead.
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
