"""Pipeline: detect, crop and classify the faces of images."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.faces import boxes, crop, detectors, models, orientation, quality
from mien.media.inputs import ImageLike, is_many, read_frame
from mien.media.reduced_jpeg import ReducedJpeg
from mien.types import Classifier, Detector, Face, Failure, Floats, Frame, Image, Pixels, Quality, Result, Results

MARGIN = 0.0
"""Share of the box's side to add around a face.

On 300 images of FER2013, the longer side of YuNet's box is 1.01 times the image's (quartiles 0.92 and 1.13), around the
same centre: without a margin, crops look like the training images.
"""

REDETECT_EVERY = 0.5
"""Seconds of a video between two full detections."""


class Pipeline:
    """Detect faces, crop them and classify their expression. Safe to use from several threads.

    `pipeline(image)` does all three steps; `detect`, `crop` and `classify` are the steps on their own. A pipeline can
    be pickled: its networks are loaded again from their files.
    """

    def __init__(
        self,
        detector: Detector | str = "yunet",
        classifier: Classifier | str | Path | None = None,
        margin: float = MARGIN,
        align: bool = True,
        min_face: float | None = None,
    ) -> None:
        """Load what is given by name.

        Args:
            detector: "yunet", "haar", "mtcnn" or any Detector.
            classifier: name of a shipped model, path of an .onnx file, any Classifier, or None for the default.
            margin: share of the box's side to add around a face.
            align: rotate crops so that the eyes are level.
            min_face: smallest face to detect, side in pixels; only for a detector given by name.

        Raises:
            ConfigError: unknown detector, or a `min_face` that it does not support.
            ModelError: unknown or damaged model.
        """
        if min_face is not None and not isinstance(detector, str):
            raise ConfigError("min_face needs a detector given by name; configure your own detector instead")
        self.detector = detectors.load_detector(detector, min_face) if isinstance(detector, str) else detector
        self.classifier: Classifier = (
            models.load_classifier(classifier)
            if classifier is None or isinstance(classifier, str | Path)
            else classifier
        )
        self.margin = margin
        self.align = align

    def detect(self, image: Image, quick_search: bool = False) -> list[Face]:
        """Return the faces of a uint8 BGR image (H, W, 3), largest first, not yet classified.

        Turned images are searched too, see `mien.faces.orientation.detect`. With `quick_search`, YuNet looks at an
        image that one large face fills at half size only, see `mien.faces.yunet.YuNet.quick`.
        """
        return orientation.detect(self.detector, image, quick_search)

    def detect_in(self, frame: Frame, quick_search: bool = False) -> list[Face]:
        """Return the faces of a frame as `detect` does.

        A JPEG that was decoded at a half or less is searched as it is; then as much is decoded as the crops need.
        """
        if not isinstance(frame.pixels, ReducedJpeg):
            return self.detect(frame.image, quick_search)
        small = frame.pixels.reduced
        factors = frame.shape[1] / small.shape[1], frame.shape[0] / small.shape[0]
        faces = [boxes.scale_face(face, factors) for face in self.detect(small, quick_search)]
        if faces:
            frame.pixels.refine(min(crop.halvings(face, self.margin) for face in faces))
        return faces

    @property
    def searched_side(self) -> Callable[[int], int] | None:
        """Longer side of an image -> that of the image that is searched, in pixels; None for some detectors."""
        return getattr(self.detector, "searched_side", None)

    def crop(self, image: Image | Pixels, faces: Sequence[Face]) -> NDArray[np.uint8]:
        """Return the network's input for each face: uint8 gray (N, 48, 48)."""
        return crop.crops(image, faces, self.margin, self.align)

    def classify(self, crops: NDArray[np.uint8]) -> Floats:
        """Return probabilities for uint8 crops (N, 48, 48): float32 (N, C), columns in the order of the labels."""
        shape = (len(crops), len(self.classifier.labels))
        if not len(crops):
            return np.zeros(shape, np.float32)
        probabilities = np.asarray(self.classifier(crops), np.float32)  # a user's classifier may return lists
        if probabilities.shape != shape:
            raise ConfigError(
                f"the classifier returned {probabilities.shape} for {shape[0]} crops and {shape[1]} labels"
            )
        return probabilities

    def label(
        self,
        faces: Sequence[Face],
        probabilities: Floats,
        crops: NDArray[np.uint8] | None = None,
        shape: Sequence[int] = (),
    ) -> tuple[Face, ...]:
        """Attach probabilities, (N, C) as `classify` returns them, and quality to the faces of an image.

        Args:
            faces: N faces.
            probabilities: a row a face.
            crops: uint8 gray (N, 48, 48), or None to leave the quality out.
            shape: of the image, (H, W, ...).
        """
        labels, threshold = self.classifier.labels, self.classifier.confidence_threshold
        found: Sequence[Quality | None] = [None] * len(faces)
        if crops is not None:
            found = quality.measure(faces, crops, shape)
        return tuple(
            replace(
                face,
                probabilities=dict(zip(labels, row, strict=True)),
                confidence_threshold=threshold,
                quality=seen,
                weaknesses=quality.weaknesses(seen) if seen else (),
            )
            for face, row, seen in zip(faces, probabilities.tolist(), found, strict=True)
        )

    def process(self, frame: Frame) -> Result:
        """Run all steps on one frame."""
        return self.process_batch([frame])[0]

    def process_batch(self, frames: Sequence[Frame], detected: Sequence[Sequence[Face]] | None = None) -> list[Result]:
        """Run all steps on several frames with one call of the classifier.

        Args:
            frames: all of them, and their results, are in memory at once.
            detected: the faces of each frame, to skip detection.
        """
        if detected is None:
            detected = [self.detect(frame.image) for frame in frames]
        crops = [self.crop(frame.pixels, faces) for frame, faces in zip(frames, detected, strict=True)]
        probabilities = self.classify(np.concatenate([np.zeros((0, crop.SIZE, crop.SIZE), np.uint8), *crops]))
        ends = np.cumsum([len(faces) for faces in detected])
        return [
            Result(frame, self.label(faces, probabilities[end - len(faces) : end], images, frame.shape), images)
            for frame, faces, images, end in zip(frames, detected, crops, ends, strict=True)
        ]

    @overload
    def __call__(self, image: ImageLike, *, rgb: bool = False) -> Result: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, image: Iterable[ImageLike], *, rgb: bool = False) -> Results: ...

    def __call__(self, image: ImageLike | Iterable[ImageLike], *, rgb: bool = False) -> Result | Results:
        """Process one image or several.

        Args:
            image: path, http(s) URL, bytes, binary file object, PIL image, or array or tensor as
                `mien.media.image.to_bgr` takes it. A list or another iterable of these gives a list of results, with
                one call of the classifier; all its images are in memory at once.
            rgb: arrays and tensors are RGB, not BGR.

        Raises:
            SourceError: an image cannot be read. `mien.predict` goes on past such an image.
        """
        if not is_many(image):
            return self.process(read_frame(image, rgb))
        frames = [read_frame(item, rgb, index, f" {index}") for index, item in enumerate(image)]
        return Results(self.process_batch(frames))

    def track(
        self,
        source: str | Path | int | Iterable[Frame | Failure],
        *,
        smoothing: float = 0.25,
        detect_every: int = 1,
        redetect_every: float = REDETECT_EVERY,
        on_failure: Callable[[Failure], None] | None = None,
    ) -> Iterator[Result]:
        """Yield a result for each frame of a video or camera, with ids and smoothed probabilities.

        See `mien.video_pipeline.track`.
        """
        from mien import video_pipeline

        return video_pipeline.track(self, source, smoothing, detect_every, redetect_every, on_failure)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for part in ("detector", "classifier"):
            _check_picklable(part, state[part])
        return state

    def __repr__(self) -> str:
        parts = [getattr(part, "name", type(part).__name__) for part in (self.classifier, self.detector)]
        return f"Pipeline(model={parts[0]!r}, detector={parts[1]!r})"


