"""What is wrong with a set of faces: copies, leaks, conflicting labels, blank and blurred pictures, doubtful labels.

Needs no torch. `audit` looks at pictures in memory, `audit_source` reads them first; audit_page.py shows the outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.train import data
from mien.train.data import Faces
from mien.train.datasets import load_any
from mien.train.near import Pair, near_pairs
from mien.types import EMOTIONS, DataError

NEAR = 0.93
"""Correlation from which two pictures count as near-duplicates. Chosen by eye on FER2013: of 133 pairs from 0.930 to
0.935 one shows two people, of 60 pairs from 0.90 to 0.91 eight do."""
BLANK = 5.0
"""Standard deviation of the pixels (0..255) below which a picture counts as blank; FER2013's darkest face has 9."""
BLURRED = 0.1
"""Sharpness below which a picture counts as blurred. FER2013 has a median of 0.75; a blur of 1 pixel makes it 0.07."""
BLURRED_SPLIT = 0.7
"""Median sharpness of a split, relative to the sharpest split, below which it counts as blurred. The splits of FER2013
lie within 2 %; JPEG at quality 50 gives 0.86, a Gaussian blur of half a pixel 0.48."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Labels against FER+.

    Attributes:
        table: label -> what the strict majority of the raters saw -> images; FER+'s other answers, `no majority` and
            `no votes` are columns too.
        share: label -> share of the images with a strict majority whose majority differs from the label, 0..1.
        disagree: those images, the clearest first.
        seen: what the majority saw in each of them.
        agreement: share of the votes that the majority has, for each of them.
    """

    table: Mapping[str, Mapping[str, int]]
    share: Mapping[str, float]
    disagree: tuple[int, ...]
    seen: tuple[str, ...]
    agreement: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """What `audit` found. Images are given by their index in `faces`.

    Attributes:
        faces: what was looked at.
        near_from: correlation from which pairs are in `near`.
        duplicates: groups of pixel-identical images, the largest first.
        leaks: Training images that are identical to an image of a test split.
        near: pairs of different images that show almost the same, the most similar first.
        near_leaks: Training images, not in `leaks`, that have such a pair with an image of a test split.
        blank: images of almost one gray.
        blurred: blurred images, the worst first.
        sharpness: split -> median sharpness.
        blurred_splits: splits whose median lies far below the sharpest split's.
        balance: split -> class -> images.
        votes: labels against FER+, or None without votes.
        unusable: name -> what is wrong, of pictures that are broken or of another size; they are not in `faces`.
    """

    faces: Faces
    near_from: float
    duplicates: tuple[tuple[int, ...], ...]
    leaks: tuple[int, ...]
    near: tuple[Pair, ...]
    near_leaks: tuple[int, ...]
    blank: tuple[int, ...]
    blurred: tuple[int, ...]
    sharpness: Mapping[str, float]
    blurred_splits: tuple[str, ...]
    balance: Mapping[str, Mapping[str, int]]
    votes: Votes | None
    unusable: Mapping[str, str] = field(default_factory=dict)

    @property
    def conflicts(self) -> tuple[tuple[int, ...], ...]:
        """Groups of identical images whose labels differ."""
        return tuple(group for group in self.duplicates if len(set(self.faces.targets[list(group)].tolist())) > 1)

    def findings(self) -> list[tuple[str, int, str]]:
        """(what, how many, remark) of each kind, in words."""
        faces, groups = self.faces, self.duplicates
        five = sum(faces.labels[faces.targets[i]] in EMOTIONS for i in self.leaks)
        across = sum(len(set(faces.splits[list(group)].tolist())) > 1 for group in groups)
        near_conflicts = sum(faces.targets[p.first] != faces.targets[p.second] for p in self.near)
        found = [
            ("pictures that are broken or of another size", len(self.unusable), "left out of all other figures"),
            ("redundant copies", sum(len(g) - 1 for g in groups), f"{len(groups):,} groups of identical images"),
            ("groups within one split", len(groups) - across, ""),
            ("groups across splits", across, ""),
            ("groups with conflicting labels", len(self.conflicts), f"{sum(map(len, self.conflicts)):,} images"),
            ("Training images identical to a test image", len(self.leaks), f"{five:,} of the five classes"),
            ("near-duplicate pairs", len(self.near), f"{near_conflicts:,} with different labels"),
            ("near-duplicate pairs, mirrored", sum(p.mirrored for p in self.near), ""),
            ("other Training images close to a test image", len(self.near_leaks), f"correlation {self.near_from:g}"),
            ("blank images", len(self.blank), ""),
            ("blurred images", len(self.blurred), ""),
            ("blurred splits", len(self.blurred_splits), ", ".join(self.blurred_splits)),
        ]
        if self.votes is not None:
            found.append(("labels against the FER+ majority", len(self.votes.disagree), ""))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Counts, and the name of every image found: safe for `json.dumps`."""
        return {
            "images": len(self.faces),
            "unusable": dict(self.unusable),
            "thresholds": {
                "near": self.near_from, "blank": BLANK, "blurred": BLURRED, "blurred_split": BLURRED_SPLIT
            },
            "counts": {what: int(count) for what, count, _ in self.findings()},
            "duplicates": [{"images": self.images(group)} for group in self.duplicates],
            "conflicts": [{"images": self.images(group)} for group in self.conflicts],
            "leaks": self._names(self.leaks),
            "near": [
                {"images": self.images((p.first, p.second)), "correlation": round(p.correlation, 4),
                 "mirrored": p.mirrored}
                for p in self.near
            ],
            "near_leaks": self._names(self.near_leaks),
            "blank": self._names(self.blank),
            "blurred": self._names(self.blurred),
            "sharpness": {split: round(value, 4) for split, value in self.sharpness.items()},
            "blurred_splits": list(self.blurred_splits),
            "balance": {split: dict(counts) for split, counts in self.balance.items()},
            "ferplus": None if self.votes is None else {
                "table": {label: dict(row) for label, row in self.votes.table.items()},
                "share": {label: round(value, 4) for label, value in self.votes.share.items()},
                "disagree": [
                    {**image, "seen": seen, "agreement": round(agreement, 4)}
                    for image, seen, agreement in zip(
                        self.images(self.votes.disagree), self.votes.seen, self.votes.agreement, strict=True
                    )
                ],
            },
        }  # fmt: skip

    def _names(self, indices: Iterable[int]) -> list[str]:
        return [str(self.faces.names[i]) for i in indices]

    def images(self, indices: Iterable[int]) -> list[dict[str, str]]:
        """Name, label and split of some images."""
        faces = self.faces
        return [
            {
                "name": str(faces.names[i]),
                "label": faces.labels[faces.targets[i]],
                "split": data.SPLITS[faces.splits[i]],
            }
            for i in indices
        ]


def audit_source(
    path: Path | str, votes: Path | str | None = None, near: float = NEAR, kind: str | None = None
) -> Audit:
    """Read all classes of a data set, leaks included, and look at them; pictures that cannot be used are findings too.

    Args:
        path: of a data set of any layout that `datasets.load_any` knows.
        votes: csv of FER+ votes, for FER2013 only.
        near: as of `audit`.
        kind: one of `datasets.KINDS`, where the layout is not recognised.

    Raises:
        DataError: as `load_any`, or no picture at all can be used.
        ConfigError: no such kind, or votes where there are none.
    """
    unusable: dict[str, str] = {}
    faces = load_any(path, None, kind, votes, drop_leaks=False, unusable=unusable)
    return replace(audit(faces, near), unusable=unusable)


def audit(faces: Faces, near: float = NEAR) -> Audit:
    """Look at labelled faces.

    Args:
        faces: of `data.load`, best with all seven classes and with the leaks.
        near: correlation, over 0 and at most 1, from which two images count as near-duplicates.

    Raises:
        DataError: `near` is out of range, or so low that more than a million pairs reach it.
    """
    if not 0 < near <= 1:
        raise DataError(f"the correlation of near-duplicates must be over 0 and at most 1, got {near:g}")
    groups = faces.groups()
    training = faces.splits == data.SPLITS.index("Training")
    tested = np.bincount(groups[~training], minlength=groups.max(initial=-1) + 1) > 0  # groups with a test image
    flat = np.array([image.std() < BLANK for image in faces.images], bool)
    sharp = sharpness(faces.images)
    alone = np.sort(np.unique(groups, return_index=True)[1])
    pairs = near_pairs(faces.images, alone[~flat[alone]], near)
    close = np.zeros(len(tested), bool)  # groups that resemble a group with a test image
    for pair in pairs:
        a, b = groups[pair.first], groups[pair.second]
        close[a] |= tested[b]
        close[b] |= tested[a]
    blurred = np.flatnonzero(~flat & (sharp < BLURRED))
    present = [(k, split) for k, split in enumerate(data.SPLITS) if (faces.splits == k).any()]
    medians = {split: float(np.median(sharp[faces.splits == k])) for k, split in present}
    sharpest = max(medians.values(), default=0.0)
    return Audit(
        faces=faces,
        near_from=near,
        duplicates=_identical(groups),
        leaks=_indices(training & tested[groups]),
        near=tuple(pairs),
        near_leaks=_indices(training & close[groups] & ~tested[groups]),
        blank=_indices(flat),
        blurred=tuple(blurred[np.argsort(sharp[blurred], kind="stable")].tolist()),
        sharpness=medians,
        blurred_splits=tuple(split for split, value in medians.items() if value < BLURRED_SPLIT * sharpest),
        balance={
            split: {
                label: int(((faces.splits == k) & (faces.targets == c)).sum()) for c, label in enumerate(faces.labels)
            }
            for k, split in present
        },
        votes=None if faces.votes is None else _votes(faces, faces.votes),
    )


def sharpness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Variance of the Laplacian over the variance of the pixels; 0 for a picture of one gray.

    The variance of the Laplacian alone takes a dark or foggy picture for a blurred one; the ratio does not depend on
    contrast.

    Args:
        images: uint8 (N, H, W), gray.

    Returns:
        float64 (N,), 0 and more.
    """
    edges = np.array([cv2.Laplacian(image, cv2.CV_32F).var(dtype=np.float64) for image in images])
    contrast = np.array([image.var() for image in images])
    return np.asarray(np.divide(edges, contrast, out=np.zeros(len(images)), where=contrast > 0), np.float64)


def _identical(groups: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return tuple(sorted((tuple(p.tolist()) for p in parts if len(p) > 1), key=lambda group: (-len(group), group)))


def _indices(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())


def _votes(faces: Faces, votes: NDArray[np.int16]) -> Votes:
    names = [data.FERPLUS_NAMES.get(name, name) for name in data.FERPLUS]
    total = votes.sum(1)
    majority = votes.max(1) * 2 > total
    seen = np.where(majority, np.array(names)[votes.argmax(1)], np.where(total > 0, "no majority", "no votes"))
    labels = np.array(faces.labels)[faces.targets]
    columns = [*faces.labels, *(name for name in names if name not in faces.labels), "no majority", "no votes"]
    table = {x: {y: int(((labels == x) & (seen == y)).sum()) for y in columns} for x in faces.labels}
    differ = majority & (seen != labels)
    share = {x: float(differ[labels == x].sum() / max(1, majority[labels == x].sum())) for x in faces.labels}
    clear = votes.max(1) / np.maximum(1, total)
    order = np.flatnonzero(differ)
    order = order[np.argsort(-clear[order], kind="stable")]
    return Votes(table, share, tuple(order.tolist()), tuple(seen[order].tolist()), tuple(clear[order].tolist()))
