"""Near-duplicates among tens of thousands of images, mirrored ones too, without missing a pair.

Libraries for this hash (imagehash; a hash of 64 bits that separates faces of 48 pixels misses pairs) or embed with a
pretrained network (imagededup; it brings torchvision and weights). The correlation of all pixels takes seconds here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError

_BLOCK = 4096
_WAVES = 8

_SORT_WAVE = 2
"""Index of a wave in the short vectors that mirroring does not change and in which faces differ much."""

_MAX_PAIRS = 1_000_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two near-duplicates, each also for its identical copies: indices first < second, correlation -1..1."""

    first: int
    second: int
    correlation: float
    mirrored: bool
    """Whether the second was flipped left to right."""


def near_pairs(images: NDArray[np.uint8], among: NDArray[np.int64], near: float) -> list[Pair]:
    """Return all pairs whose pixels, or mirrored pixels, correlate by `near` or more, the most similar first.

    No pair is missed. With unit vectors a = (p, q), split into low frequencies p and the rest q, the correlation is
    p·p' + q·q', and q·q' is at most |q||q'|. The short vectors (p, |q|) give an upper bound, and only pairs whose bound
    reaches `near` need the full product. Mirroring only changes the sign of the odd waves of the cosine transform.
    Images are sorted by one coordinate, so that blocks too far apart are skipped.

    Copies that were cropped differently are found only if the shift is small: one pixel costs about 0.09.

    Args:
        images: uint8 (N, 48, 48).
        among: int64 (M,), rising indices of the images to compare; none may be of one gray.
        near: correlation above 0, at most 1.
    """
    if len(among) < 2:
        return []
    bound = np.concatenate([_short(images[among[i : i + _BLOCK]]) for i in range(0, len(among), _BLOCK)])
    order = np.argsort(bound[:, _SORT_WAVE], kind="stable")
    among, bound = among[order], bound[order]
    sign = np.append(np.tile(np.resize([1, -1], _WAVES), _WAVES), 1).astype(np.float32)
    reach = (2 - 2 * near) ** 0.5 + 1e-4  # longest distance of two unit vectors, and so of any of their coordinates
    pairs: dict[tuple[int, int], Pair] = {}
    for i in range(0, len(among), _BLOCK):
        first = bound[i : i + _BLOCK]
        for j in range(i, len(among), _BLOCK):
            second = bound[j : j + _BLOCK]
            if second[0, _SORT_WAVE] - first[-1, _SORT_WAVE] > reach:
                break
            for mirrored, left in ((False, first), (True, first * sign)):
                places = np.flatnonzero(left @ second.T > near - 1e-4)
                rows, columns = i + places // len(second), j + places % len(second)
                a, b = among[rows[rows < columns]], among[columns[rows < columns]]
                a, b = np.minimum(a, b), np.maximum(a, b)
                values = _correlations(images, a, b, mirrored)
                keep = values >= near - 1e-6
                if len(pairs) + keep.sum() > _MAX_PAIRS:
                    raise DataError(f"more than {_MAX_PAIRS:,} pairs correlate by {near:g}: choose a higher value")
                for pair in map(Pair, a[keep].tolist(), b[keep].tolist(), values[keep].tolist(), repeat(mirrored)):
                    known = pairs.setdefault((pair.first, pair.second), pair)
                    if pair.correlation > known.correlation:
                        pairs[pair.first, pair.second] = pair
    return sorted(pairs.values(), key=lambda pair: (-pair.correlation, pair.first, pair.second))


def _unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return float32 (N, 2304): mean 0, length 1."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True), np.float32)


def _short(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return float32 (N, 65): the lowest waves of the cosine transform, and the length of the rest."""
    side = images.shape[1]
    waves = np.cos(np.pi * np.arange(_WAVES)[:, None] * (np.arange(side) + 0.5) / side)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    low = _unit(images) @ np.kron(waves, waves).T.astype(np.float32)
    rest = np.sqrt(np.maximum(0, 1 - (low**2).sum(1, keepdims=True)))
    return np.concatenate([low, rest], 1)


def _correlations(
    images: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64], mirrored: bool
) -> NDArray[np.float32]:
    """Return float32 (K,) for K pairs, at most 1; one matrix product keeps a block full of copies cheap."""
    if not len(first):
        return np.zeros(0, np.float32)
    left, rows = np.unique(first, return_inverse=True)
    right, columns = np.unique(second, return_inverse=True)
    turned = images[right][:, :, ::-1] if mirrored else images[right]
    return np.asarray(np.minimum((_unit(images[left]) @ _unit(turned).T)[rows, columns], 1), np.float32)
