"""FER2013 in its three layouts (Kaggle zip, unpacked Kaggle folder, original csv) and the FER+ votes.

The Kaggle layout is `{train,test}/<class>/<Split>_<number>.jpg`; its `test` folder holds the official PublicTest and
PrivateTest together, told apart by the file name's prefix. The csv layout has the columns emotion, pixels, Usage.
"""

from __future__ import annotations

import csv
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from stat import S_ISDIR

import cv2
import numpy as np
from numpy.typing import NDArray

from mien import files
from mien.types import EMOTIONS, EMOTIONS7, DataError

SPLITS = ("Training", "PublicTest", "PrivateTest")
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
FERPLUS_NAMES = {"happiness": "happy", "sadness": "sad", "anger": "angry"}
"""FER+ names that differ from FER2013's."""


@dataclass(frozen=True, slots=True)
class Faces:
    """Labelled face crops.

    Attributes:
        images: uint8 (N, 48, 48), gray.
        targets: int64 (N,), index into `labels`.
        splits: int8 (N,), index into SPLITS.
        names: file name of each image inside its source.
        labels: names of the classes.
        votes: int16 (N, 10), FER+ votes in the order of FERPLUS, all 0 where there are none; or None.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    splits: NDArray[np.int8]
    names: NDArray[np.str_]
    labels: tuple[str, ...]
    votes: NDArray[np.int16] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Faces:
        """The images chosen by a mask or by indices."""
        votes = None if self.votes is None else self.votes[keep]
        return Faces(self.images[keep], self.targets[keep], self.splits[keep], self.names[keep], self.labels, votes)

    def split(self, name: str) -> Faces:
        """The images of one official split: Training, PublicTest or PrivateTest."""
        return self.take(self.splits == SPLITS.index(name))

    def with_labels(self, labels: tuple[str, ...]) -> Faces:
        """Only the images of these classes, with targets counted in their order."""
        order = [self.labels.index(label) for label in labels]
        places = np.full(len(self.labels), -1, np.int64)
        places[order] = np.arange(len(order))
        kept = self.take(places[self.targets] >= 0)
        return replace(kept, targets=places[kept.targets], labels=labels)

    def groups(self) -> NDArray[np.int64]:
        """int64 (N,): equal numbers for pixel-identical images."""
        return np.unique(self.keys(), return_inverse=True)[1].astype(np.int64)

    def keys(self) -> NDArray[np.uint64]:
        """uint64 (N,): a hash of each image's pixels, the same whatever the layout and order of the source."""
        digests = (hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in self.images)
        return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def load(
    path: Path | str,
    classes: int = 5,
    votes: Path | str | None = None,
    drop_leaks: bool = True,
    unusable: dict[str, str] | None = None,
) -> Faces:
    """Read FER2013 from a Kaggle zip, an unpacked Kaggle folder or the original csv.

    The first reading packs the pixels into a cache beside the source (or in the folder named by MIEN_CACHE), keyed by
    the source's content; later ones take a second.

    Args:
        path: `fer2013.zip`, the folder that holds `train` and `test`, or `fer2013.csv` / `icml_face_data.csv`.
        classes: 5 (mien's emotions) or 7 (all).
        votes: csv of FER+ votes keyed by file name.
        drop_leaks: leave out Training images that are pixel-identical to a test image.
        unusable: filled with the name of each picture that is broken or of another size, and what is wrong with it;
            without it the first one is an error.

    Raises:
        DataError: a missing, truncated or foreign file, an unknown class, an image of another size.
    """
    if classes not in (5, 7):
        raise DataError(f"classes must be 5 or 7, got {classes}; FER2013's own labels have no others")
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; give fer2013.zip, its unpacked folder or fer2013.csv")
    faces = cached(path, "fer2013", _read, unusable)
    if votes is not None:
        faces = replace(faces, votes=_read_votes(Path(votes), faces.names))
    if drop_leaks:
        faces = without_leaks(faces)
    return faces.with_labels(EMOTIONS) if classes == 5 else faces


def without_leaks(faces: Faces) -> Faces:
    """All images but the Training images that are pixel-identical to an image of a test split."""
    groups = faces.groups()
    tests = faces.splits != SPLITS.index("Training")
    return faces.take(tests | ~np.isin(groups, groups[tests]))


