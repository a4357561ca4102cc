"""Splits: drop leaks, carve missing ones out of Training."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import SPLITS, Faces


def without_leaks(faces: Faces) -> Faces:
    """Drop Training images that are pixel-identical to an image of a test split."""
    groups = faces.groups()
    tests = faces.splits != SPLITS.index("Training")
    return faces.take(tests | ~np.isin(groups, groups[tests]))


def carve_splits(faces: Faces) -> Faces:
    """Make each missing split from about a tenth of each class's Training images.

    Where the people are known, and each class shows enough of them, whole people move. Otherwise the hash of the pixels
    decides: names and order do not matter, and identical images stay in one split even if their labels differ. Twins of
    an image of a given split stay in Training.
    """
    missing = [split for split in (1, 2) if split not in faces.splits]
    splits = _by_person(faces, missing)
    return replace(faces, splits=_by_image(faces, missing) if splits is None else splits)


def _by_image(faces: Faces, missing: list[int]) -> NDArray[np.int8]:
    splits, groups = faces.splits.copy(), faces.groups()  # groups are numbered in the order of the hash
    train = (splits == 0) & ~np.isin(groups, groups[splits != 0])
    owner = np.full(len(faces), len(faces.labels))  # of a group: the first of its images' classes
    np.minimum.at(owner, groups[train], faces.targets[train])
    for target in range(len(faces.labels)):
        members = np.flatnonzero(owner == target)
        # A class with few images gives one to each split, but never its last Training image.
        tenth = max(1, round(len(members) / 10)) if len(members) > len(missing) else 0
        for place, split in enumerate(missing):
            splits[train & np.isin(groups, members[place * tenth : (place + 1) * tenth])] = split
    return splits


def _by_person(faces: Faces, missing: list[int]) -> NDArray[np.int8] | None:
    """Return the splits with whole people moved, or None where each class cannot be in each split that way."""
    train = faces.splits == SPLITS.index("Training")
    if faces.people is None or not missing or not (faces.people[train] != "").all():
        return None
    places = np.flatnonzero(train)
    people, numbers = np.unique(faces.people[train], return_inverse=True)
    counts = np.zeros((len(people), len(faces.labels)), np.int64)  # images of each person and class
    np.add.at(counts, (numbers, faces.targets[train]), 1)
    total = counts.sum(0)
    wanted = np.maximum(1, np.round(total / 10)) * (total > 0)
    shares = (counts / np.maximum(total, 1)).max(1)  # of each person in the class that needs the person most
    order = sorted(range(len(people)), key=lambda n: hashlib.blake2b(str(people[n]).encode(), digest_size=8).digest())
    splits, stays = faces.splits.copy(), np.ones(len(people), bool)
    for number, split in enumerate(missing, 1):
        given = np.zeros(len(total), np.int64)
        for last in (False, True):  # in the end, people with many images of a class where no others show it
            for person in order:
                shown = counts[person] > 0
                lacking = given == 0 if last else given < wanted
                # Each class keeps somebody for Training and for each further split.
                left = (counts[stays] > 0).sum(0) > len(missing) - number + 1
                if stays[person] and (lacking & shown).any() and left[shown].all() and (last or shares[person] <= 0.25):
                    stays[person], given = False, given + counts[person]
                    splits[places[numbers == person]] = split
        if ((given == 0) & (total > 0)).any():
            return None
    return splits
