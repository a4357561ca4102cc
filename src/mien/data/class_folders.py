"""Data sets with a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mien.data.ferplus import FERPLUS_NAMES
from mien.errors import DataError
from mien.media.paths import IMAGE_SUFFIXES

_ALIASES = {**FERPLUS_NAMES, "surprised": "surprise", "disgusted": "disgust", "fearful": "fear"}
FOLDER_SPLITS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}


class Item(NamedTuple):
    """A picture to read: split is an index into data.SPLITS, box (x1, y1, x2, y2) in pixels, origin what lists it."""

    file: Path
    label: str
    split: int
    origin: str = ""
    box: tuple[float, float, float, float] | None = None


def list_class_folders(root: Path, numbers: Mapping[str, str] | None = None) -> Iterator[Item]:
    """`<class>/*.jpg` or `{train,val|valid|validation|test}/<class>/*.jpg`, upper or lower case: torchvision's layout.

    Names such as anger or happiness become mien's; folders named by a number have the name that `numbers` gives.
    """
    for folder, split in class_folders(root):
        name = folder.name.lower()
        if numbers and name.isdigit() and name not in numbers:
            raise DataError(f"{folder}: the class {name} is not one of {', '.join(numbers)}")
        label = (numbers or {}).get(name) or _ALIASES.get(name, name)
        for file in some_images(folder):
            yield Item(file, label, split)


def class_folders(root: Path) -> list[tuple[Path, int]]:
    splits = [
        (folder, FOLDER_SPLITS[folder.name.lower()])
        for folder in _folders(root)
        if folder.name.lower() in FOLDER_SPLITS
    ]
    if not splits:
        return [(folder, 0) for folder in _folders(root)]
    return [(folder, split) for parent, split in splits for folder in _folders(parent)]


def inner_folder(path: Path) -> Path:
    """The folder that holds the set, where an archive was unpacked into folders around it."""
    parts = (*FOLDER_SPLITS, "train_set", "val_set", "image")  # a part of a set, alone where the copy is incomplete
    while len(inside := _folders(path)) == 1 and inside[0].name.lower() not in parts and _folders(inside[0]):
        path = inside[0]
    return path


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))


def images_below(folder: Path) -> Iterator[Path]:
    return (f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))


def some_images(folder: Path) -> list[Path]:
    files = sorted(images_below(folder)) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder} holds no pictures: fill it, remove it or copy the set again")
    return files
