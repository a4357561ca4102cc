"""RAF-DB, AffectNet, FER+ and any folder of class folders as `data.Faces`; `load_any` recognises the layout.

Pictures of any size and colour become gray 48 x 48 by area averaging, stretched to a square: aligning faces is not done
here. Class numbers and names are mapped by name onto mien's emotions, contempt being the eighth. A split that a set
lacks is a tenth of its training pictures (see `_carve`), so that nothing is chosen on test pictures.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien import image
from mien.train import data
from mien.train.data import Faces
from mien.types import EMOTIONS, EMOTIONS7, ConfigError, DataError, Face, SourceError

KINDS = ("fer2013", "rafdb", "affectnet", "ferplus", "folder")
EMOTIONS8 = (*EMOTIONS7, "contempt")
RAFDB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""RAF-DB's labels 1..7 (Li, Deng, Du, CVPR 2017; whdeng.cn/RAF/model1.html)."""
AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
"""AffectNet's expressions 0..7; 8 none, 9 uncertain and 10 no face are left out (Mollahosseini et al., 2017)."""

_CLASSES = {5: EMOTIONS, 7: EMOTIONS7, 8: EMOTIONS8}
_ALIASES = {**data.FERPLUS_NAMES, "surprised": "surprise", "disgusted": "disgust", "fearful": "fear"}
_SPLITS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_BOX = ("face_x", "face_y", "face_width", "face_height")
_KNOWN = (
    "fer2013 (zip, csv, or train/<class>/Training_*.jpg and test/<class>/P*Test_*.jpg), "
    "rafdb (EmoLabel/list_patition_label.txt and Image/aligned, or {train,test}/{1..7}), "
    "affectnet (train_set/images and train_set/annotations, or Manually_Annotated_file_lists/training.csv), "
    "ferplus (FER2013 and votes; only when it is named), folder (<class>/*.jpg, or {train,val,test}/<class>/*.jpg)"
)


class Item(NamedTuple):
    """A picture to read: split is an index into data.SPLITS, box (x1, y1, x2, y2) in pixels, origin what lists it."""

    file: Path
    label: str
    split: int
    origin: str = ""
    box: tuple[float, float, float, float] | None = None


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
        faces = data.load(path, 7, votes, drop_leaks, unusable)
        if kind == "ferplus":
            faces = ferplus(faces)
    else:
        if votes is not None:
            raise ConfigError(f"FER+ votes belong to FER2013's pictures, not to {kind}: leave them out")
        if path.is_file():
            raise DataError(f"{path}: {kind} is read from a folder; unpack it first")
        faces = data.cached(path, kind, partial(_read, kind), unusable)
        faces = data.without_leaks(faces) if drop_leaks else faces
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
    root = _inner(path)
    if any(next(root.glob(pattern), None) for pattern in ("train/*/Training_*", "test/*/P*Test_*")):
        return "fer2013"
    if (root / "EmoLabel").is_dir() or (root / "Image" / "aligned").is_dir():
        return "rafdb"
    if any((root / name).is_dir() for name in ("Manually_Annotated_file_lists", "train_set/images", "val_set/images")):
        return "affectnet"
    filled = {folder.name for folder, _ in _class_folders(root) if any(_pictures(folder))}
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


def ferplus(faces: Faces) -> Faces:
    """FER2013 pictures with the class that has the majority of their FER+ votes, eight classes; the others are dropped.

    As in the FER+ authors' own code (`majority` in src/ferplus.py of microsoft/FERPlus; Barsoum et al., ICMI 2016,
    arXiv:1608.01041): single votes are struck out, then a class needs more than half of the rest, `unknown` and `NF`
    included; pictures whose majority is one of these two are dropped.
    """
    if faces.votes is None:
        raise DataError("FER+ labels need the votes: give ferplus_votes.csv")
    counts = np.where(faces.votes > 1, faces.votes, 0)
    names = [data.FERPLUS_NAMES.get(name, name) for name in data.FERPLUS]
    places = np.array([EMOTIONS8.index(name) if name in EMOTIONS8 else -1 for name in names])
    targets = np.where(counts.max(1) * 2 > counts.sum(1), places[counts.argmax(1)], -1).astype(np.int64)
    return replace(faces, targets=targets, labels=EMOTIONS8).take(targets >= 0)


