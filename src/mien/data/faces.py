"""Faces: labelled crops in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mien.types import label_columns

SPLITS = ("Training", "PublicTest", "PrivateTest")


@dataclass(frozen=True, slots=True)
class Faces:
    """Labelled face crops.

    Attributes:
        images: uint8 (N, 48, 48), gray.
        targets: int64 (N,), index into `labels`.
        splits: int8 (N,), index into SPLITS.
        names: file name of each image inside its source.
        labels: names of the classes.
        votes: int16 (N, 10), FER+ votes in the order of FERPLUS, all 0 if an image has none; or None.
        people: who is in each image, "" where that is not known; or None.
        sources: uint64 (N,), `key` of each image's file where a detector cut the crop out of it; or None.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    splits: NDArray[np.int8]
    names: NDArray[np.str_]
    labels: tuple[str, ...]
    votes: NDArray[np.int16] | None = None
    people: NDArray[np.str_] | None = None
    sources: NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Faces:
        """Return the images chosen by a mask or by indices."""
        names = ("images", "targets", "splits", "names", "votes", "people", "sources")
        columns = {name: getattr(self, name) for name in names}
        return replace(self, **{name: column[keep] for name, column in columns.items() if column is not None})

    def split(self, name: str) -> Faces:
        """Return the images of one split."""
        return self.take(self.splits == SPLITS.index(name))

    def with_labels(self, labels: tuple[str, ...]) -> Faces:
        """Return the images of these classes; targets count in the new order."""
        label_columns(self.labels, labels, "the data")  # refuses a class that the data lacks
        return self.mapped(labels)

    def mapped(self, labels: tuple[str, ...]) -> Faces:
        """Return the images whose class is one of `labels`, by name, with targets in their order."""
        places = np.array([labels.index(name) if name in labels else -1 for name in self.labels])
        kept = self.take(places[self.targets] >= 0)
        return replace(kept, targets=places[kept.targets], labels=labels)

    def counts(self) -> dict[str, int]:
        """Return the number of images of each class."""
        return dict(zip(self.labels, np.bincount(self.targets, minlength=len(self.labels)).tolist(), strict=True))

    def groups(self) -> NDArray[np.int64]:
        """Return int64 (N,): equal numbers for pixel-identical images."""
        return np.unique(self.keys(), return_inverse=True)[1].astype(np.int64)

    def clusters(self) -> NDArray[np.int64]:
        """Return int64 (N,): equal numbers for images of one person, or for identical images where nobody is named."""
        if self.people is None or len(set(self.people.tolist())) < 2:
            return self.groups()
        known = self.people != ""
        names = np.where(known, np.char.add("person ", self.people), self.keys().astype(np.str_))
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    def keys(self) -> NDArray[np.uint64]:
        """Return uint64 (N,): a hash of each image's pixels, independent of the layout and order of the source.

        Where a detector cut the crops it is that of the files: another version may cut other crops out of them.
        """
        return (
            np.array([key(image.tobytes()) for image in self.images], np.uint64)
            if self.sources is None
            else self.sources
        )


def key(data: bytes) -> int:
    """Return a hash of 64 bits."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def statistics(faces: Faces) -> tuple[float, float]:
    """Return mean and standard deviation of all pixels, in 0..1."""
    counts = np.bincount(faces.images.ravel(), minlength=256).astype(np.float64)
    values = np.arange(256) / 255
    mean = float((counts * values).sum() / counts.sum())
    return mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