def _check_picklable(part: str, value: object) -> None:
    """Raise a ConfigError if a detector or classifier cannot be pickled; cloudpickle takes more and is not checked."""
    caller: FrameType | None = sys._getframe()
    while caller:
        if "cloudpickle" in caller.f_globals.get("__name__", "").split("."):
            return
        caller = caller.f_back
    try:
        pickle.dumps(value)
    except Exception as error:  # whatever the object raises
        raise ConfigError(
            f"the {part} {type(value).__name__} cannot be pickled ({error}); give it __reduce__, or make the pipeline "
            "in each process"
        ) from error


def load(
    model: str | Path | None = None,
    detector: str = "yunet",
    min_face: float | None = None,
    threads: int | None = None,
    min_score: float | None = None,
) -> Pipeline:
    """Return a pipeline that is ready to use: `load()("photo.jpg").faces`.

    Args:
        model: name of a shipped model, names joined by + (their mean), path of an .onnx file, or None for the default.
        detector: "yunet", "haar" or "mtcnn".
        min_face: smallest face to detect, side in pixels; see `mien.faces.detectors.load_detector`.
        threads: threads of one network call; None for all cores available. For `runner.video`, whose steps run side
            by side, 1 is faster.
        min_score: lowest score of a face, 0..1; see `mien.faces.detectors.load_detector`.

    Raises:
        ConfigError: unknown detector, or an impossible `min_face` or `min_score`.
        ModelError: unknown or damaged model.
    """
    with ThreadPoolExecutor(1) as pool:  # ONNX Runtime prepares a network without holding Python's lock
        classifier = pool.submit(models.load_classifier, model, threads)
        return Pipeline(detectors.load_detector(detector, min_face, threads, min_score), classifier.result())
