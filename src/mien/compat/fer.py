"""The classes of the package fer, run by mien: change `from fer import FER` to `from mien.compat.fer import FER`.

Differences: the model is mien's (`mien-s-7`, with the same seven emotions), the default detector is YuNet, boxes are
the detector's own, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mien.compat.inputs import read
from mien.errors import ConfigError
from mien.pipeline import Pipeline
from mien.pipeline import load as load_pipeline
from mien.types import Face, Result


class FER:
    """Detects faces and their emotions in the forms of fer. Safe to use from several threads."""

    def __init__(
        self,
        cascade_file: str | None = None,
        mtcnn: bool = False,
        tfserving: bool = False,
        use_tflite: bool = True,
        scale_factor: float = 1.1,
        min_face_size: int = 50,
        min_neighbors: int = 5,
        offsets: tuple[int, int] = (10, 10),
        *,
        model: str | Path = "mien-s-7",
    ) -> None:
        """Load the networks.

        Args:
            cascade_file: not supported; any value but None is refused.
            mtcnn: use MTCNN, not YuNet.
            tfserving: not supported; refused.
            use_tflite: ignored.
            scale_factor: ignored, an argument of the Haar cascade.
            min_face_size: smallest face in pixels; smaller ones are left out.
            min_neighbors: ignored, an argument of the Haar cascade.
            offsets: ignored; crops follow the eyes.
            model: a name or path as in `mien.load`. The keys of `emotions` are its labels.

        Raises:
            ConfigError: an argument without a counterpart.
            ValueError: an impossible value, as in fer.
        """
        if cascade_file is not None:
            raise ConfigError("mien.compat.fer takes no cascade_file; leave it out, or use mtcnn=True")
        if tfserving:
            raise ConfigError("mien.compat.fer has no TensorFlow Serving; leave tfserving out, or see mien serve")
        if scale_factor <= 1 or min_face_size < 1 or min_neighbors < 0 or len(offsets) != 2:
            raise ValueError("scale_factor must be over 1, min_face_size at least 1, min_neighbors at least 0")
        self.pipeline: Pipeline = load_pipeline(model, "mtcnn" if mtcnn else "yunet")
        self._min_face_size = min_face_size

    def detect_emotions(
        self, img: Any, face_rectangles: Iterable[Sequence[float]] | None = None
    ) -> list[dict[str, Any]]:
        """Return `[{"box": [x, y, width, height], "emotions": {name: probability}}]`, the largest face first.

        Args:
            img: BGR or gray array, path or data URL as in fer, or another image that `Pipeline` takes.
            face_rectangles: boxes [x, y, width, height] of known faces, to skip detection.
        """
        frame = read(img)
        faces = None
        if face_rectangles is not None:
            faces = [Face((x, y, x + w, y + h)) for x, y, w, h in (map(float, box) for box in face_rectangles)]
        [result] = self.pipeline.process_batch([frame], None if faces is None else [faces])
        return self.to_fer(result, all_sizes=faces is not None)

    def to_fer(self, result: Result, all_sizes: bool = False) -> list[dict[str, Any]]:
        """Return a result of the pipeline in the form of `detect_emotions`."""
        kept = tuple(face for face in result if all_sizes or self._is_large(face))
        found = Result(result.frame, kept).to_fer()
        for face in found:
            face["emotions"] = {name: round(value, 2) for name, value in face["emotions"].items()}
        return found

    def batch_detect_emotions(self, imgs: Iterable[Any]) -> list[list[dict[str, Any]]]:
        """Return `detect_emotions` of each image."""
        return [self.detect_emotions(img) for img in imgs]

    def top_emotion(self, img: Any) -> tuple[str, float] | tuple[None, None]:
        """Return the top emotion of the first face and its probability, (None, None) without a face."""
        faces = self.detect_emotions(img)
        if not faces:
            return None, None
        emotions: dict[str, float] = faces[0]["emotions"]
        name = max(emotions, key=emotions.__getitem__)
        return name, emotions[name]

    def _is_large(self, face: Face) -> bool:
        x1, y1, x2, y2 = face.box
        return max(x2 - x1, y2 - y1) >= self._min_face_size


class Video:
    """A video in the forms of fer; nothing is shown or saved, see `mien video --save` for an annotated copy."""

    def __init__(
        self, video_file: str | Path, outdir: str = "output", first_face_only: bool = True, tempfile: str | None = None
    ) -> None:
        """Remember the path; `outdir` and `tempfile` are ignored."""
        self.filepath = str(video_file)
        self.first_face_only = first_face_only

    def analyze(
        self,
        detector: FER,
        display: bool = False,
        output: str = "csv",
        frequency: int | None = None,
        max_results: int | None = None,
        **ignored: Any,
    ) -> Any:
        """Return a dictionary a frame with `box0`, `angry0`, ..., `box1`, ...; empty without a face.

        Args:
            detector: its model and detector are used.
            display: ignored, as are the other arguments of fer about windows and copies.
            output: "csv" for a list of dictionaries, "pandas" for a table.
            frequency: keep every N-th frame.
            max_results: end after so many frames.
        """
        table: list[dict[str, Any]] = []
        results = detector.pipeline.track(self.filepath, smoothing=0)
        for result in islice(results, 0, None, frequency or 1):
            faces = enumerate(detector.to_fer(result))
            row: dict[str, Any] = {}
            for k, face in faces:
                row |= {f"box{k}": face["box"]} | {f"{name}{k}": value for name, value in face["emotions"].items()}
            table.append(row)
            if len(table) == max_results:
                break
        return self.to_pandas(table) if output == "pandas" else table

    def to_pandas(self, data: Any) -> Any:
        """Return the dictionaries of `analyze` as a pandas table, of the first face alone if `first_face_only`."""
        import pandas

        table = data if isinstance(data, pandas.DataFrame) else pandas.DataFrame(list(data))
        if not self.first_face_only:
            return table
        first = [name for name in table.columns if name.endswith("0")]
        return table[first].rename(columns={name: name[:-1] for name in first}) if first else table
