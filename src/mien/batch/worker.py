"""Computes a part of a batch: its images become one Parquet file. Runs in the workers, without Ray."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.batch import filesystem
from mien.batch.partition import Part, StoredImage, read_images
from mien.errors import ModelError, SourceError
from mien.faces import detectors, onnx
from mien.faces.classifier import OnnxClassifier
from mien.faces.crop import to_network_input
from mien.media.image import count_pages, page_name
from mien.media.paths import display
from mien.media.prefetch import map_batches
from mien.media.reduced_jpeg import decode_for_search
from mien.pipeline import Pipeline
from mien.sinks import base
from mien.types import QUALITY, Face, Failure, Frame, Image, Pixels, Result

COLUMNS = ("name", "origin", "index", "face", "x1", "y1", "x2", "y2", "score", "emotion", "confidence", "uncertain",
           *QUALITY)  # fmt: skip
"""Columns before those of the probabilities; error, content and key follow."""

_BATCH = 64  # images in one call of the classifier
_FLUSH = 10_000  # rows in memory
_TRIES = 3  # starts of a part before its worker looks for the image that kills it


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with every image."""

    out: str  # path or URL of the folder for the Parquet files
    model: str  # name of a shipped model, or path of an .onnx file
    sha256: str  # of that file: all machines must have the same
    detector: str | None = "yunet"  # None if each image is the crop of a face
    min_face: float | None = None  # see mien.faces.detectors.load_detector
    min_score: float | None = None
    quick_search: bool = False  # see mien.runner.images


class Worker:
    """Holds a pipeline in a process of its own and computes parts, one after the other."""

    def __init__(self, job: Job) -> None:
        cv2.setNumThreads(1)  # there is one worker a core
        is_file = job.model.endswith(".onnx")
        classifier = OnnxClassifier(job.model if is_file else onnx.ASSETS / f"{job.model}.onnx", threads=1)
        if classifier.sha256 != job.sha256:
            raise ModelError(f"{job.model}: not the same file on all machines; install the same mien on each")
        self.job = job
        self.pipeline = (
            Pipeline(detectors.load_detector(job.detector, job.min_face, 1, job.min_score), classifier)
            if job.detector
            else CropPipeline(classifier)
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Write parts, given by name and JSON; return the names, and why a part could not be written or ""."""
        errors = [self._write(str(name), str(part)) for name, part in zip(batch["name"], batch["part"], strict=True)]
        return {"name": batch["name"], "error": np.array(errors)}

    def _write(self, name: str, part: str) -> str:
        try:
            system, folder = filesystem.resolve(self.job.out)
            if system.get_file_info(f"{folder}/{name}").type.name == "NotFound":  # else Ray lost only the answer
                write_part(self.job, self.pipeline, name, json.loads(part))
        except OSError as error:  # returned in words: raised, it would end in a traceback and advice of Ray
            return f"{self.job.out}: cannot be written ({filesystem.cause(error)})"
        except SourceError as error:
            return str(error)
        return ""


class CropPipeline(Pipeline):
    """A pipeline for images that are crops of faces: the box is the whole image, which is stretched to 48x48."""

    def __init__(self, classifier: OnnxClassifier) -> None:
        super().__init__(_WholeImage(), classifier)

    def crop(self, image: Image | Pixels, faces: Sequence[Face]) -> NDArray[np.uint8]:
        return to_network_input(image if isinstance(image, np.ndarray) else image.bgr())[None]


class _WholeImage:
    name = "none"

    def __call__(self, image: Image) -> list[Face]:
        return [Face((0.0, 0.0, float(image.shape[1]), float(image.shape[0])))]


def write_part(job: Job, pipeline: Pipeline, name: str, part: Part) -> None:
    """Compute one part and write its Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    system, folder = filesystem.resolve(job.out)
    labels = pipeline.classifier.labels
    schema = _schema(labels)
    draft = f"{folder}/.{name}.{uuid4().hex}.tmp"
    counts, rows = {"pictures": 0, "faces": 0, "errors": 0}, []
    skipped: Counter[str] = Counter()
    with system.open_output_stream(draft) as target, pq.ParquetWriter(target, schema) as writer:
        journal = _Journal(system, f"{folder}/.{name}.tries")
        images = journal.guard(read_images(part, skipped))
        for image, item in process_images(pipeline, images, 1 if journal.careful else _BATCH, job.quick_search):
            counts["pictures"] += 1
            counts["faces"] += 0 if isinstance(item, Failure) else len(item.faces)
            counts["errors"] += isinstance(item, Failure)
            rows += _rows(image, item, labels, job.detector is not None)
            if len(rows) >= _FLUSH:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))
        writer.add_key_value_metadata({"mien": json.dumps({**counts, "skipped": skipped})})
    system.move(draft, f"{folder}/{name}")
    with contextlib.suppress(FileNotFoundError):
        system.delete_file(f"{folder}/.{name}.tries")


