"""Runs millions of images through Ray Data, on one machine or a cluster, into a folder of Parquet files.

`mien.batch.partition` splits the source into parts. Each part becomes one file, whose name holds a hash of everything
that its content depends on. The file is written as a draft and renamed when complete, so an existing file is finished:
Ray restarts the part of a killed worker, and a killed run continues with the missing parts when started again. Images
never pass through Ray: workers read and write by themselves.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from mien.batch import filesystem, partition
from mien.batch.worker import Job, Worker, digest
from mien.errors import ConfigError, OutputError, SourceError
from mien.faces import detectors, models
from mien.faces.classifier import OnnxClassifier
from mien.faces.cores import cores
from mien.media.output_paths import OutputPaths

_SETTINGS, _MANIFEST = "_run.json", "_manifest.json"  # readers of Parquet folders pass over names with _ or .
_STARTS = 3  # of Ray, before it counts as failed

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no deprecation warning
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # Ray's 15 starves workers beside other programs
}


@dataclass(frozen=True, slots=True)
class Summary:
    """Content of a folder of results, and the duration of the run."""

    images: int  # those with errors included
    faces: int
    errors: int  # images or shards that could not be read; each has a row
    rows: int
    parts: int  # Parquet files
    reused: int  # files of an earlier run among them
    seconds: float
    skipped: dict[str, int]  # other files in folders and tars by suffix, see `mien.media.paths.skipped_line`


_OWN = re.compile(
    r"part-\d{6}-[0-9a-f]{12}\.parquet|\.part-\d{6}-[0-9a-f]{12}\.parquet\.(?:[0-9a-f]{32}\.tmp|tries(?:\.tmp)?)"
)
"""Names of parts, drafts and journals; nothing else in the folder is ever removed."""


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
    on_progress: Callable[[int, int], None] | None = None,
    min_score: float | None = None,
    shard: str | None = None,
    whole_search: bool = False,
) -> Summary:
    """Process all images of a source; parts that `out` already holds are not computed again.

    Args:
        source: see `mien.batch.partition.split`.
        out: folder (path or URL) for this source and these settings alone, within reach of all machines of a cluster.
        model: name of a shipped model, path of an .onnx file, or None for the default.
        detector: "yunet", "haar" or "mtcnn".
        min_face: see `mien.faces.detectors.load_detector`, as for `min_score`.
        crops: the images are crops of faces: no detection, one row an image.
        workers: number of processes on one core each; None for all cores.
        address: address of a Ray cluster; None for this machine, or for what `ray.init` connected to.
        size: images in a part.
        column: column of Parquet sources, see `mien.batch.partition.split`.
        on_progress: called after each part with the number of finished parts and of all.
        shard: "i/n" for the i-th of n runs, from 1, that share the parts of the source; the results are in the folder
            `shard-i-of-n` of `out`. Part k, from 0, belongs to shard k mod n + 1.
        whole_search: see `mien.runner.images`.
    """
    start = monotonic()
    place, count = parse_shard(shard)
    if missing := [name for name in ("ray", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"batch needs {missing[0]}: pip install 'mien[batch]'")
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers are not possible; give 1 or more")
    name, classifier = _model(model)
    detectors.load_detector(detector, min_face, min_score=min_score)
    out = _normalize(out)
    _check_apart(_normalize(source), out)
    if count > 1:
        out = _below(out, f"shard-{place}-of-{count}")
    job = Job(out, name, classifier.sha256, detector, min_face, min_score, whole_search)
    if crops:
        job = Job(out, name, classifier.sha256, None)
    settings: dict[str, Any] = {"source": _normalize(source), "model": classifier.sha256, "detector": job.detector}
    settings |= {
        "min_face": job.min_face,
        "min_score": job.min_score,
        "whole_search": job.whole_search,
        "size": size,
        "column": column,
        "labels": list(classifier.labels),
    }
    skipped: Counter[str] = Counter()
    parts = {
        f"part-{number:06d}-{digest(json.dumps([settings, part]).encode())[:12]}.parquet": part
        for number, part in enumerate(partition.split(_normalize(source), size, column, skipped))
        if number % count == place - 1
    }
    if place > 1:  # the first shard alone counts the other files of folders
        skipped.clear()
    if not parts and count > 1:
        raise SourceError(f"{source}: has no part for shard {shard}; use fewer shards, or smaller parts")
    if not parts:
        raise SourceError(f"{source}: holds no images; check the path")
    with contextlib.ExitStack() as stack:
        if "://" not in job.out:  # locked for the whole run
            outputs = OutputPaths([source, model])
            stack.enter_context(outputs.folder(job.out, what="results"))
        try:
            done = _prepare(job.out, settings, parts)
            todo = {name: part for name, part in parts.items() if name not in done}
            if todo:
                computed = lambda count: on_progress and on_progress(len(done) + count, len(parts))  # noqa: E731
                _compute(job, todo, workers, address, computed)
                _clear(job.out)
            totals = _totals(job.out, parts, skipped)
            summary = Summary(*totals, len(parts), len(done), round(monotonic() - start, 3), dict(+skipped))
            _write(job.out, _MANIFEST, settings | asdict(summary) | {"files": sorted(parts)})
        except OSError as error:
            reason = filesystem.cause(error)
            advice = "check the folder and its free space"
            raise OutputError(f"{job.out}: cannot be written ({reason}); {advice}") from error
    return summary


def parse_shard(text: str | None) -> tuple[int, int]:
    """Return i and n of "i/n", 1 and 1 of None."""
    if text is None:
        return 1, 1
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    place, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= place <= count:
        raise ConfigError(f"{text!r} is no shard; give i/n with i from 1 to n, such as 2/8")
    return place, count


def _below(out: str, name: str) -> str:
    """Return a folder in a folder, both a path or URL."""
    path, mark, query = out.partition("?") if "://" in out else (out, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def _clear(out: str) -> None:
    """Remove the drafts and journals of killed workers."""
    from pyarrow import fs

    system, folder = filesystem.resolve(out)
    for posix in system.get_file_info(fs.FileSelector(folder)):
        if posix.base_name.startswith(".") and _OWN.fullmatch(posix.base_name):
            _remove(system, posix.path)


def _model(model: str | Path | None) -> tuple[str, OnnxClassifier]:
    """Return the model's name in a `Job`, and the model."""
    named = models.FORMER.get(str(model), str(model or models.DEFAULT))
    is_file = named.endswith(".onnx")
    if isinstance(model, Path) and not is_file:
        raise ConfigError(f"{model}: a model file for batch has a name that ends in .onnx; rename it")
    classifier = models.load_classifier(model)
    if not isinstance(classifier, OnnxClassifier):
        raise ConfigError(f"{model}: batch works with one model; give one of these names")
    return str(Path(named).resolve()) if is_file else named, classifier


