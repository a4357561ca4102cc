"""Corruptions of crops: bad light, rotation, misplacement, blur, noise and occlusion.

Fixed corruptions in five severities are the idea of Hendrycks and Dietterich ("Benchmarking Neural Network Robustness
to Common Corruptions and Perturbations", 2019); these ones and their amounts are made for 48-pixel faces.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError, DataError

Crops = NDArray[np.uint8]
Change = Callable[[Crops, float, np.random.Generator], Crops]
SEVERITIES = (1, 2, 3, 4, 5)

# Medians on FER2013 (PublicTest, landmarks of YuNet): eyes at y = 18, x = 15 and 32 (half of them within 1.5 pixels);
# corners of the mouth at y = 36, x = 17 and 31, with the lips reaching a little lower.
MIDDLE, EYES, MOUTH = 24, 18, 37
"""Column between the eyes, row of the eyes and row of the mouth, in pixels of a crop."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption; `amount` says what its six `levels` measure: severity 0, which changes nothing, and 1 to 5."""

    amount: str
    levels: tuple[float, ...]
    change: Change

    def __call__(self, images: Crops, severity: int, rng: np.random.Generator) -> Crops:
        """Return corrupted copies of uint8 crops (N, 48, 48); each draws its own side, angle or noise.

        The same state of `rng` draws the same at every severity.
        """
        if severity not in range(6):
            raise ConfigError(f"severity is {severity}: give 0 (nothing) or 1 to 5")
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (48, 48):
            raise DataError(f"{images.dtype} of shape {images.shape}: give uint8 (N, 48, 48)")
        return self.change(images, self.levels[severity], rng) if len(images) else images.copy()


