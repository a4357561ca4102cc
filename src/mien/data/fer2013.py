"""FER2013 in its three layouts (Kaggle zip, unpacked Kaggle folder, original csv) and the FER+ votes.

The Kaggle layout is `{train,test}/<class>/<Split>_<number>.jpg`; its `test` folder holds the official PublicTest and
PrivateTest together, distinguished by the file name's prefix. The csv layout has the columns emotion, pixels, Usage.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.archive import read_members
from mien.data.cache import cached
from mien.data.faces import SPLITS, Faces
from mien.data.ferplus import read_votes
from mien.data.splits import without_leaks
from mien.errors import DataError, SourceError
from mien.media.foreign import parsing, short
from mien.media.image import decode
from mien.media.paths import read_file
from mien.types import EMOTIONS, EMOTIONS7

_NUMBERS = tuple(map(str, range(len(EMOTIONS7))))

Row = tuple[str, int, int, NDArray[np.uint8]]
"""Name, split, target, image."""


def load_fer2013(
    path: Path | str,
    classes: int = 5,
    votes: Path | str | None = None,
    drop_leaks: bool = True,
    unusable: dict[str, str] | None = None,
) -> Faces:
    """Read FER2013 from a Kaggle zip, an unpacked Kaggle folder or the original csv.

    The pixels are cached beside the source, or in the folder MIEN_CACHE, under a hash of the source's content.

    Args:
        path: `fer2013.zip`, the folder that holds `train` and `test`, or `fer2013.csv` / `icml_face_data.csv`.
        classes: 5 (mien's emotions) or 7 (all).
        votes: csv of FER+ votes keyed by file name.
        drop_leaks: leave out Training images that are pixel-identical to a test image.
        unusable: receives the name of each broken or wrong-size image and the reason; if None, the first one is an
            error.
    """
    if classes not in (5, 7):
        raise DataError(f"classes must be 5 or 7, got {classes}; FER2013's own labels have no others")
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; give fer2013.zip, its unpacked folder or fer2013.csv")
    faces = cached(path, "fer2013", _read_source, unusable)
    if votes is not None:
        faces = replace(faces, votes=read_votes(Path(votes), faces.names))
    if drop_leaks:
        faces = without_leaks(faces)
    return faces.with_labels(EMOTIONS) if classes == 5 else faces


def _read_source(path: Path, unusable: dict[str, str] | None) -> Faces:
    read_rows = _csv_rows if path.suffix.lower() == ".csv" else _kaggle_rows
    rows = sorted(read_rows(path, unusable), key=lambda row: row[0])
    if not rows:
        raise DataError(f"{path} holds no FER2013 images; expected train/<class>/*.jpg and test/<class>/*.jpg")
    names, splits, targets, images = zip(*rows, strict=True)
    missing = [name for index, name in enumerate(SPLITS) if index not in splits]
    if missing:
        raise DataError(f"{path} has no {' and no '.join(missing)} images: is the copy complete?")
    return Faces(np.stack(images), np.array(targets, np.int64), np.array(splits, np.int8), np.array(names), EMOTIONS7)


def _reject(unusable: dict[str, str] | None, path: Path, name: str, reason: str) -> None:
    if unusable is None:
        raise DataError(f"{path}, {name}: {reason}; repair or remove it (`mien data audit` lists all such images)")
    unusable[name] = reason


def _kaggle_rows(path: Path, unusable: dict[str, str] | None) -> Iterator[Row]:
    for name, data in _image_files(path, unusable):
        parts = PurePosixPath(name).parts[-3:]
        if len(parts) < 3 or parts[0] not in ("train", "test"):
            hint = "of FER2013 only; unpack any other set and give the folder" if path.is_file() else "as in FER2013"
            raise DataError(f"{path}: {name} is not in train/<class>/ or test/<class>/, {hint}")
        split = parts[2].split("_")[0]
        if split not in SPLITS:
            raise DataError(f"{path}: the file name {name} must begin with {', '.join(SPLITS)} and an underscore")
        if parts[1] not in EMOTIONS7:
            raise DataError(f"{path}: unknown class folder {parts[1]!r} ({name}); known: {', '.join(EMOTIONS7)}")
        try:
            image = cv2.cvtColor(decode(data, name), cv2.COLOR_BGR2GRAY)
        except SourceError as error:
            _reject(unusable, path, name, str(error).removeprefix(f"{name}: "))
            continue
        if image.shape != (48, 48):
            _reject(unusable, path, name, f"{image.shape[1]}x{image.shape[0]} pixels, not 48x48")
        else:
            yield "/".join(parts), SPLITS.index(split), EMOTIONS7.index(parts[1]), image.astype(np.uint8)


def _image_files(path: Path, unusable: dict[str, str] | None) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in (".jpg", ".jpeg", ".png"):
                try:
                    content = read_file(file)
                except SourceError as error:
                    raise DataError(str(error)) from error
                yield file.relative_to(path).as_posix(), content
        return
    yield from read_members(path, (".jpg", ".jpeg", ".png"), partial(_reject, unusable, path))


def _csv_rows(path: Path, unusable: dict[str, str] | None) -> Iterator[Row]:
    with (
        parsing(path, DataError, "not a csv file of FER2013", "download it again"),
        path.open(newline="", encoding="utf-8", errors="replace") as stream,
    ):
        reader = csv.DictReader(stream, skipinitialspace=True)
        columns = {name.strip().lower(): name for name in reader.fieldnames or []}
        if not {"emotion", "pixels", "usage"} <= set(columns):
            raise DataError(
                f"{path}: expected the columns emotion, pixels, Usage; found {', '.join(columns) or 'none'}"
            )
        for number, row in enumerate(reader, start=2):
            usage, emotion = (row[columns["usage"]] or "").strip(), (row[columns["emotion"]] or "").strip()
            pixels = (row[columns["pixels"]] or "").split()
            if usage not in SPLITS or emotion not in _NUMBERS:
                raise DataError(
                    f"{path}, line {number}: emotion {short(emotion)} or Usage {short(usage)} is not FER2013's"
                )
            if len(pixels) != 48 * 48:
                _reject(unusable, path, f"line {number}", f"{len(pixels)} pixels instead of 2304 (truncated?)")
                continue
            try:
                image = np.array(pixels, np.uint8).reshape(48, 48)
            except (ValueError, OverflowError):
                _reject(unusable, path, f"line {number}", "pixels must be whole numbers from 0 to 255")
                continue
            yield f"{usage}_{number:06d}", SPLITS.index(usage), int(emotion), image
