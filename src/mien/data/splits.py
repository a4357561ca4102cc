"""Splits: leaks left out, missing ones made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mien.data.faces import SPLITS, Faces


def without_leaks(faces: Faces) -> Faces:
    """All images but the Training images that are pixel-identical to an image of a test split."""
    groups = faces.groups()
    tests = faces.splits != SPLITS.index("Training")
    return faces.take(tests | ~np.isin(groups, groups[tests]))


def carve_splits(faces: Faces) -> Faces:
    """Make each missing split from a tenth of each class's Training pictures.

    Which ones follows from the hash of their pixels alone: neither names nor order matter, and pictures with the same
    pixels stay on one side, even where their labels differ. Twins of a picture in a given split stay in Training.
    """
    splits, groups = faces.splits.copy(), faces.groups()  # numbered in the order of the hash
    missing = [split for split in (1, 2) if split not in splits]
    train = (splits == 0) & ~np.isin(groups, groups[splits != 0])
    owner = np.full(len(faces), len(faces.labels))  # the class of a group: the first of its pictures' classes
    np.minimum.at(owner, groups[train], faces.targets[train])
    for target in range(len(faces.labels)):
        members = np.flatnonzero(owner == target)
        # A class with few pictures gives one to each split, but never its last to training.
        tenth = max(1, round(len(members) / 10)) if len(members) > len(missing) else 0
        for place, split in enumerate(missing):
            splits[train & np.isin(groups, members[place * tenth : (place + 1) * tenth])] = split
    return replace(faces, splits=splits)