def corrupt(images: Crops, name: str, severity: int, seed: int = 0) -> Crops:
    """Return corrupted copies of uint8 crops (N, 48, 48), the same for the same arguments.

    The generator depends on `seed` and `name` only: an image keeps its side, angle and noise over the severities.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(f"no corruption named {name!r}; choose one of {', '.join(CORRUPTIONS)}")
    return CORRUPTIONS[name](images, severity, np.random.default_rng([seed, zlib.crc32(name.encode())]))


def _gamma(images: Crops, exponent: float, _: np.random.Generator) -> Crops:
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return table[images]


def _brightness(images: Crops, levels: float, rng: np.random.Generator) -> Crops:
    """Darken or brighten by `levels`, clipped."""
    side = rng.choice([-1.0, 1.0], len(images))[:, None, None]
    return _rounded(images + levels * side)


def _side_light(images: Crops, strength: float, rng: np.random.Generator) -> Crops:
    """Light from the left or the right: a factor from 1 + strength on one side to 1 - strength on the other."""
    side = rng.choice([-1.0, 1.0], len(images))[:, None, None]
    return _rounded(images * (1 + strength * side * np.linspace(-1, 1, images.shape[2])))


def _contrast(images: Crops, factor: float, _: np.random.Generator) -> Crops:
    mean = images.mean((1, 2), keepdims=True)
    return _rounded(mean + factor * (images - mean))


def _rotation(images: Crops, degrees: float, rng: np.random.Generator) -> Crops:
    signs = rng.choice([-1.0, 1.0], len(images))
    return _warped(images, [cv2.getRotationMatrix2D((23.5, 23.5), sign * degrees, 1.0) for sign in signs])


def _shift(images: Crops, pixels: float, rng: np.random.Generator) -> Crops:
    """Shift in a random direction by whole pixels: a fraction would also blur."""
    angles = rng.uniform(0, 2 * np.pi, len(images))
    moves = np.rint(pixels * np.stack([np.cos(angles), np.sin(angles)], 1))
    return _warped(images, [np.array([[1, 0, x], [0, 1, y]]) for x, y in moves])


def _zoom(images: Crops, factor: float, _: np.random.Generator) -> Crops:
    return _warped(images, [cv2.getRotationMatrix2D((23.5, 23.5), 0.0, factor)] * len(images))


def _defocus(images: Crops, radius: float, _: np.random.Generator) -> Crops:
    """Blur with a disk, anti-aliased at its rim."""
    reach, fine = int(np.ceil(radius)), 16
    steps = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    disk = (np.hypot(steps[:, None], steps) <= max(radius, 0.5)).astype(np.float64)
    kernel = disk.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).sum((1, 3))
    return _filtered(images, [kernel] * len(images))


def _motion(images: Crops, length: float, rng: np.random.Generator) -> Crops:
    """Blur along a straight path in a random direction."""
    reach = int(np.ceil(length / 2))
    path = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    grid = np.arange(-reach, reach + 1)
    kernels = []
    for angle in rng.uniform(0, np.pi, len(images)):
        # Spread each point of the path over its four neighbours, bilinearly.
        x, y = (np.maximum(0, 1 - np.abs(grid - (path * part)[:, None])) for part in (np.cos(angle), np.sin(angle)))
        kernels.append(y.T @ x)
    return _filtered(images, kernels)


def _noise(images: Crops, deviation: float, rng: np.random.Generator) -> Crops:
    return _rounded(images + deviation * rng.standard_normal(images.shape, np.float32))


def _jpeg(images: Crops, quality: float, _: np.random.Generator) -> Crops:
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    files = [cv2.imencode(".jpg", image, settings)[1] for image in images]
    return np.array([cv2.imdecode(file, cv2.IMREAD_GRAYSCALE) for file in files], np.uint8)


def _low_resolution(images: Crops, side: float, _: np.random.Generator) -> Crops:
    """Reduce to `side` pixels and enlarge again, as `mien.faces.crop.crop` does with a small face."""
    small = [cv2.resize(image, (int(side), int(side)), interpolation=cv2.INTER_AREA) for image in images]
    return np.stack([cv2.resize(image, (48, 48), interpolation=cv2.INTER_LINEAR) for image in small]).astype(np.uint8)


def _hide(row: int, wider: int) -> Change:
    """Hide a rectangle around `row`, `wider` pixels wider than high, under the mean gray.

    The mean removes content and adds as little as possible: neither sunglasses nor a mask.
    """

    def change(images: Crops, height: float, _: np.random.Generator) -> Crops:
        half, across = int(height) // 2, (int(height) + wider) // 2
        changed = images.copy()
        mean = np.rint(images.mean((1, 2), keepdims=True)).astype(np.uint8)
        changed[:, row - half : row + half, MIDDLE - across : MIDDLE + across] = mean
        return changed

    return change


def _rounded(values: NDArray[Any]) -> Crops:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _warped(images: Crops, matrices: list[Any]) -> Crops:
    """Warp each image with its own 2x3 matrix; the border is repeated outwards."""
    size, edge = (images.shape[2], images.shape[1]), cv2.BORDER_REPLICATE
    warped = [cv2.warpAffine(i, m, size, borderMode=edge) for i, m in zip(images, matrices, strict=True)]
    return np.stack(warped).astype(np.uint8)


def _filtered(images: Crops, kernels: list[NDArray[np.float64]]) -> Crops:
    edge = cv2.BORDER_REPLICATE
    pairs = zip(images, kernels, strict=True)
    return np.stack([cv2.filter2D(i, -1, k / k.sum(), borderType=edge) for i, k in pairs]).astype(np.uint8)


CORRUPTIONS: dict[str, Corruption] = {
    "gamma-dark": Corruption("exponent of the gray level", (1, 1.3, 1.7, 2.2, 3, 4), _gamma),
    "gamma-bright": Corruption("exponent of the gray level", (1, 0.77, 0.59, 0.45, 0.33, 0.25), _gamma),
    "brightness": Corruption("gray levels, darker or brighter", (0, 25, 45, 65, 90, 115), _brightness),
    "side-light": Corruption(
        "brighter on one side and darker on the other by", (0, 0.2, 0.35, 0.5, 0.7, 0.9), _side_light
    ),
    "contrast": Corruption("factor about the image's mean", (1, 0.7, 0.5, 0.35, 0.2, 0.1), _contrast),
    "rotation": Corruption("degrees, to the left or the right", (0, 5, 10, 20, 30, 45), _rotation),
    "shift": Corruption("pixels, in a random direction", (0, 2, 4, 6, 8, 11), _shift),
    "zoom-in": Corruption("factor: the box was too small", (1, 1.1, 1.2, 1.35, 1.5, 1.75), _zoom),
    "zoom-out": Corruption("factor: the box was too large", (1, 0.91, 0.83, 0.74, 0.67, 0.57), _zoom),
    "defocus": Corruption("radius of the disk, pixels", (0, 0.8, 1.2, 1.7, 2.3, 3), _defocus),
    "motion": Corruption("length of the path, pixels", (0, 2, 4, 6, 8, 11), _motion),
    "noise": Corruption("standard deviation, gray levels", (0, 8, 16, 25, 38, 55), _noise),
    "jpeg": Corruption("quality; 100 still changes a little", (100, 50, 30, 18, 10, 5), _jpeg),
    "low-resolution": Corruption("side of the face, pixels", (48, 32, 24, 18, 14, 10), _low_resolution),
    "eyes-hidden": Corruption("height of the rectangle, pixels; 24 wider", (0, 4, 6, 8, 12, 16), _hide(EYES, 24)),
    "mouth-hidden": Corruption("height of the rectangle, pixels; 14 wider", (0, 4, 6, 10, 14, 18), _hide(MOUTH, 14)),
}
"""Name -> corruption, with the amounts at severities 0 to 5."""
