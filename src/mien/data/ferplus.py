"""FER+: the votes of ten raters for FER2013's images."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import Faces
from mien.errors import DataError
from mien.types import EMOTIONS8

FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")

FERPLUS_NAMES = {"happiness": "happy", "sadness": "sad", "anger": "angry"}
"""FER+ names that differ from FER2013's."""


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


def relabel(faces: Faces) -> Faces:
    """FER2013 pictures with the class that has the majority of their FER+ votes, eight classes; the others are dropped.

    As in the FER+ authors' own code (`majority` in src/ferplus.py of microsoft/FERPlus; Barsoum et al., ICMI 2016,
    arXiv:1608.01041): single votes are struck out, then a class needs more than half of the rest, `unknown` and `NF`
    included; pictures whose majority is one of these two are dropped.
    """
    if faces.votes is None:
        raise DataError("FER+ labels need the votes: give ferplus_votes.csv")
    counts = np.where(faces.votes > 1, faces.votes, 0)
    names = [FERPLUS_NAMES.get(name, name) for name in FERPLUS]
    places = np.array([EMOTIONS8.index(name) if name in EMOTIONS8 else -1 for name in names])
    targets = np.where(counts.max(1) * 2 > counts.sum(1), places[counts.argmax(1)], -1).astype(np.int64)
    return replace(faces, targets=targets, labels=EMOTIONS8).take(targets >= 0)


def read_votes(path: Path, names: NDArray[np.str_]) -> NDArray[np.int16]:
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