def statistics(faces: Faces) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, in 0..1."""
    counts = np.bincount(faces.images.ravel(), minlength=256).astype(np.float64)
    values = np.arange(256) / 255
    mean = float((counts * values).sum() / counts.sum())
    return mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))


def ferplus_targets(faces: Faces) -> NDArray[np.int64]:
    """Class with a strict majority of the FER+ votes, as an index into `faces.labels`; -1 where there is none.

    A majority is more than half of all votes, those for `unknown` and `NF` included, as in FER+.
    """
    if faces.votes is None:
        raise DataError("FER+ targets need the votes: give --votes ferplus_votes.csv")
    best = faces.votes.argmax(1)
    majority = faces.votes.max(1) * 2 > faces.votes.sum(1)
    names = [FERPLUS_NAMES.get(name, name) for name in FERPLUS]
    places = np.array([faces.labels.index(name) if name in faces.labels else -1 for name in names])
    return np.where(majority, places[best], -1).astype(np.int64)


Read = Callable[[Path, dict[str, str] | None], Faces]
"""Reads a source; pictures that cannot be used are an error, or put into the dictionary with what is wrong."""


def cached(path: Path, kind: str, read: Read, unusable: dict[str, str] | None = None) -> Faces:
    """What `read(path, unusable)` gives, from the cache where it is there and whole.

    `kind` tells apart readings of the same source. What lacks pictures is not kept.
    """
    place = path.resolve()
    folder = Path(os.environ.get("MIEN_CACHE") or place.parent)
    cache = folder / f".mien-{place.stem}-{_key(place, kind)}.npz"
    if cache.exists():
        try:
            with cache.open("rb") as stream, np.load(stream, allow_pickle=False) as packed:
                labels = tuple(packed["labels"].tolist())
                return Faces(packed["images"], packed["targets"], packed["splits"], packed["names"], labels)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            pass  # a damaged cache is only a cache: read the source again
    faces = read(path, unusable)
    if not unusable:
        with suppress(OSError):  # a read-only place costs only time
            _write(cache, faces)
    return faces


def _key(path: Path, kind: str) -> str:
    """Names the content: every byte of a file; names, sizes and times of a folder's files, caches left out."""
    digest = hashlib.sha256(f"2 {kind}".encode())
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            found = file.stat() if file.exists() else file.lstat()  # or a link to nothing
            if not S_ISDIR(found.st_mode) and not file.name.startswith((".mien-", "..mien-")):
                digest.update(f"{file.relative_to(path)} {found.st_size} {found.st_mtime_ns}\n".encode())
    else:
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()[:16]


def _write(cache: Path, faces: Faces) -> None:
    with files.draft(cache) as place, place.open("wb") as stream:
        np.savez(
            stream, images=faces.images, targets=faces.targets, splits=faces.splits, names=faces.names,
            labels=np.array(faces.labels),
        )  # fmt: skip


def _read(path: Path, unusable: dict[str, str] | None) -> Faces:
    read = _read_csv if path.suffix.lower() == ".csv" else _read_kaggle
    rows = sorted(read(path, unusable), key=lambda row: row[0])
    if not rows:
        raise DataError(f"{path} holds no FER2013 images; expected train/<class>/*.jpg and test/<class>/*.jpg")
    names, splits, targets, images = zip(*rows, strict=True)
    found = set(splits)
    missing = [name for index, name in enumerate(SPLITS) if index not in found]
    if missing:
        raise DataError(f"{path} has no {' and no '.join(missing)} images: is the copy complete?")
    return Faces(np.stack(images), np.array(targets, np.int64), np.array(splits, np.int8), np.array(names), EMOTIONS7)


Row = tuple[str, int, int, NDArray[np.uint8]]


def _refuse(unusable: dict[str, str] | None, path: Path, name: str, reason: str) -> None:
    if unusable is None:
        raise DataError(f"{path}, {name}: {reason}; mend or remove it (mien data audit finds all such pictures)")
    unusable[name] = reason


