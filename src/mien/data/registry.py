"""RAF-DB, AffectNet, FER+ and any folder of class folders as `faces.Faces`; `load_any` recognises the layout.

Pictures of any size and colour become gray 48 x 48 by area averaging, stretched to a square: aligning faces is not done
here. Class numbers and names are mapped by name onto mien's emotions, contempt being the eighth. A split that a set
lacks is a tenth of its training pictures (see `splits.carve_splits`), so that nothing is chosen on test pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data import cache, fer2013
from mien.data.affectnet import AFFECTNET, list_affectnet
from mien.data.class_folders import Item, class_folders, images_below, inner_folder, list_class_folders
from mien.data.faces import Faces
from mien.data.ferplus import relabel
from mien.data.rafdb import RAFDB, list_rafdb
from mien.data.splits import carve_splits, without_leaks
from mien.errors import ConfigError, DataError, SourceError
from mien.faces.crop import crop, to_network_input
from mien.media.image import decode
from mien.media.paths import display, read_file
from mien.types import EMOTIONS, EMOTIONS7, EMOTIONS8, Face

KINDS = ("fer2013", "rafdb", "affectnet", "ferplus", "folder")
_CLASSES = {5: EMOTIONS, 7: EMOTIONS7, 8: EMOTIONS8}

_KNOWN = (
    "fer2013 (zip, csv, or train/<class>/Training_*.jpg and test/<class>/P*Test_*.jpg), "
    "rafdb (EmoLabel/list_patition_label.txt and Image/aligned, or {train,test}/{1..7}), "
    "affectnet (train_set/images and train_set/annotations, or Manually_Annotated_file_lists/training.csv), "
    "ferplus (FER2013 and votes; only when it is named), folder (<class>/*.jpg, or {train,val,test}/<class>/*.jpg)"
)


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
        classes: 5, 7 or 8: only pictures of these emotions, in mien's order; None: all classes that the set has.
        kind: one of KINDS; None: recognised from the layout. `ferplus` (FER2013's pictures, labelled by the majority of
            the FER+ votes) and class folders that are numbers have to be named.
        votes: csv of FER+ votes, for FER2013 and FER+ only.
        drop_leaks: leave out Training pictures that are pixel-identical to one of another split.
        unusable: filled with the name of each picture that cannot be used, and what is wrong with it; without it the
            first one is an error.

    Raises:
        DataError: an unknown layout, or a file that is missing, damaged or out of range; the message names it.
        ConfigError: no such kind, or votes where there are none.
    """
    path = Path(path)
    if classes is not None and classes not in _CLASSES:
        raise ConfigError(f"classes must be 5, 7 or 8, got {classes}")
    kind = recognise(path, kind)
    if kind in ("fer2013", "ferplus"):
        faces = fer2013.load_fer2013(path, 7, votes, drop_leaks, unusable)
        if kind == "ferplus":
            faces = relabel(faces)
    else:
        if votes is not None:
            raise ConfigError(f"FER+ votes belong to FER2013's pictures, not to {kind}: leave them out")
        if path.is_file():
            raise DataError(f"{path}: {kind} is read from a folder; unpack it first")
        faces = cache.cached(path, kind, partial(_read, kind), unusable)
        faces = without_leaks(faces) if drop_leaks else faces
    if classes is None:
        return faces
    labels = _CLASSES[classes]
    if missing := [label for label in labels if label not in faces.labels]:
        raise DataError(f"{path} ({kind}) has no class {', '.join(missing)}; it has {', '.join(faces.labels)}")
    return faces.with_labels(labels)


def recognise(path: Path | str, kind: str | None = None) -> str:
    """The kind of a data set: `kind` itself, or what the layout shows.

    Raises:
        DataError: nothing there, or no known layout, or numbered classes that more than one set could mean.
        ConfigError: no such kind.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not path.exists():
        raise DataError(f"{path} does not exist; give a data set: {_KNOWN}")
    if kind is not None:
        return kind
    if path.is_file():
        if path.suffix.lower() not in (".zip", ".csv"):
            raise DataError(f"{path}: no data set that mien knows. Known: {_KNOWN}")
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
            f"{path}: the classes are the numbers {', '.join(sorted(filled))}, which mean something else in each set; "
            f"name the kind: rafdb (1 {RAFDB[0]}, 2 {RAFDB[1]}, ...) or affectnet (0 {AFFECTNET[0]}, ...)"
        )
    if filled:
        return "folder"
    found = sorted(entry.name for entry in path.iterdir())
    raise DataError(
        f"{path}: no layout that mien knows. Known: {_KNOWN}. Found: {', '.join(found[:8]) or 'nothing'}"
        + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    )


def _read(kind: str, path: Path, unusable: dict[str, str] | None) -> Faces:
    root = inner_folder(path)
    listers: dict[str, Callable[[Path], Iterator[Item]]] = {
        "rafdb": list_rafdb,
        "affectnet": list_affectnet,
        "folder": list_class_folders,
    }
    items = sorted(listers[kind](root), key=lambda item: (str(item.file), item.origin))
    if not items:
        raise DataError(f"{path} holds no pictures of {kind}. Known layouts: {_KNOWN}")

    def cut(item: Item) -> NDArray[np.uint8] | DataError:
        try:
            return _crop(item)
        except DataError as error:
            return error

    good: list[Item] = []
    images: list[NDArray[np.uint8]] = []
    with ThreadPoolExecutor() as pool:
        for item, crop in zip(items, pool.map(cut, items), strict=True):
            if not isinstance(crop, DataError):
                good.append(item)
                images.append(crop)
            elif unusable is None:
                raise crop
            else:
                unusable[item.file.relative_to(root).as_posix()] = str(crop)
    if not good:
        raise DataError(f"{path}: none of its {len(items)} pictures can be read: is the copy complete?")
    items = good
    found = {item.label for item in items}
    labels = (*(name for name in EMOTIONS8 if name in found), *sorted(found - set(EMOTIONS8)))
    targets = np.array([labels.index(item.label) for item in items], np.int64)
    splits = np.array([item.split for item in items], np.int8)
    names = np.array([item.file.relative_to(root).as_posix() for item in items])
    if kind == "affectnet" and not (splits == 2).any():
        splits[splits == 1] = 2  # its validation set is used as test set
    return carve_splits(Faces(np.stack(images), targets, splits, names, labels))


def _crop(item: Item) -> NDArray[np.uint8]:
    try:
        data = read_file(item.file)
    except SourceError as error:
        listed = f"; {item.origin} names it" if item.origin else ""
        raise DataError(f"{error}{listed}") from error
    try:
        image = decode(data, display(item.file))
    except SourceError as error:
        raise DataError(str(error)) from error
    if item.box is None:
        return to_network_input(image)
    x1, y1, x2, y2 = item.box
    if not (x1 < image.shape[1] and y1 < image.shape[0] and x2 > 0 and y2 > 0):
        raise DataError(f"{item.origin}: the face box {item.box} lies outside of {item.file}; delete the line")
    return crop(image, Face(item.box), align=False)
