"""load_any: FER2013, RAF-DB, AffectNet, FER+ or any folder of class folders, recognised by its layout.

Images of any size and colour become gray 48 x 48 by area averaging, stretched to a square; faces are not aligned. If
most images of class folders are photographs with surroundings, the face in the middle of each is cut out as the
pipeline does it. Class numbers and names are mapped by name onto mien's emotions. A missing split is carved out of
Training (`splits.carve_splits`), so that nothing is chosen on test images.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data import cache, fer2013
from mien.data.affectnet import AFFECTNET, list_affectnet
from mien.data.class_folders import Item, class_folders, images_below, inner_folder, list_class_folders
from mien.data.faces import Faces, key
from mien.data.ferplus import relabel
from mien.data.photographs import PHOTO, central_face, have_surroundings, read_photographs
from mien.data.rafdb import RAFDB, list_rafdb
from mien.data.splits import carve_splits, without_leaks
from mien.errors import ConfigError, DataError, SourceError
from mien.faces.crop import crop, to_network_input
from mien.faces.detectors import load_detector
from mien.media.image import decode
from mien.media.paths import display, read_file
from mien.types import CLASSES, EMOTIONS8, Detector, Face, Image

KINDS = ("fer2013", "rafdb", "affectnet", "ferplus", "folder", "photographs")

_KNOWN = (
    "fer2013 (zip, csv, or train/<class>/Training_*.jpg and test/<class>/P*Test_*.jpg), "
    "rafdb (EmoLabel/list_patition_label.txt and Image/aligned, or {train,test}/{1..7}), "
    "affectnet (train_set/images and train_set/annotations, or Manually_Annotated_file_lists/training.csv), "
    "ferplus (FER2013 and votes; only with --kind), folder (<class>/*.jpg, or {train,val,test}/<class>/*.jpg), "
    "photographs (whole images or their zip: <class>/<person>_<n>.jpg; only with --kind)"
)

_SAMPLE = 32
"""Images of class folders that decide whether they are photographs with surroundings."""

logger = logging.getLogger("mien")


def load_any(
    path: Path | str,
    classes: int | None = None,
    kind: str | None = None,
    votes: Path | str | None = None,
    drop_leaks: bool = True,
    unusable: dict[str, str] | None = None,
) -> Faces:
    """Read a data set of any known layout.

    Args:
        path: FER2013's zip or csv, or the folder of an unpacked set.
        classes: 5, 7 or 8: only images of these emotions, in mien's order; None: all classes of the set.
        kind: one of KINDS; None: recognised from the layout. `ferplus` (FER2013's images, labelled by the majority of
            the FER+ votes), `photographs` (whole images, whose faces are detected) and most class folders that are
            numbers must be named.
        votes: csv of FER+ votes, for FER2013 and FER+ only.
        drop_leaks: leave out Training images that are pixel-identical to one of another split.
        unusable: receives the name of each unusable image and the reason; if None, the first one is an error.
    """
    path = Path(path)
    if classes is not None and classes not in CLASSES:
        raise ConfigError(f"classes must be 5, 7 or 8, got {classes}")
    kind = recognise(path, kind)
    if kind in ("fer2013", "ferplus"):
        faces = fer2013.load_fer2013(path, 7, votes, drop_leaks, unusable)
        if kind == "ferplus":
            faces = relabel(faces)
    else:
        if votes is not None:
            raise ConfigError(f"FER+ votes belong to FER2013's images, not to {kind}: leave them out")
        if path.is_file() and kind != "photographs":
            raise DataError(f"{path}: {kind} is read from a folder; unpack it first")
        read = read_photographs if kind == "photographs" else partial(_read_folder, kind)
        faces = cache.cached(path, kind, read, unusable)
        faces = without_leaks(faces) if drop_leaks else faces
    if classes is None:
        return faces
    labels = CLASSES[classes]
    if missing := [label for label in labels if label not in faces.labels]:
        raise DataError(f"{path} ({kind}) has no class {', '.join(missing)}; it has {', '.join(faces.labels)}")
    return faces.with_labels(labels)


def recognise(path: Path | str, kind: str | None = None) -> str:
    """Return the kind of a data set: `kind` itself, or the one of its layout."""
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not path.exists():
        raise DataError(f"{path} does not exist; give a data set: {_KNOWN}")
    if kind is not None:
        return kind
    if path.is_file():
        if path.suffix.lower() not in (".zip", ".csv"):
            raise DataError(f"{path}: not a known data set. Known: {_KNOWN}")
        return "fer2013"
    root = inner_folder(path)
    if any(next(root.glob(pattern), None) for pattern in ("train/*/Training_*", "test/*/P*Test_*")):
        return "fer2013"
    if (root / "EmoLabel").is_dir() or (root / "Image" / "aligned").is_dir():
        return "rafdb"
    if any((root / name).is_dir() for name in ("Manually_Annotated_file_lists", "train_set/images", "val_set/images")):
        return "affectnet"
    filled = {folder.name for folder, _ in class_folders(root) if any(images_below(folder))}
    if filled == {str(number) for number in range(1, 8)}:
        return "rafdb"
    if filled and all(name.isdigit() for name in filled):
        raise DataError(
            f"{path}: the classes are the numbers {', '.join(sorted(filled))}, which each set numbers differently; "
            f"give --kind: rafdb (1 {RAFDB[0]}, 2 {RAFDB[1]}, ...) or affectnet (0 {AFFECTNET[0]}, ...)"
        )
    if filled:
        return "folder"
    names = sorted(entry.name for entry in path.iterdir())
    raise DataError(
        f"{path}: not a known layout. Known: {_KNOWN}. Found: {', '.join(names[:8]) or 'nothing'}"
        + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    )


def _read_folder(kind: str, path: Path, unusable: dict[str, str] | None) -> Faces:
    root = inner_folder(path)
    listers: dict[str, Callable[[Path], Iterator[Item]]] = {
        "rafdb": list_rafdb,
        "affectnet": list_affectnet,
        "folder": list_class_folders,
    }
    items = sorted(listers[kind](root), key=lambda item: (str(item.file), item.origin))
    if not items:
        raise DataError(f"{path} holds no images of {kind}. Known layouts: {_KNOWN}")

    usable: list[Item] = []
    images: list[NDArray[np.uint8]] = []
    detector = _detector_for(items) if kind == "folder" else None
    without_face = 0
    with ThreadPoolExecutor() as pool:
        for item, image in zip(items, pool.map(partial(_crop_or_error, detector=detector), items), strict=True):
            name = item.file.relative_to(root).as_posix()
            if image is None:
                without_face += 1
                if unusable is not None:
                    unusable[name] = "no face detected"
            elif not isinstance(image, DataError):
                usable.append(item)
                images.append(image)
            elif unusable is None:
                raise image
            else:
                unusable[name] = str(image)
    if detector:
        left_out = f", and {without_face} without a face are left out" if without_face else ""
        logger.warning("%s: photographs: the face in the middle of each is cut out%s", display(path), left_out)
    if not usable:
        raise DataError(f"{path}: none of its {len(items)} images can be read: is the copy complete?")
    known = {item.label for item in usable}
    labels = (*(name for name in EMOTIONS8 if name in known), *sorted(known - set(EMOTIONS8)))
    targets = np.array([labels.index(item.label) for item in usable], np.int64)
    splits = np.array([item.split for item in usable], np.int8)
    names = np.array([item.file.relative_to(root).as_posix() for item in usable])
    if kind == "affectnet" and not (splits == 2).any():
        splits[splits == 1] = 2  # the validation set is used as test set
    people = np.array([item.person for item in usable])
    columns = (np.stack(images), targets, splits, names)
    known_people = people if (people != "").any() else None
    sources = np.array([key(read_file(item.file)) for item in usable], np.uint64) if detector else None
    return carve_splits(Faces(*columns, labels, people=known_people, sources=sources))


def _detector_for(items: Sequence[Item]) -> Detector | None:
    """Return the detector that cuts the faces out of photographs, or None if the images are face crops."""
    detector = load_detector("yunet", threads=1)
    sample = []
    for item in items[:: -(-len(items) // _SAMPLE)]:
        with suppress(DataError):
            sample.append(_read(item))
    return detector if have_surroundings(sample, detector) else None


def _crop_or_error(item: Item, detector: Detector | None) -> NDArray[np.uint8] | DataError | None:
    try:
        return _crop(item, detector)
    except DataError as error:
        return error


def _read(item: Item) -> Image:
    try:
        data = read_file(item.file)
    except SourceError as error:
        listed = f"; {item.origin} names it" if item.origin else ""
        raise DataError(f"{error}{listed}") from error
    try:
        return decode(data, display(item.file))
    except SourceError as error:
        raise DataError(str(error)) from error


def _crop(item: Item, detector: Detector | None) -> NDArray[np.uint8] | None:
    """Return the network's input, or None if a photograph shows no face."""
    image = _read(item)
    if detector and min(image.shape[:2]) >= PHOTO:
        faces = detector(image)
        return crop(image, central_face(faces, image.shape[1], image.shape[0])) if faces else None
    if item.box is None:
        return to_network_input(image)
    x1, y1, x2, y2 = item.box
    if not (x1 < image.shape[1] and y1 < image.shape[0] and x2 > 0 and y2 > 0):
        raise DataError(f"{item.origin}: the face box {item.box} lies outside {item.file}; delete the line")
    return crop(image, Face(item.box), align=False)