def _read_kaggle(path: Path, unusable: dict[str, str] | None) -> Iterator[Row]:
    for name, data in _files(path):
        parts = PurePosixPath(name).parts[-3:]
        if len(parts) < 3 or parts[0] not in ("train", "test"):
            hint = "of FER2013 only; unpack any other set and give the folder" if path.is_file() else "as in FER2013"
            raise DataError(f"{path}: {name} is not in train/<class>/ or test/<class>/, {hint}")
        split = parts[2].split("_")[0]
        if split not in SPLITS:
            raise DataError(f"{path}: the file name {name} must begin with {', '.join(SPLITS)} and an underscore")
        if parts[1] not in EMOTIONS7:
            raise DataError(f"{path}: unknown class folder {parts[1]!r} ({name}); known: {', '.join(EMOTIONS7)}")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
        if image is None:
            _refuse(unusable, path, name, "not a readable picture (truncated?)")
        elif image.shape != (48, 48):
            _refuse(unusable, path, name, f"{image.shape[1]}x{image.shape[0]} pixels, not 48x48")
        else:
            yield "/".join(parts), SPLITS.index(split), EMOTIONS7.index(parts[1]), image.astype(np.uint8)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in (".jpg", ".jpeg", ".png"):
                try:
                    content = file.read_bytes()
                except OSError as error:
                    raise DataError(f"{file} cannot be read ({error.strerror}); is the copy complete?") from error
                yield file.relative_to(path).as_posix(), content
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.lower().endswith((".jpg", ".jpeg", ".png")) and not name.startswith("__MACOSX"):
                    yield name, archive.read(name)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{path} is not a complete zip file ({error}); download it again") from error


def _read_csv(path: Path, unusable: dict[str, str] | None) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        reader = csv.DictReader(stream, skipinitialspace=True)
        columns = {name.strip().lower(): name for name in reader.fieldnames or []}
        if not {"emotion", "pixels", "usage"} <= set(columns):
            raise DataError(
                f"{path}: expected the columns emotion, pixels, Usage; found {', '.join(columns) or 'none'}"
            )
        for number, row in enumerate(reader, start=2):
            usage, emotion = (row[columns["usage"]] or "").strip(), (row[columns["emotion"]] or "").strip()
            pixels = (row[columns["pixels"]] or "").split()
            if usage not in SPLITS or not emotion.isdigit() or int(emotion) >= len(EMOTIONS7):
                raise DataError(f"{path}, line {number}: emotion {emotion!r} or Usage {usage!r} is not FER2013's")
            if len(pixels) != 48 * 48:
                _refuse(unusable, path, f"line {number}", f"{len(pixels)} pixels in place of 2304 (truncated?)")
                continue
            try:
                image = np.array(pixels, np.uint8).reshape(48, 48)
            except (ValueError, OverflowError):
                _refuse(unusable, path, f"line {number}", "pixels must be whole numbers from 0 to 255")
                continue
            yield f"{usage}_{number:06d}", SPLITS.index(usage), int(emotion), image


def _read_votes(path: Path, names: NDArray[np.str_]) -> NDArray[np.int16]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if not {"file", *FERPLUS} <= set(reader.fieldnames or []):
                raise DataError(f"{path}: expected the columns file, {', '.join(FERPLUS)}")
            table = {row["file"]: [int(row[name]) for name in FERPLUS] for row in reader}
    except OSError as error:
        raise DataError(f"cannot read the FER+ votes {path}: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: a vote is not a whole number ({error}); is the file truncated?") from error
    votes = np.array([table.get(str(name), [0] * len(FERPLUS)) for name in names], np.int16)
    if not votes.any():
        raise DataError(f"{path}: no file name in it matches the images; FER+ votes are joined by Kaggle file name")
    return votes


def views(path: Path | str, votes: Path | str | None, split: str = "PrivateTest") -> dict[str, Faces]:
    """The four views of the protocol on one split, five classes.

    T1: all images, FER2013 labels. T2: T1 without images that have an exact twin in another split. T3: images
    whose FER+ votes have a strict majority for one of the five classes, with that label. T4: where T1 and T3 agree.
    T3 and T4 are left out when there are no votes.
    """
    everything = load(path, classes=7, votes=votes, drop_leaks=False)
    groups = everything.groups()
    here = everything.splits == SPLITS.index(split)
    alone = ~np.isin(groups, groups[~here])
    found = {
        "T1": everything.take(here).with_labels(EMOTIONS),
        "T2": everything.take(here & alone).with_labels(EMOTIONS),
    }
    if everything.votes is not None:
        truth = ferplus_targets(everything)
        five = np.isin(truth, [EMOTIONS7.index(label) for label in EMOTIONS])
        voted = replace(everything, targets=np.where(five, truth, everything.targets))
        found["T3"] = voted.take(here & five).with_labels(EMOTIONS)
        found["T4"] = everything.take(here & five & (truth == everything.targets)).with_labels(EMOTIONS)
    return found
