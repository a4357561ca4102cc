"""Millions of pictures -> a folder of Parquet files, with Ray Data on one machine or a cluster.

The source is cut into parts (`mien.shards`), and each part becomes one file, whose name holds a hash of all that its
content depends on. It is written under a draft's name and renamed when whole. So a file that is there is finished: a
worker that is killed begins its part again (Ray starts another one), and a run that is killed goes on with the parts
that are missing when it is started again. Pictures never pass through Ray: workers read and write by themselves.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from mien import classify, detect, shards
from mien.batch_part import Job, Worker, digest
from mien.runtime import cores
from mien.types import ConfigError, SourceError

_SETTINGS, _MANIFEST = "_run.json", "_manifest.json"  # readers of Parquet folders pass over names with _ or .
_STARTS = 3  # of Ray, before it counts as broken
_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning about a change to come
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # as nice as the command; with Ray's 15, workers starve beside other work
}


@dataclass(frozen=True, slots=True)
class Summary:
    """What a folder of results holds, and what this run did for it.

    Attributes:
        pictures: number of pictures, those with errors included.
        faces: number of faces.
        errors: number of pictures, or shards, that could not be read; each has a row.
        rows: number of rows.
        parts: number of Parquet files.
        found: how many of them an earlier run had made.
        seconds: that this run took.
    """

    pictures: int
    faces: int
    errors: int
    rows: int
    parts: int
    found: int
    seconds: float


_OWN = re.compile(
    r"part-\d{6}-[0-9a-f]{12}\.parquet|\.part-\d{6}-[0-9a-f]{12}\.parquet\.(?:[0-9a-f]{32}\.tmp|tries(?:\.tmp)?)"
)
"""Names of parts, drafts and journals: nothing else in the folder is ever removed."""


def run(
    source: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    detector: str = "yunet",
    min_face: float | None = None,
    crops: bool = False,
    workers: int | None = None,
    address: str | None = None,
    size: int = 1000,
    column: str | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> Summary:
    """Look at all pictures of a source; parts that `out` holds already are not computed again.

    Args:
        source: see `mien.shards.parts`.
        out: folder (path or URL) of this source and these settings alone; on a cluster all machines must reach it.
        model: a shipped model's name, the path of an .onnx file, or None for the default.
        detector: "yunet", "haar" or "mtcnn".
        min_face: see `mien.detect.detector`.
        crops: the pictures are crops of faces: no search, one row a picture.
        workers: number of processes with a pipeline each, on one core each; None takes all cores.
        address: of a Ray cluster; None works on this machine, or where `ray.init` was called before.
        size: pictures in a part.
        column: of Parquet sources, see `mien.shards.parts`.
        tell: called with the number of parts that are there and of all, after each part.

    Raises:
        ConfigError: Ray is missing, or a setting that is not possible or not that of the folder's earlier run.
        ModelError: no such model, or a damaged one.
        SourceError: the source cannot be listed or holds no pictures, or the results cannot be written.
    """
    start = monotonic()
    if missing := [name for name in ("ray", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"batch needs {missing[0]}: pip install 'mien[batch]'")
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers are not possible; give 1 or more")
    name, classifier = _model(model)
    detect.detector(detector, min_face)
    job = Job(_place(out), name, classifier.sha256, None if crops else detector, None if crops else min_face)
    _check_apart(_place(source), job.out)
    settings: dict[str, Any] = {"source": _place(source), "model": classifier.sha256, "detector": job.detector}
    settings |= {"min_face": job.min_face, "size": size, "column": column, "labels": list(classifier.labels)}
    parts = {
        f"part-{number:06d}-{digest(json.dumps([settings, part]).encode())[:12]}.parquet": part
        for number, part in enumerate(shards.parts(_place(source), size, column))
    }
    if not parts:
        raise SourceError(f"{source}: holds no pictures; check the path")
    try:
        done = _prepare(job.out, settings, parts)
        todo = {name: part for name, part in parts.items() if name not in done}
        if todo:
            _compute(job, todo, workers, address, lambda count: tell and tell(len(done) + count, len(parts)))
        summary = Summary(*_totals(job.out, parts), len(parts), len(done), round(monotonic() - start, 3))
        _write(job.out, _MANIFEST, settings | asdict(summary) | {"files": sorted(parts)})
    except OSError as error:
        raise SourceError(f"{job.out}: cannot be written ({error}); check the place and what is free there") from error
    return summary


def _model(model: str | Path | None) -> tuple[str, classify.OnnxClassifier]:
    """What a `Job` calls the model, and the model."""
    named = str(model or classify.DEFAULT)
    is_file = named.endswith(".onnx")
    if isinstance(model, Path) and not is_file:
        raise ConfigError(f"{model}: a model file for batch has a name that ends in .onnx; rename it")
    classifier = classify.model(model)
    if not isinstance(classifier, classify.OnnxClassifier):
        raise ConfigError(f"{model}: batch works with one model; give one of these names")
    return str(Path(named).resolve()) if is_file else named, classifier


def _place(place: str | Path) -> str:
    """A path or URL in one form: without a slash at its end."""
    if "://" not in str(place):
        return Path(place).resolve().as_posix()
    url, mark, query = str(place).partition("?")
    scheme, _, path = url.partition("://")
    return f"{scheme}://{path.rstrip('/') or path}{mark}{query}"


def _check_apart(source: str, out: str) -> None:
    (here, pictures), (there, results) = shards.resolve(source), shards.resolve(out)
    if here.equals(there) and f"{results.rstrip('/')}/".startswith(f"{pictures.rstrip('/')}/"):
        raise ConfigError(f"{out}: lies in the source, whose next run would read it; give another folder")


def _prepare(out: str, settings: dict[str, Any], parts: Iterable[str]) -> set[str]:
    """Clear the folder of drafts and of parts that the source no longer gives; which of the wanted parts are there."""
    from pyarrow import fs

    system, folder = shards.resolve(out)
    system.create_dir(folder, recursive=True)
    there = {posix.base_name for posix in system.get_file_info(fs.FileSelector(folder))}
    if _SETTINGS in there:
        with system.open_input_stream(f"{folder}/{_SETTINGS}", compression=None) as file:
            earlier = json.loads(file.read())
        other = [key for key in settings if settings[key] != earlier.get(key)]
        if other:
            raise ConfigError(f"{out}: holds the results of a run with another {', '.join(other)}; give another folder")
    elif any(name.endswith(".parquet") for name in there):
        raise ConfigError(f"{out}: holds Parquet files of something else; give another folder")
    else:
        _write(out, _SETTINGS, settings)
    wanted = set(parts)
    if wanted - there:
        _remove(system, f"{folder}/{_MANIFEST}")
    for name in there - wanted:
        if _OWN.fullmatch(name):
            _remove(system, f"{folder}/{name}")
    return there & wanted


def _compute(
    job: Job, todo: dict[str, shards.Part], workers: int | None, address: str | None, tell: Callable[[int], object]
) -> None:
    with _ray(address, workers) as ray:
        count = min(workers or int(ray.cluster_resources().get("CPU", 1)), len(todo))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = 1_000_000  # answers are names; room for larger ones would have to be free
        items = [{"name": name, "part": json.dumps(part)} for name, part in todo.items()]
        answers = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Worker,
            fn_constructor_args=(job,),
            batch_size=1,
            num_cpus=1,
            # A part waits for whoever is free next, not behind a long one; without this they also run in any order.
            compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1),
        )
        try:
            for number, _ in enumerate(answers.iter_rows(), start=1):
                tell(number)
        except ray.exceptions.RayError as error:
            cause = str(error).strip().splitlines()[-1]
            raise SourceError(f"{job.out}: the work was ended ({cause}); the same command goes on with it") from error


@contextlib.contextmanager
def _ray(address: str | None, workers: int | None) -> Iterator[Any]:
    """Ray, on this machine quiet and without dashboard and usage statistics; ended at the end if it was begun here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    local = {"num_cpus": workers or cores(), "include_dashboard": False, "object_store_memory": 100_000_000}
    for left in reversed(range(_STARTS)):
        try:
            ray.init(address or "local", **quiet, **({} if address else local))
            break
        except Exception as error:  # a plain one when a busy machine takes longer than Ray's 30 s
            ray.shutdown()
            if not left or address:
                advice = "check its address" if address else "see /tmp/ray/session_latest/logs"
                raise ConfigError(f"Ray did not start ({str(error).strip()}); {advice}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _totals(out: str, parts: Iterable[str]) -> tuple[int, int, int, int]:
    """Pictures, faces, errors and rows, as the finished files say."""
    import pyarrow.parquet as pq

    system, folder = shards.resolve(out)

    def counts(name: str) -> tuple[int, int, int, int]:
        with system.open_input_file(f"{folder}/{name}") as file:
            meta = pq.ParquetFile(file).metadata
        own = json.loads(meta.metadata[b"mien"])
        return own["pictures"], own["faces"], own["errors"], meta.num_rows

    with ThreadPoolExecutor(8) as pool:
        pictures, faces, errors, rows = map(sum, zip(*pool.map(counts, parts), strict=True))
    return pictures, faces, errors, rows


def _write(out: str, name: str, values: dict[str, Any]) -> None:
    system, folder = shards.resolve(out)
    with system.open_output_stream(f"{folder}/.{name}.tmp") as file:
        file.write((json.dumps(values, indent=1) + "\n").encode())
    system.move(f"{folder}/.{name}.tmp", f"{folder}/{name}")


def _remove(system: Any, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        system.delete_file(path)
