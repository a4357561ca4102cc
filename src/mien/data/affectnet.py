"""AffectNet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mien.data.class_folders import Item, list_class_folders, list_images
from mien.errors import DataError
from mien.media.foreign import parsing, short

AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
"""Expressions 0..7; 8 none, 9 uncertain and 10 no face are left out (Mollahosseini et al., 2017)."""

_BOX = ("face_x", "face_y", "face_width", "face_height")


def list_affectnet(root: Path) -> Iterator[Item]:
    """Yield the images of any of three layouts; the validation set is used as test set, as in the literature.

    - Newer download: `{train_set,val_set}/images/<id>.jpg` and `annotations/<id>_exp.npy` (armand-07/
      emotion_recognition).
    - First download: `Manually_Annotated_file_lists/{training,validation}.csv` with subDirectory_filePath, face_x,
      face_y, face_width, face_height, ..., expression, and whole images in `Manually_Annotated_Images`
      (sb-ai-lab/EmotiEffLib, src/train_emotions.ipynb).
    - Kaggle copies: class folders by name or by AffectNet's number. Some copies number the names alphabetically, so
      numbers are never guessed.
    """
    if (root / "Manually_Annotated_file_lists").is_dir():
        for name, split in (("training.csv", 0), ("validation.csv", 2)):
            yield from _list_csv(root, root / "Manually_Annotated_file_lists" / name, split)
    elif (root / "train_set").is_dir() or (root / "val_set").is_dir():
        for name, split in (("train_set", 0), ("val_set", 2)):
            yield from _list_npy(root / name, split)
    else:
        yield from list_class_folders(root, {str(number): name for number, name in enumerate(AFFECTNET)})


def _list_npy(folder: Path, split: int) -> Iterator[Item]:
    for file in list_images(folder / "images"):
        annotation = folder / "annotations" / f"{file.stem}_exp.npy"
        with parsing(annotation, DataError, "is missing or holds no label", "is the copy complete?"):
            label = _expression(str(np.load(annotation, allow_pickle=False).item()), str(annotation))
        if label:
            yield Item(file, label, split, str(annotation))


def _list_csv(root: Path, listing: Path, split: int) -> Iterator[Item]:
    images = root / "Manually_Annotated_Images"
    if not images.is_dir():
        images = root / "Manually_Annotated" / "Manually_Annotated_Images"
    with (
        parsing(listing, DataError, "cannot be read", "it holds AffectNet's labels"),
        listing.open(newline="", encoding="utf-8-sig", errors="replace") as stream,
    ):
        rows = csv.DictReader(stream)
        missing = {"subDirectory_filePath", "expression", *_BOX} - set(rows.fieldnames or [])
        if missing:
            raise DataError(f"{listing}: the columns {', '.join(sorted(missing))} are missing")
        for row in rows:
            origin = f"{listing}, line {rows.line_num}"
            label = _expression(row["expression"], origin)
            if label:
                yield Item(images / row["subDirectory_filePath"], label, split, origin, _face_box(row, origin))


def _face_box(row: Mapping[str, str], origin: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(row[name]) for name in _BOX)
    except (TypeError, ValueError):
        width = height = 0.0
    if not (width > 0 and height > 0):
        raise DataError(f"{origin}: {', '.join(_BOX)} are no face box; delete the line")
    return x, y, x + width, y + height


def _expression(text: str | None, origin: str) -> str:
    """Return the name of an expression number, or "" if it is no emotion."""
    if text is None or text.strip() not in {str(number) for number in range(11)}:
        raise DataError(f"{origin}: the expression {short(text)} is not a number from 0 to 10")
    return AFFECTNET[int(text)] if int(text) < len(AFFECTNET) else ""
