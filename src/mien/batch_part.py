"""One part of a batch: its pictures become one Parquet file. This runs in the workers, and knows nothing of Ray."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import cv2
import numpy as np

from mien import classify, detect, image, shards, sinks
from mien.pipeline import Pipeline
from mien.types import Face, Failure, Frame, Image, ModelError, Result, SourceError

COLUMNS = (*("name", "origin", "index", "face", "x1", "y1", "x2", "y2", "score", "emotion", "confidence", "uncertain"),)
"""The columns before those of the probabilities; behind them come error, content and key."""

_BLOCK, _BYTES = 64, 64_000_000  # pictures that are looked at together, or fewer when their pixels come to this
_FLUSH = 10_000  # rows in memory
_TRIES = 3  # starts of a part before its worker looks for the picture that kills it


@dataclass(frozen=True, slots=True)
class Job:
    """What is done to every picture.

    Attributes:
        out: path or URL of the folder for the Parquet files.
        model: a shipped model's name, or the path of an .onnx file.
        sha256: of that file: all machines must have the same.
        detector: "yunet", "haar" or "mtcnn"; None takes each picture for the crop of a face.
        min_face: see `mien.detect.detector`.
    """

    out: str
    model: str
    sha256: str
    detector: str | None = "yunet"
    min_face: float | None = None


class Worker:
    """What Ray keeps in a process of its own: one pipeline, for one part after the other."""

    def __init__(self, job: Job) -> None:
        cv2.setNumThreads(1)  # there is a worker a core
        own = job.model.endswith(".onnx")
        classifier = classify.OnnxClassifier(job.model if own else classify.ASSETS / f"{job.model}.onnx", threads=1)
        if classifier.sha256 != job.sha256:
            raise ModelError(f"{job.model}: not the same file on all machines; install the same mien on each")
        self.job = job
        self.pipeline = (
            Crops(classifier)
            if job.detector is None
            else Pipeline(detect.detector(job.detector, job.min_face, threads=1), classifier)
        )  # fmt: skip

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for name, part in zip(batch["name"], batch["part"], strict=True):
            system, folder = shards.resolve(self.job.out)
            if system.get_file_info(f"{folder}/{name}").type.name == "NotFound":  # else Ray lost only the answer
                write_part(self.job, self.pipeline, str(name), json.loads(str(part)))
        return {"name": batch["name"]}


class Crops(Pipeline):
    """A pipeline for pictures that are crops of faces already: stretched to 48x48, straight to the classifier."""

    def __init__(self, classifier: classify.OnnxClassifier) -> None:
        super().__init__(_Whole(), classifier)

    def process_many(self, frames: Any, known: Any = None) -> list[Result]:
        """Each frame with one face, whose box is the whole picture."""
        crops = np.stack([image.gray48(frame.image) for frame in frames]) if frames else np.zeros((0, 48, 48), np.uint8)
        rows = self.classifier(crops).tolist()
        return [
            Result(frame, self.named(self.detector(frame.image), [row]), crop[None])
            for frame, row, crop in zip(frames, rows, crops, strict=True)
        ]


class _Whole:
    name = "none"

    def __call__(self, image: Image) -> list[Face]:
        return [Face((0.0, 0.0, float(image.shape[1]), float(image.shape[0])))]


def write_part(job: Job, pipeline: Pipeline, name: str, part: shards.Part) -> None:
    """Compute one part and write its Parquet file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    system, folder = shards.resolve(job.out)
    schema = _schema(pipeline.classifier.labels)
    draft = f"{folder}/.{name}.{uuid4().hex}.tmp"
    counts, rows = {"pictures": 0, "faces": 0, "errors": 0}, []
    with system.open_output_stream(draft) as target, pq.ParquetWriter(target, schema) as writer:
        for picture, item in _seen(pipeline, _Journal(system, f"{folder}/.{name}.tries").guard(shards.pictures(part))):
            counts["pictures"] += 1
            counts["faces"] += 0 if isinstance(item, Failure) else len(item.faces)
            counts["errors"] += isinstance(item, Failure)
            rows += _rows(picture, item, pipeline.classifier.labels, job.detector is not None)
            if len(rows) >= _FLUSH:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))
        writer.add_key_value_metadata({"mien": json.dumps(counts)})
    system.move(draft, f"{folder}/{name}")
    with contextlib.suppress(FileNotFoundError):
        system.delete_file(f"{folder}/.{name}.tries")


