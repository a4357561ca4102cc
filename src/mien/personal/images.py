"""Fits the class priors of one person from labelled images, tested by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.class_folders import class_folders, class_label, images_below, inner_folder
from mien.data.photographs import central_face
from mien.errors import DataError, SourceError
from mien.personal.fit import Trial, score, solve
from mien.personal.prior import Array, shift_probabilities
from mien.pipeline import Pipeline
from mien.types import Floats, label_columns

LEAST = 3
"""Images that each class needs."""

FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Album:
    """A model's predictions for the labelled images of one person.

    Attributes:
        labels: the shown classes, at least two, in the order of the columns.
        probabilities: float32 (N, C), rows sum to 1 over these classes.
        truth: (N,), index into `labels`.
        sessions: (N,), equal numbers for images of one folder within a class folder; such images are alike.
        faceless: names of the images without a face.
        unknown: folders whose class the model does not know.
    """

    labels: tuple[str, ...]
    probabilities: Floats
    truth: NDArray[np.intp]
    sessions: NDArray[np.intp]
    faceless: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def read_album(folder: Path, pipeline: Pipeline) -> Album:
    """Classify the images of `<class>/*.jpg` or `<class>/<session>/*.jpg`; the face nearest to the centre counts."""
    known = tuple(pipeline.classifier.labels)
    rows: list[list[float]] = []
    truth: list[str] = []
    sessions: list[str] = []
    faceless: list[str] = []
    unknown: list[str] = []
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give one with a folder of images for each class: happy/1.jpg ...")
    root = inner_folder(folder)
    for place, _ in class_folders(root):
        label = class_label(place.name)
        if label not in known:
            unknown.append(place.name)
            continue
        for file in sorted(images_below(place)):
            name = file.relative_to(root).as_posix()
            try:
                result = pipeline(file)
            except SourceError as error:
                raise DataError(str(error)) from error
            if not result.faces:
                faceless.append(name)
                continue
            height, width = result.frame.shape[:2]
            face = central_face(result.faces, width, height)
            rows.append([face.probabilities[name] for name in known])
            truth.append(label)
            inside = file.parent.relative_to(place).as_posix()
            sessions.append(name if inside == "." else inside)
    labels = tuple(label for label in known if label in truth)
    if len(labels) < 2:
        found = ", ".join(labels) or "none"
        raise DataError(f"{folder}: images of two classes or more are needed, with a face; found: {found}")
    if few := [f"{label} {truth.count(label)}" for label in labels if truth.count(label) < LEAST]:
        raise DataError(f"{folder}: {LEAST} images with a face are needed of each class; found: {', '.join(few)}")
    found_rows = np.array(rows, np.float32)[:, label_columns(known, labels)]
    found_rows /= found_rows.sum(1, keepdims=True)
    numbers = np.unique(sessions, return_inverse=True)[1].astype(np.intp)
    columns = np.array([labels.index(label) for label in truth], np.intp)
    return Album(labels, found_rows, columns, numbers, tuple(faceless), tuple(unknown))


def fit(album: Album, labels: Sequence[str]) -> dict[str, float]:
    """Fit the shift of each label's logit; a class that no image shows keeps the shift 0."""
    shifts = solve(album.probabilities, album.truth, _weight(album.truth))
    found = dict(zip(album.labels, shifts, strict=True))
    return {label: round(float(found.get(label, 0.0)), 6) for label in labels}


def cross_validate(album: Album) -> Trial:
    """Fit without a part of the images and measure on it, for each part; a session is never in both."""
    shifted = np.array(album.probabilities, np.float64)
    for part in folds(album):
        rest = ~part
        if len(set(album.truth[rest].tolist())) < len(album.labels):
            raise DataError("a class has its images in one session: give images of two sessions for each class")
        factors = np.exp(solve(album.probabilities[rest], album.truth[rest], _weight(album.truth[rest])))
        shifted[part] = shift_probabilities(album.probabilities[part], factors)
    before, after = (score(rows, album.truth) for rows in (album.probabilities, shifted))
    old, new = (dict(zip(album.labels, found[0].tolist(), strict=True)) for found in (before, after))
    return Trial(old, new, before[1], after[1])


def folds(album: Album) -> list[NDArray[np.bool_]]:
    """Deal the sessions into FOLDS parts, or fewer, so that the images of each class are spread evenly: masks (N,)."""
    sizes = np.bincount(album.sessions)
    order = sorted(range(len(sizes)), key=lambda number: (-sizes[number], number))
    counts: Array = np.zeros((min(FOLDS, len(sizes)), len(album.labels)))
    parts = np.zeros(len(sizes), np.intp)
    for number in order:
        own = np.bincount(album.truth[album.sessions == number], minlength=len(album.labels))
        parts[number] = int(np.argmin((counts * own).sum(1) + 1e-3 * counts.sum(1)))
        counts[parts[number]] += own
    return [mask for k in range(len(counts)) if (mask := parts[album.sessions] == k).any()]


def _weight(truth: NDArray[np.intp]) -> float:
    """Return the number of images of the rarest class: each is one independent prediction."""
    return float(np.bincount(truth).min())
