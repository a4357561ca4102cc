"""The command for millions of pictures; mien.cli registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mien.terminal import err, out


def batch(
    source: str,
    *,
    to: Annotated[str, Parameter(name="--out")],
    crops: Annotated[bool, Parameter(negative=())] = False,
    workers: int | None = None,
    address: str | None = None,
    detector: str = "yunet",
    model: str | None = None,
    min_face: float | None = None,
    part: int = 1000,
    column: str | None = None,
) -> int:
    """Look at millions of pictures, with all cores or a cluster, into a folder of Parquet files.

    Started again, it computes only what is missing. Exit code 1 when there were pictures that could not be read.

    Parameters
    ----------
    source
        Folder of pictures, tar shards or Parquet files, or a text file with a path a line, a Parquet file or a tar; a
        path or a URL such as s3://bucket/folder.
    to
        Folder for the results, a path or a URL.
    crops
        The pictures are crops of faces already: no search, straight to the classifier.
    workers
        Processes, each on one core; all cores when not given.
    address
        Of a Ray cluster; this machine when not given.
    detector
        yunet, haar or mtcnn.
    model
        Name of a shipped model, or an ONNX file.
    min_face
        Side in pixels of the smallest face that is wanted: a large one is faster, a small one slower in large pictures.
    part
        Pictures in one file of the results (a tar is always one), which is also what a kill can lose of each worker's.
    column
        The column of a Parquet source that holds pictures or paths.
    """
    from mien.batch import run

    line = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    model_ = Path(model) if model and model.endswith(".onnx") else model
    try:
        with Progress(*line, console=err, disable=not err.is_terminal) as bar:
            task = bar.add_task("parts", total=None)
            summary = run(
                source, to, model=model_, detector=detector, min_face=min_face, crops=crops, workers=workers,
                address=address, size=part, column=column,
                tell=lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
    except KeyboardInterrupt:
        err.print(f"stopped; the same command goes on with what is in {to}", highlight=False, markup=False)
        return 130
    out.print(
        f"{summary.pictures} pictures, {summary.faces} faces, {summary.errors} errors in {summary.rows} rows of "
        f"{summary.parts} files ({summary.found} were there before), {summary.seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    if summary.errors:
        err.print(f"{summary.errors} could not be read: see the column error", highlight=False)
    return 1 if summary.errors else 0