class _Journal:
    """Finds the picture that kills its worker (a decoder that crashes, memory that runs out) and passes over it.

    A file counts how often the part was begun. From the fourth time on it holds the number of the picture that comes
    next, and pictures go one by one. The picture at which two workers died becomes an error.
    """

    def __init__(self, system: Any, path: str) -> None:
        self.system, self.path = system, path
        self.note: dict[str, Any] = {"tries": 0, "at": None, "deaths": {}}
        with contextlib.suppress(OSError, ValueError), system.open_input_stream(path, compression=None) as file:
            self.note = json.loads(file.read())
        self.note["tries"] += 1
        if self.note["at"] is not None:
            at = str(self.note["at"])
            self.note["deaths"][at] = self.note["deaths"].get(at, 0) + 1
        self.careful = self.note["tries"] > _TRIES
        self._save(None)

    def guard(self, pictures: Iterable[shards.Picture]) -> Iterator[tuple[shards.Picture, bool]]:
        """The pictures, and whether each must be looked at alone."""
        for number, picture in enumerate(pictures):
            if self.note["deaths"].get(str(number), 0) >= 2:
                reason = f"{picture.name}: ended the process that looked at it, twice; look at the file"
                picture = shards.Picture(picture.name, picture.origin, picture.index, SourceError(reason))
            elif self.careful:
                self._save(number)
            yield picture, self.careful
        if self.careful:
            self._save(None)

    def _save(self, at: int | None) -> None:
        self.note["at"] = at
        with self.system.open_output_stream(self.path + ".tmp") as file:
            file.write(json.dumps(self.note).encode())
        self.system.move(self.path + ".tmp", self.path)


def _seen(
    pipeline: Pipeline, pictures: Iterable[tuple[shards.Picture, bool]]
) -> Iterator[tuple[shards.Picture, Result | Failure]]:
    """Look at pictures in blocks; what comes out has the order of what went in."""
    block: list[tuple[shards.Picture, Frame | Failure]] = []
    size = 0
    for picture, alone in pictures:
        frame = _decoded(picture)
        block.append((picture, frame))
        size += frame.image.nbytes if isinstance(frame, Frame) else 0
        if alone or len(block) >= _BLOCK or size >= _BYTES:
            yield from _look(pipeline, block)
            block, size = [], 0
    yield from _look(pipeline, block)


def _decoded(picture: shards.Picture) -> Frame | Failure:
    try:
        if isinstance(picture.data, SourceError):
            raise picture.data
        return Frame(image.decode(picture.data, picture.name), picture.index, 0.0, picture.name)
    except (SourceError, cv2.error, MemoryError) as error:
        return Failure(picture.name, str(error) or f"{picture.name}: no memory to decode it", picture.index)


def _look(
    pipeline: Pipeline, block: list[tuple[shards.Picture, Frame | Failure]]
) -> list[tuple[shards.Picture, Result | Failure]]:
    frames = [frame for _, frame in block if isinstance(frame, Frame)]
    results = iter(_processed(pipeline, frames))
    return [(picture, item if isinstance(item, Failure) else next(results)) for picture, item in block]


def _processed(pipeline: Pipeline, frames: list[Frame]) -> list[Result | Failure]:
    try:
        return list(pipeline.process_many(frames))
    except Exception as error:  # of OpenCV or ONNX Runtime: one picture must not end the work on a million others
        if len(frames) > 1:
            return [item for frame in frames for item in _processed(pipeline, [frame])]
        reason = f"{frames[0].name}: cannot be looked at ({type(error).__name__}: {error}); look at the file"
        return [Failure(frames[0].name, reason, frames[0].index)]


def _schema(labels: Iterable[str]) -> Any:
    import pyarrow as pa

    kinds = dict.fromkeys(("name", "origin", "emotion", "error", "content", "key"), pa.string())
    kinds |= {"index": pa.int64(), "face": pa.int32(), "uncertain": pa.bool_()}
    columns = (*COLUMNS, *labels, "error", "content", "key")
    return pa.schema([(name, kinds.get(name, pa.float32())) for name in columns])


def _rows(
    picture: shards.Picture, item: Result | Failure, labels: Sequence[str], searched: bool
) -> list[dict[str, Any]]:
    """`mien.sinks.rows`, and where the picture came from; without a search there is no box."""
    content = "" if isinstance(picture.data, SourceError) else digest(picture.data)
    place = picture.index if picture.origin else picture.name  # in a folder the number changes with the other files
    own: dict[str, Any] = {} if searched else dict.fromkeys(("x1", "y1", "x2", "y2", "score"))
    own |= {"origin": picture.origin, "content": content or None}
    own |= {"key": digest(json.dumps([content, picture.origin, place]).encode())}
    return [sinks.safe(row | own) for row in sinks.rows(item, labels)]


def digest(data: bytes) -> str:
    """32 hexadecimal digits, BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
