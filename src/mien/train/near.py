"""Pictures that show almost the same, mirrored ones too, among tens of thousands and without missing a pair.

The libraries for this either hash (imagehash), and a hash of 64 bits that tells faces of 48 pixels apart misses pairs,
or embed with a pretrained network (imagededup), which brings torchvision and weights. The correlation of all pixels is
what is meant, and with the sorting below it takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from mien.types import DataError

_BLOCK = 4096
_WAVES = 8
_SAME = 2
"""Place in the short vectors of a wave that mirroring leaves as it is and in which faces differ much."""
_MOST_PAIRS = 1_000_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures that show almost the same; each stands for all that are identical to it.

    Attributes:
        first: index into the faces.
        second: the same, larger than `first`.
        correlation: of the pixels, -1..1.
        mirrored: whether the second had to be flipped left to right.
    """

    first: int
    second: int
    correlation: float
    mirrored: bool


def near_pairs(images: NDArray[np.uint8], among: NDArray[np.int64], near: float) -> list[Pair]:
    """All pairs of images whose pixels, or mirrored pixels, correlate by `near` or more, the most similar first.

    No pair is missed. With unit vectors a = (p, q), split into low frequencies p and the rest q, the correlation is
    p·p' + q·q', and q·q' is at most |q||q'|. So the short vectors (p, |q|) give an upper bound of it, and only the few
    pairs whose bound reaches `near` are worth their full product. Mirroring changes the sign of the odd waves of the
    cosine transform, nothing else. Sorted by one coordinate, blocks that lie too far apart are left out.

    Copies that were cropped differently are found only when the shift is small: one pixel costs about 0.09.

    Args:
        images: uint8 (N, 48, 48).
        among: int64 (M,), rising indices of the images to compare; none may be of one gray.
        near: correlation, over 0 and at most 1.

    Raises:
        DataError: more than a million pairs.
    """
    if len(among) < 2:
        return []
    bound = np.concatenate([_short(images[among[i : i + _BLOCK]]) for i in range(0, len(among), _BLOCK)])
    order = np.argsort(bound[:, _SAME], kind="stable")
    among, bound = among[order], bound[order]
    sign = np.append(np.tile(np.resize([1, -1], _WAVES), _WAVES), 1).astype(np.float32)
    reach = (2 - 2 * near) ** 0.5 + 1e-4  # longest distance of two unit vectors, and so of any of their coordinates
    pairs: dict[tuple[int, int], Pair] = {}
    for i in range(0, len(among), _BLOCK):
        here = bound[i : i + _BLOCK]
        for j in range(i, len(among), _BLOCK):
            there = bound[j : j + _BLOCK]
            if there[0, _SAME] - here[-1, _SAME] > reach:
                break
            for mirrored, left in ((False, here), (True, here * sign)):
                places = np.flatnonzero(left @ there.T > near - 1e-4)
                rows, columns = i + places // len(there), j + places % len(there)
                a, b = among[rows[rows < columns]], among[columns[rows < columns]]
                a, b = np.minimum(a, b), np.maximum(a, b)
                values = _correlations(images, a, b, mirrored)
                keep = values >= near - 1e-6
                if len(pairs) + keep.sum() > _MOST_PAIRS:
                    raise DataError(f"more than {_MOST_PAIRS:,} pairs correlate by {near:g}: ask for a higher value")
                for pair in map(Pair, a[keep].tolist(), b[keep].tolist(), values[keep].tolist(), repeat(mirrored)):
                    known = pairs.setdefault((pair.first, pair.second), pair)
                    if pair.correlation > known.correlation:
                        pairs[pair.first, pair.second] = pair
    return sorted(pairs.values(), key=lambda pair: (-pair.correlation, pair.first, pair.second))


def _unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (N, 2304): mean 0, length 1."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True), np.float32)


def _short(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (N, 65): the lowest waves of the cosine transform, and the length of what they leave out."""
    side = images.shape[1]
    waves = np.cos(np.pi * np.arange(_WAVES)[:, None] * (np.arange(side) + 0.5) / side)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    low = _unit(images) @ np.kron(waves, waves).T.astype(np.float32)
    rest = np.sqrt(np.maximum(0, 1 - (low**2).sum(1, keepdims=True)))
    return np.concatenate([low, rest], 1)


def _correlations(
    images: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64], mirrored: bool
) -> NDArray[np.float32]:
    """float32 (K,) of K pairs, at most 1; one matrix product, so that a block full of copies stays cheap."""
    if not len(first):
        return np.zeros(0, np.float32)
    left, rows = np.unique(first, return_inverse=True)
    right, columns = np.unique(second, return_inverse=True)
    turned = images[right][:, :, ::-1] if mirrored else images[right]
    return np.asarray(np.minimum((_unit(images[left]) @ _unit(turned).T)[rows, columns], 1), np.float32)
