"""The command `batch`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from mien.cli import options
from mien.cli.console import count, echo, err, progress, start, warn


def batch(
    source: str,
    *,
    to: Annotated[str, options.out("path or URL of a folder of Parquet files")],
    cropped: Annotated[bool, options.flag("The images are face crops: skip detection.")] = False,
    workers: int | None = None,
    address: str | None = None,
    detector: options.Detector = "yunet",
    model: options.Model = None,
    min_face: options.MinFace = None,
    min_score: options.MinScore = None,
    whole_search: options.WholeSearch = False,
    part: int = 1000,
    column: str | None = None,
    shard: str | None = None,
    quiet: options.Quiet = False,
) -> int:
    """Process millions of images on all cores or a cluster, into a folder of Parquet files.

    Run again, it computes only the missing parts. The exit code is 1 if images could not be read.

    Args:
        source: Path or URL (such as s3://bucket/folder) of a folder of images, tar shards or Parquet files, of a text
            file with a path a line, or of one Parquet or tar file.
        workers: Number of processes, each on one core; by default one a core.
        address: Address of a Ray cluster; by default this machine.
        part: Images in one result file (a tar is always one file), and the most that each worker can lose when killed.
        column: Column of a Parquet source that holds the images or paths.
        shard: i/n: only the i-th of n shares of the source, into the folder shard-i-of-n of the results; for clusters
            without Ray.
    """
    from mien.batch.runner import run
    from mien.media.paths import skipped_line

    clock = start(quiet)
    model_ = Path(model) if model and model.endswith(".onnx") else model
    try:
        with progress(err.is_terminal) as bar:
            task = bar.add_task("parts", total=None)
            summary = run(
                source, to, model=model_, detector=detector, min_face=min_face, crops=cropped, workers=workers,
                address=address, size=part, column=column, min_score=min_score, shard=shard,
                whole_search=whole_search,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
    except KeyboardInterrupt:
        warn(f"stopped; the same command continues with what is in {to}")
        return 130
    files = f"{count(summary.parts, 'file')} ({summary.reused:,} from earlier runs)"
    echo(f"{count(summary.rows, 'row')} in {files} of {to}")
    if summary.errors:
        warn(f"{summary.errors:,} could not be read: see the column error")
    if skipped := skipped_line(Counter(summary.skipped)):
        warn(skipped)
    clock.summary(count(summary.images, "image"), count(summary.faces, "face"), f"{summary.errors:,} failed")
    return 1 if summary.errors else 0