class _Journal:
    """Finds the image that kills its worker (a decoder that crashes, memory that runs out) and skips it.

    A file counts how often the part was begun. After three starts it also holds the number of the next image, and
    images are processed one by one. An image at which two workers died becomes an error.
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

    def guard(self, images: Iterable[StoredImage]) -> Iterator[StoredImage]:
        for number, image in enumerate(images):
            if self.note["deaths"].get(str(number), 0) >= 2:
                reason = f"{image.name}: ended its worker process twice; check the file"
                image = StoredImage(image.name, image.origin, image.index, SourceError(reason))
            elif self.careful:
                self._save(number)
            yield image
        if self.careful:
            self._save(None)

    def _save(self, at: int | None) -> None:
        self.note["at"] = at
        with self.system.open_output_stream(self.path + ".tmp") as file:
            file.write(json.dumps(self.note).encode())
        self.system.move(self.path + ".tmp", self.path)


def process_images(
    pipeline: Pipeline, images: Iterable[StoredImage], count: int = _BATCH, quick_search: bool = False
) -> Iterator[tuple[StoredImage, Result | Failure]]:
    """Yield each image, or page of a TIFF, with its result or failure, computed in batches of at most `count`."""
    pending: deque[StoredImage] = deque()
    searched_side = pipeline.searched_side

    def frames() -> Iterator[Frame | Failure]:
        for image in images:
            for page in _pages(image):
                pending.append(page)
                yield _decode(page, searched_side)

    for item in map_batches(
        lambda batch: _process_batch(pipeline, batch, quick_search), frames(), lambda frame: frame.nbytes, count
    ):
        yield pending.popleft(), item


def _pages(image: StoredImage) -> Iterator[StoredImage]:
    """Yield an image, or each page of a TIFF file."""
    yield image
    if not isinstance(image.data, SourceError):
        for page in range(1, count_pages(image.data)):
            yield replace(image, name=page_name(image.name, page), page=page)


def _decode(image: StoredImage, searched_side: Callable[[int], int] | None) -> Frame | Failure:
    try:
        if isinstance(image.data, SourceError):
            raise image.data
        pixels = decode_for_search(image.data, display(image.name), searched_side, page=image.page)
        return Frame(pixels, image.index, 0.0, image.name)
    except SourceError as error:
        return Failure(image.name, str(error), image.index)


def _process_batch(pipeline: Pipeline, frames: Sequence[Frame], quick_search: bool) -> list[Result | Failure]:
    try:
        return list(pipeline.process_batch(frames, [pipeline.detect_in(frame, quick_search) for frame in frames]))
    except Exception as error:  # of OpenCV or ONNX Runtime: one image must not end a batch of millions
        if len(frames) > 1:
            return [item for frame in frames for item in _process_batch(pipeline, [frame], quick_search)]
        reason = f"{frames[0].name}: cannot be processed ({type(error).__name__}: {error}); check the file"
        return [Failure(frames[0].name, reason, frames[0].index)]


def _schema(labels: Iterable[str]) -> Any:
    import pyarrow as pa

    types = dict.fromkeys(("name", "origin", "emotion", "error", "content", "key"), pa.string())
    types |= {"index": pa.int64(), "face": pa.int32(), "uncertain": pa.bool_()}
    columns = (*COLUMNS, *labels, "error", "content", "key")
    return pa.schema([(name, types.get(name, pa.float32())) for name in columns])


def _rows(image: StoredImage, item: Result | Failure, labels: Sequence[str], detected: bool) -> list[dict[str, Any]]:
    """Return `mien.sinks.base.rows` with the origin of the image; without a detector there is no box."""
    content = "" if isinstance(image.data, SourceError) else digest(image.data)
    place: Any = image.index if image.origin else image.name  # in a folder the index depends on the other files
    place = [place, image.page] if image.page else place
    extra: dict[str, Any] = {} if detected else dict.fromkeys(("x1", "y1", "x2", "y2", "score"))
    extra |= {"origin": image.origin, "content": content or None}
    extra |= {"key": digest(json.dumps([content, image.origin, place]).encode())}
    return [base.encodable(row | extra) for row in base.rows(item, labels)]


def digest(data: bytes) -> str:
    """Return 32 hexadecimal digits, BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
