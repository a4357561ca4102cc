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
    """An image to read.

    `split` is an index into SPLITS, `origin` the file and line that list it, `box` x1 y1 x2 y2, `person` the folder
    within the class folder, "" where there is none.
    """

    file: Path
    label: str
    split: int
    origin: str = ""
    box: tuple[float, float, float, float] | None = None
    person: str = ""


def list_class_folders(root: Path, numbers: Mapping[str, str] | None = None) -> Iterator[Item]:
    """Yield the images of `<class>/` or `{train,val|valid|validation|test}/<class>/`, in upper or lower case.

    A folder within a class folder holds the images of one person, or of one recording: `happy/anna/1.jpg`. Names such
    as anger or happiness become mien's; `numbers` names the folders that are numbers.
    """
    for folder, split in class_folders(root):
        name = folder.name.lower()
        if numbers and name.isdigit() and name not in numbers:
            raise DataError(f"{folder}: the class {name} is not one of {', '.join(numbers)}")
        label = (numbers or {}).get(name) or class_label(name)
        for file in list_images(folder):
            person = file.parent.relative_to(folder).as_posix()
            yield Item(file, label, split, person="" if person == "." else person)


def class_label(folder: str) -> str:
    """Return mien's name of a class folder: "Happiness" -> "happy"."""
    return _ALIASES.get(folder.lower(), folder.lower())


def class_folders(root: Path) -> list[tuple[Path, int]]:
    """Return the folders of the classes, each with its split."""
    splits = [(folder, FOLDER_SPLITS.get(folder.name.lower())) for folder in _folders(root)]
    if all(split is None for _, split in splits):
        return [(folder, 0) for folder, _ in splits]
    return [(folder, split) for parent, split in splits if split is not None for folder in _folders(parent)]


def inner_folder(path: Path) -> Path:
    """Return the folder that holds the set if an archive was unpacked into folders around it."""
    parts = (*FOLDER_SPLITS, "train_set", "val_set", "image")  # a part of a set, alone if the copy is incomplete
    while len(inside := _folders(path)) == 1 and inside[0].name.lower() not in parts and _folders(inside[0]):
        path = inside[0]
    return path


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))


def images_below(folder: Path) -> Iterator[Path]:
    return (f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))


def list_images(folder: Path) -> list[Path]:
    """Return the images in a folder and below; a DataError if there are none."""
    files = sorted(images_below(folder)) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder} holds no images: fill it, remove it or copy the set again")
    return files