def _read(kind: str, path: Path, unusable: dict[str, str] | None) -> Faces:
    root = _inner(path)
    listers: dict[str, Callable[[Path], Iterator[Item]]] = {"rafdb": _rafdb, "affectnet": _affectnet, "folder": _folder}
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
    return _carve(Faces(np.stack(images), targets, splits, names, labels))


def _crop(item: Item) -> NDArray[np.uint8]:
    try:
        picture = image.decode(item.file.read_bytes(), str(item.file))
    except OSError as error:
        listed = f"; {item.origin} names it" if item.origin else ""
        raise DataError(f"{item.file} cannot be read ({error.strerror}){listed}: is the copy complete?") from error
    except SourceError as error:
        raise DataError(str(error)) from error
    if item.box is None:
        return image.gray48(picture)
    x1, y1, x2, y2 = item.box
    if not (x1 < picture.shape[1] and y1 < picture.shape[0] and x2 > 0 and y2 > 0):
        raise DataError(f"{item.origin}: the face box {item.box} lies outside of {item.file}; delete the line")
    return image.crop(picture, Face(item.box), align=False)


def _carve(faces: Faces) -> Faces:
    """Make each missing split from a tenth of each class's Training pictures.

    Which ones follows from the hash of their pixels alone: neither names nor order matter, and pictures with the same
    pixels stay on one side, even where their labels differ. Twins of a picture in a given split stay in Training.
    """
    splits, groups = faces.splits.copy(), faces.groups()  # numbered in the order of the hash
    missing = [split for split in (1, 2) if split not in splits]
    train = (splits == 0) & ~np.isin(groups, groups[splits != 0])
    owner = np.full(len(faces), len(faces.labels))  # the class of a group: the first of its pictures' classes
    np.minimum.at(owner, groups[train], faces.targets[train])
    for target in range(len(faces.labels)):
        members = np.flatnonzero(owner == target)
        # A class with few pictures gives one to each split, but never its last to training.
        tenth = max(1, round(len(members) / 10)) if len(members) > len(missing) else 0
        for place, split in enumerate(missing):
            splits[train & np.isin(groups, members[place * tenth : (place + 1) * tenth])] = split
    return replace(faces, splits=splits)


def _rafdb(root: Path) -> Iterator[Item]:
    """RAF-DB, basic emotions: the official layout or the Kaggle one.

    Official: `EmoLabel/list_patition_label.txt` with lines such as `train_00001.jpg 5`, pictures in
    `Image/aligned/train_00001_aligned.jpg` (data preparation of POSTER, arXiv:2204.04083; data/RAFDB_100.py of
    msy1412/AU-ViT). Kaggle: `DATASET/{train,test}/{1..7}/` (kaggle.com/datasets/shuvoalok/raf-db-dataset).
    """
    if not (root / "EmoLabel").is_dir() and not (root / "Image").is_dir():
        yield from _folder(root, {str(number): name for number, name in enumerate(RAFDB, 1)})
        return
    listing = root / "EmoLabel" / "list_patition_label.txt"
    try:
        lines = listing.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{listing} cannot be read ({error.strerror}); RAF-DB's labels are in it") from error
    for number, line in enumerate(lines, 1):
        match line.split():
            case []:
                continue
            case [name, ("1" | "2" | "3" | "4" | "5" | "6" | "7") as label] if name.startswith(("train_", "test_")):
                stem = Path(name).stem.removesuffix("_aligned")
                file = root / "Image" / "aligned" / f"{stem}_aligned{Path(name).suffix}"
                split = _SPLITS[name.partition("_")[0]]
                yield Item(file, RAFDB[int(label) - 1], split, f"{listing}, line {number}")
            case _:
                wanted = "train_<number>.jpg or test_<number>.jpg and a label from 1 to 7"
                raise DataError(f"{listing}, line {number}: {line!r} is not {wanted}")


