"""Splits: drop leaks, carve missing ones out of Training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mien.data.faces import SPLITS, Faces


def without_leaks(faces: Faces) -> Faces:
    """Drop Training images that are pixel-identical to an image of a test split."""
    groups = faces.groups()
    tests = faces.splits != SPLITS.index("Training")
    return faces.take(tests | ~np.isin(groups, groups[tests]))


def carve_splits(faces: Faces) -> Faces:
    """Make each missing split from a tenth of each class's Training images.

    The hash of the pixels alone decides: names and order do not matter, and identical images stay in one split even if
    their labels differ. Twins of an image of a given split stay in Training.
    """
    splits, groups = faces.splits.copy(), faces.groups()  # groups are numbered in the order of the hash
    missing = [split for split in (1, 2) if split not in splits]
    train = (splits == 0) & ~np.isin(groups, groups[splits != 0])
    owner = np.full(len(faces), len(faces.labels))  # of a group: the first of its images' classes
    np.minimum.at(owner, groups[train], faces.targets[train])
    for target in range(len(faces.labels)):
        members = np.flatnonzero(owner == target)
        # A class with few images gives one to each split, but never its last Training image.
        tenth = max(1, round(len(members) / 10)) if len(members) > len(missing) else 0
        for place, split in enumerate(missing):
            splits[train & np.isin(groups, members[place * tenth : (place + 1) * tenth])] = split
    return replace(faces, splits=splits)