def _normalize(place: str | Path) -> str:
    """Return a path or URL without a slash at its end."""
    if "://" not in str(place):
        return Path(place).resolve().as_posix()
    url, mark, query = str(place).partition("?")
    scheme, _, path = url.partition("://")
    return f"{scheme}://{path.rstrip('/') or path}{mark}{query}"


def _check_apart(source: str, out: str) -> None:
    (system, images), (other, results) = filesystem.resolve(source), filesystem.resolve(out)
    if system.equals(other) and f"{results.rstrip('/')}/".startswith(f"{images.rstrip('/')}/"):
        raise ConfigError(f"{out}: lies in the source, whose next run would read it; give another folder")


def _prepare(out: str, settings: dict[str, Any], parts: Iterable[str]) -> set[str]:
    """Remove drafts and parts that are not among `parts`; return the parts that are finished."""
    from pyarrow import fs

    system, folder = filesystem.resolve(out)
    system.create_dir(folder, recursive=True)
    names = {info.base_name for info in system.get_file_info(fs.FileSelector(folder))}
    if _SETTINGS in names:
        with system.open_input_stream(f"{folder}/{_SETTINGS}", compression=None) as file:
            earlier = json.loads(file.read())
        other = [key for key in settings if settings[key] != earlier.get(key)]
        if other:
            raise ConfigError(f"{out}: holds the results of a run with another {', '.join(other)}; give another folder")
    elif any(name.endswith(".parquet") for name in names):
        raise ConfigError(f"{out}: holds Parquet files of another program; give another folder")
    else:
        _write(out, _SETTINGS, settings)
    if set(parts) - names:
        _remove(system, f"{folder}/{_MANIFEST}")
    for name in filter(_OWN.fullmatch, names - set(parts)):
        _remove(system, f"{folder}/{name}")
    return names & set(parts)


def _compute(
    job: Job,
    todo: dict[str, partition.Part],
    workers: int | None,
    address: str | None,
    on_progress: Callable[[int], object],
) -> None:
    with _ray(address, workers) as ray:
        count = min(workers or int(ray.cluster_resources().get("CPU", 1)), len(todo))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = 1_000_000  # answers are short; Ray reserves this much memory
        items = [{"name": name, "part": json.dumps(part)} for name, part in todo.items()]
        answers = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Worker,
            fn_constructor_args=(job,),
            batch_size=1,
            num_cpus=1,
            # Parts go in order to the next free worker; by default they queue behind long ones, in any order.
            compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1),
        )
        try:
            for number, answer in enumerate(answers.iter_rows(), start=1):
                if answer["error"]:
                    raise SourceError(f"{answer['error']}; the same command continues the run")
                on_progress(number)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise SourceError(f"{job.out}: the run ended ({reason}); the same command continues it") from error


@contextlib.contextmanager
def _ray(address: str | None, workers: int | None) -> Iterator[Any]:
    """Yield ray, quiet and without dashboard and usage statistics; shut it down if it was started here."""
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
    for retries in reversed(range(_STARTS)):
        try:
            ray.init(address or "local", **quiet, **({} if address else local))
            break
        except Exception as error:  # a plain Exception when a busy machine takes longer than Ray's 30 s
            ray.shutdown()
            if not retries or address:
                advice = "check its address" if address else "see /tmp/ray/session_latest/logs"
                raise ConfigError(f"Ray did not start ({str(error).strip()}); {advice}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _totals(out: str, parts: Iterable[str], skipped: Counter[str]) -> tuple[int, int, int, int]:
    """Return the numbers of images, faces, errors and rows in the finished files; count other files of tars."""
    import pyarrow.parquet as pq

    system, folder = filesystem.resolve(out)

    def counts(name: str) -> tuple[int, int, int, int, dict[str, int]]:
        with system.open_input_file(f"{folder}/{name}") as file:
            meta = pq.ParquetFile(file).metadata
        values = json.loads(meta.metadata[b"mien"])
        return values["pictures"], values["faces"], values["errors"], meta.num_rows, values.get("skipped", {})

    with ThreadPoolExecutor(8) as pool:
        *numbers, others = zip(*pool.map(counts, parts), strict=True)
    for other in others:
        skipped.update(other)
    images, faces, errors, rows = map(sum, numbers)
    return images, faces, errors, rows


def _write(out: str, name: str, values: dict[str, Any]) -> None:
    system, folder = filesystem.resolve(out)
    with system.open_output_stream(f"{folder}/.{name}.tmp") as file:
        file.write((json.dumps(values, indent=1) + "\n").encode())
    system.move(f"{folder}/.{name}.tmp", f"{folder}/{name}")


def _remove(system: Any, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        system.delete_file(path)
