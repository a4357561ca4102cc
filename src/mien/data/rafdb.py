"""RAF-DB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mien.data.class_folders import FOLDER_SPLITS, Item, list_class_folders
from mien.errors import DataError

RAFDB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""Labels 1..7 (Li, Deng, Du, CVPR 2017; whdeng.cn/RAF/model1.html)."""


def list_rafdb(root: Path) -> Iterator[Item]:
    """Yield the images of RAF-DB, basic emotions, in the official layout or the Kaggle one.

    - Official: `EmoLabel/list_patition_label.txt` with lines such as `train_00001.jpg 5`, images in
      `Image/aligned/train_00001_aligned.jpg` (data preparation of POSTER, arXiv:2204.04083; data/RAFDB_100.py of
      msy1412/AU-ViT).
    - Kaggle: `DATASET/{train,test}/{1..7}/` (kaggle.com/datasets/shuvoalok/raf-db-dataset).
    """
    if not (root / "EmoLabel").is_dir() and not (root / "Image").is_dir():
        yield from list_class_folders(root, {str(number): name for number, name in enumerate(RAFDB, 1)})
        return
    listing = root / "EmoLabel" / "list_patition_label.txt"
    try:
        lines = listing.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{listing} cannot be read ({error.strerror}); it holds RAF-DB's labels") from error
    for number, line in enumerate(lines, 1):
        match line.split():
            case []:
                continue
            case [name, ("1" | "2" | "3" | "4" | "5" | "6" | "7") as label] if name.startswith(("train_", "test_")):
                stem = Path(name).stem.removesuffix("_aligned")
                file = root / "Image" / "aligned" / f"{stem}_aligned{Path(name).suffix}"
                split = FOLDER_SPLITS[name.partition("_")[0]]
                yield Item(file, RAFDB[int(label) - 1], split, f"{listing}, line {number}")
            case _:
                expected = "train_<number>.jpg or test_<number>.jpg and a label from 1 to 7"
                raise DataError(f"{listing}, line {number}: {line!r} is not {expected}")
