"""FER+: the votes of ten raters for FER2013's images."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import Faces
from mien.errors import DataError
from mien.media.foreign import parsing
from mien.types import EMOTIONS8

FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")

EMOTION_VOTES = 8
"""Number of columns that are emotions; the last two are `unknown` and `NF`, no face."""

_VOTE = re.compile(r"\s*[0-9]{1,3}\s*")

FERPLUS_NAMES = {"happiness": "happy", "sadness": "sad", "anger": "angry"}
"""FER+ names that differ from FER2013's."""


def ferplus_targets(faces: Faces) -> NDArray[np.int64]:
    """Return the class with a strict majority of all votes, as an index into `faces.labels`; -1 if there is none."""
    if faces.votes is None:
        raise DataError("FER+ targets need the votes: give --votes ferplus_votes.csv")
    return majority(faces.votes, faces.labels)


def majority(votes: NDArray[np.int16], labels: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the label with more than half of the votes, those for `unknown` and `NF` included; -1 if there is none."""
    names = [FERPLUS_NAMES.get(name, name) for name in FERPLUS]
    places = np.array([labels.index(name) if name in labels else -1 for name in names])
    return np.where(votes.max(1) * 2 > votes.sum(1), places[votes.argmax(1)], -1).astype(np.int64)


def relabel(faces: Faces) -> Faces:
    """Label FER2013's images with the majority of their votes, eight classes, and drop those without one.

    As in the FER+ authors' code (`majority` in src/ferplus.py of microsoft/FERPlus; Barsoum et al., ICMI 2016,
    arXiv:1608.01041): single votes are struck out, then a class needs more than half of the rest.
    """
    if faces.votes is None:
        raise DataError("FER+ labels need the votes: give ferplus_votes.csv")
    targets = majority(np.where(faces.votes > 1, faces.votes, 0).astype(np.int16), EMOTIONS8)
    return replace(faces, targets=targets, labels=EMOTIONS8).take(targets >= 0)


def read_votes(path: Path, names: NDArray[np.str_]) -> NDArray[np.int16]:
    """Return int16 (N, 10), the votes for the files of these names."""
    table = {}
    with (
        parsing(path, DataError, "cannot be read as FER+ votes", "is the file complete?"),
        path.open(newline="", encoding="utf-8") as stream,
    ):
        reader = csv.DictReader(stream)
        if not {"file", *FERPLUS} <= set(reader.fieldnames or []):
            raise DataError(f"{path}: expected the columns file, {', '.join(FERPLUS)}")
        for row in reader:
            texts = [row[name] for name in FERPLUS]
            if not all(text is not None and _VOTE.fullmatch(text) for text in texts):
                raise DataError(
                    f"{path}, line {reader.line_num}: a vote is not a whole number below 1000; is the file truncated?"
                )
            table[row["file"]] = [int(text) for text in texts]
    votes = np.array([table.get(str(name), [0] * len(FERPLUS)) for name in names], np.int16)
    if not votes.any():
        raise DataError(f"{path}: no file name in it matches the images; FER+ votes are joined by Kaggle file name")
    return votes