def _affectnet(root: Path) -> Iterator[Item]:
    """AffectNet in its three layouts; its validation set is used as test set, as in the literature.

    The newer download: `{train_set,val_set}/images/<id>.jpg` and `annotations/<id>_exp.npy` (armand-07/
    emotion_recognition). The first one: `Manually_Annotated_file_lists/{training,validation}.csv` with
    subDirectory_filePath, face_x, face_y, face_width, face_height, ..., expression, and the whole pictures in
    `Manually_Annotated_Images` (sb-ai-lab/EmotiEffLib, src/train_emotions.ipynb). Kaggle copies: class folders by name,
    or by AffectNet's number; some copies number the names alphabetically instead, so numbers are never guessed.
    """
    if (root / "Manually_Annotated_file_lists").is_dir():
        for name, split in (("training.csv", 0), ("validation.csv", 2)):
            yield from _affectnet_csv(root, root / "Manually_Annotated_file_lists" / name, split)
    elif (root / "train_set").is_dir() or (root / "val_set").is_dir():
        for name, split in (("train_set", 0), ("val_set", 2)):
            yield from _affectnet_npy(root / name, split)
    else:
        yield from _folder(root, {str(number): name for number, name in enumerate(AFFECTNET)})


def _affectnet_npy(folder: Path, split: int) -> Iterator[Item]:
    for file in _some(folder / "images"):
        note = folder / "annotations" / f"{file.stem}_exp.npy"
        try:
            label = _expression(str(np.load(note, allow_pickle=False).item()), str(note))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{note} is missing or holds no label: is the copy complete?") from error
        if label:
            yield Item(file, label, split, str(note))


def _affectnet_csv(root: Path, listing: Path, split: int) -> Iterator[Item]:
    pictures = root / "Manually_Annotated_Images"
    if not pictures.is_dir():
        pictures = root / "Manually_Annotated" / "Manually_Annotated_Images"
    try:
        with listing.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            rows = csv.DictReader(stream)
            missing = {"subDirectory_filePath", "expression", *_BOX} - set(rows.fieldnames or [])
            if missing:
                raise DataError(f"{listing}: the columns {', '.join(sorted(missing))} are missing")
            for row in rows:
                origin = f"{listing}, line {rows.line_num}"
                label = _expression(row["expression"], origin)
                if label:
                    yield Item(pictures / row["subDirectory_filePath"], label, split, origin, _box(row, origin))
    except (OSError, csv.Error) as error:
        raise DataError(f"{listing} cannot be read ({error}); AffectNet's labels are in it") from error


def _box(row: Mapping[str, str], origin: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(row[name]) for name in _BOX)
    except (TypeError, ValueError):
        width = height = 0.0
    if not (width > 0 and height > 0):
        raise DataError(f"{origin}: {', '.join(_BOX)} are no face box; delete the line")
    return x, y, x + width, y + height


def _expression(text: str | None, origin: str) -> str:
    """Name of an AffectNet number, "" for those that are no emotion."""
    if text is None or text.strip() not in {str(number) for number in range(11)}:
        raise DataError(f"{origin}: the expression {text!r} is not a number from 0 to 10")
    return AFFECTNET[int(text)] if int(text) < len(AFFECTNET) else ""


def _folder(root: Path, numbers: Mapping[str, str] | None = None) -> Iterator[Item]:
    """`<class>/*.jpg` or `{train,val|valid|validation|test}/<class>/*.jpg`, upper or lower case: torchvision's layout.

    Names such as anger or happiness become mien's; folders named by a number have the name that `numbers` gives.
    """
    for folder, split in _class_folders(root):
        name = folder.name.lower()
        if numbers and name.isdigit() and name not in numbers:
            raise DataError(f"{folder}: the class {name} is not one of {', '.join(numbers)}")
        label = (numbers or {}).get(name) or _ALIASES.get(name, name)
        for file in _some(folder):
            yield Item(file, label, split)


def _class_folders(root: Path) -> list[tuple[Path, int]]:
    splits = [(folder, _SPLITS[folder.name.lower()]) for folder in _folders(root) if folder.name.lower() in _SPLITS]
    if not splits:
        return [(folder, 0) for folder in _folders(root)]
    return [(folder, split) for parent, split in splits for folder in _folders(parent)]


def _inner(path: Path) -> Path:
    """The folder that holds the set, where an archive was unpacked into folders around it."""
    parts = (*_SPLITS, "train_set", "val_set", "image")  # a part of a set, alone where the copy is incomplete
    while len(inside := _folders(path)) == 1 and inside[0].name.lower() not in parts and _folders(inside[0]):
        path = inside[0]
    return path


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))


def _pictures(folder: Path) -> Iterator[Path]:
    return (f for f in folder.rglob("*") if f.suffix.lower() in _SUFFIXES and not f.name.startswith("."))


def _some(folder: Path) -> list[Path]:
    files = sorted(_pictures(folder)) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder} holds no pictures: fill it, remove it or copy the set again")
    return files
