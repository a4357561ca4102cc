"""Whole photographs in class folders, cropped as the pipeline crops them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mien.data.archive import read_members
from mien.data.class_folders import class_label
from mien.data.faces import Faces, key
from mien.errors import DataError, SourceError
from mien.faces.crop import crop
from mien.faces.detectors import load_detector
from mien.media.image import decode
from mien.media.paths import IMAGE_SUFFIXES, read_file
from mien.types import EMOTIONS8, Detector, Face, Image

PHOTO = 96
"""Shorter side in pixels from which an image can be a photograph; smaller ones are face crops."""

_VALIDATION = 10  # one person in so many
_FILLS = 0.6  # share of an image's longer side that the face has in a crop


def read_photographs(path: Path, unusable: dict[str, str] | None = None) -> Faces:
    """Read `<class>/<person>_<number>.jpg` from a folder or a zip file; the face nearest to the centre is cropped.

    The images of a person stay in one split: one person in ten is PublicTest, the others are Training. A file name
    without an underscore is a person of its own.

    Args:
        path: folder or zip file with a folder for each class.
        unusable: receives the name of each image that is damaged or shows no face, and why. Without it a damaged image
            is a DataError, and an image without a face is left out.
    """
    detector = load_detector("yunet", threads=1)

    def cut(item: tuple[str, bytes]) -> tuple[str, int, NDArray[np.uint8] | None, str]:
        name, data = item
        try:
            image = decode(data, name)
        except SourceError as error:
            if unusable is None:
                raise DataError(f"{path}: {error}") from error
            return name, 0, None, str(error)
        faces = detector(image)
        if not faces:
            return name, 0, None, "no face detected"
        return name, key(data), crop(image, central_face(faces, image.shape[1], image.shape[0])), ""

    def reject(name: str, reason: str) -> None:
        if unusable is None:
            raise DataError(f"{path}, {name}: {reason}; repair or remove it")
        unusable[name] = reason

    names, sources, crops = [], [], []
    with ThreadPoolExecutor() as pool:
        for name, source, image, reason in pool.map(cut, _files(path, reject)):
            if image is not None:
                names.append(name)
                sources.append(source)
                crops.append(image)
            elif unusable is not None:
                unusable[name] = reason
    if not names:
        raise DataError(f"{path} holds no photograph with a face; expected <class>/<person>_<number>.jpg")
    classes = [class_label(PurePosixPath(name).parts[-2]) for name in names]
    labels = (*(label for label in EMOTIONS8 if label in classes), *sorted(set(classes) - set(EMOTIONS8)))
    targets = np.array([labels.index(label) for label in classes], np.int64)
    people = [person_of(name) for name in names]
    columns = (np.stack(crops), targets, _splits(people), np.array(names))
    return Faces(*columns, labels, people=np.array(people), sources=np.array(sources, np.uint64))


def central_face(faces: Sequence[Face], width: int, height: int) -> Face:
    """Return the face nearest to the centre of the image; half of a face's side counts in its favour."""

    def distance(face: Face) -> float:
        x1, y1, x2, y2 = face.box
        return float(np.hypot((x1 + x2 - width) / 2, (y1 + y2 - height) / 2)) - max(x2 - x1, y2 - y1) / 2

    return min(faces, key=distance)


def have_surroundings(images: Iterable[Image], detector: Detector) -> bool:
    """Return whether most images are photographs, in which the face is much smaller than the image."""
    small = total = 0
    for image in images:
        total += 1
        height, width = image.shape[:2]
        if min(height, width) >= PHOTO and (faces := detector(image)):
            x1, y1, x2, y2 = central_face(faces, width, height).box
            small += max(x2 - x1, y2 - y1) < _FILLS * max(height, width)
    return bool(small > total / 2)


def person_of(name: str) -> str:
    """Return the person in a file name: `happy/0041_2.jpg` shows 0041; without an underscore, the name itself."""
    return PurePosixPath(name).stem.rpartition("_")[0] or name


def _splits(people: Sequence[str]) -> NDArray[np.int8]:
    order = sorted(set(people))
    chosen = set(np.random.default_rng(0).permutation(order)[: len(order) // _VALIDATION].tolist())
    return np.array([person in chosen for person in people], np.int8)


def _files(path: Path, reject: Callable[[str, str], None]) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.parent != path:
                name = file.relative_to(path).as_posix()
                try:
                    content = read_file(file)
                except SourceError as error:
                    reject(name, str(error).removeprefix(f"{file}: "))
                    continue
                yield name, content
        return
    yield from (item for item in read_members(path, tuple(IMAGE_SUFFIXES), reject) if "/" in item[0])
