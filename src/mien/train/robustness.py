"""How much a classifier loses when its crops are badly lit, turned, misplaced, blurred, noisy or partly hidden.

The idea of fixed corruptions in five severities is Hendrycks and Dietterich's ("Benchmarking Neural Network Robustness
to Common Corruptions and Perturbations", 2019); the corruptions and their amounts are made for 48-pixel faces.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.metrics import mean_interval
from mien.train.data import Faces
from mien.types import Classifier, ConfigError, DataError

Crops = NDArray[np.uint8]
Change = Callable[[Crops, float, np.random.Generator], Crops]

SEVERITIES = (1, 2, 3, 4, 5)

# On FER2013 (PublicTest, landmarks of YuNet) the eyes lie at y = 18 and x = 15 and 32 (medians; half of them within
# 1.5 pixels of it), the corners of the mouth at y = 36 and x = 17 and 31, and the lips reach a little below them.
MIDDLE, EYES, MOUTH = 24, 18, 37
"""Column between the eyes, row of the eyes and row of the mouth, in pixels of a crop."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way in which a crop goes wrong.

    Attributes:
        amount: what `levels` measure.
        levels: six amounts: at severity 0, where nothing changes, and at 1 to 5.
        change: uint8 (N, 48, 48), amount, generator -> uint8 (N, 48, 48).
    """

    amount: str
    levels: tuple[float, ...]
    change: Change

    def __call__(self, images: Crops, severity: int, rng: np.random.Generator) -> Crops:
        """Corrupt crops; each picture draws its own side, angle or noise.

        Args:
            images: uint8 (N, 48, 48); not changed.
            severity: 1 to 5, or 0 for what the corruption does when its amount is nil.
            rng: the same state draws the same sides, angles and noise at every severity.

        Raises:
            ConfigError: another severity.
            DataError: another shape or type.
        """
        if severity not in range(6):
            raise ConfigError(f"severity is {severity}: give 0 (nothing) or 1 to 5")
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (48, 48):
            raise DataError(f"{images.dtype} of shape {images.shape}: give uint8 (N, 48, 48)")
        return self.change(images, self.levels[severity], rng) if len(images) else images.copy()


@dataclass(frozen=True, slots=True)
class Robustness:
    """What one evaluation under corruption found. All shares are 0..1.

    Attributes:
        n: number of pictures.
        clean: accuracy on the pictures as they are.
        accuracy: corruption -> accuracy at severities 1 to 5.
        mean: of `accuracy`, over all corruptions and severities.
        interval: 95 % bootstrap interval of `mean`; a picture, with its duplicates, is resampled with all it was asked.
        worst: the two corruptions with the lowest accuracy (mean over the severities), the worst first.
        shares: float (N,), of each picture the share of the corruptions and severities at which the answer was right;
            with another model's, `metrics.mean_interval` gives the interval of the paired difference.
    """

    n: int
    clean: float
    accuracy: dict[str, tuple[float, ...]]
    mean: float
    interval: tuple[float, float]
    worst: tuple[str, str]
    shares: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Plain floats, strings and lists, without `shares`: safe for `json.dumps`."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "shares"}
        values["accuracy"] = {name: list(row) for name, row in self.accuracy.items()}
        return {**values, "interval": list(self.interval), "worst": list(self.worst)}


def corrupt(images: Crops, name: str, severity: int, seed: int = 0) -> Crops:
    """uint8 (N, 48, 48) -> the same pictures corrupted; the same answer for the same arguments.

    The generator depends on `seed` and `name` alone: a picture keeps its side, angle and noise over the severities.

    Raises:
        ConfigError: no such corruption or severity.
        DataError: another shape or type.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(f"no corruption named {name!r}; choose one of {', '.join(CORRUPTIONS)}")
    return CORRUPTIONS[name](images, severity, np.random.default_rng([seed, zlib.crc32(name.encode())]))


def evaluate_robustness(classifier: Classifier, faces: Faces, seed: int = 0) -> Robustness:
    """Accuracy on the pictures as they are and for every corruption and severity.

    Args:
        classifier: knows all labels of `faces`; its other classes are left out of the choice.
        faces: labelled crops, usually one split.
        seed: of all that is random.

    Raises:
        ConfigError: the classifier lacks a class.
        DataError: there are no pictures.
    """
    if not len(faces):
        raise DataError("there is nothing to evaluate: give at least one picture")
    order = columns(classifier, faces.labels)

    def right(images: Crops) -> NDArray[np.bool_]:
        return np.asarray(classifier(images)[:, order].argmax(1) == faces.targets)

    found = {
        name: np.stack([right(corrupt(faces.images, name, severity, seed)) for severity in SEVERITIES])
        for name in CORRUPTIONS
    }
    means = {name: float(each.mean()) for name, each in found.items()}
    first, second = sorted(means, key=means.__getitem__)[:2]
    shares = np.concatenate(list(found.values())).mean(0, dtype=np.float64)
    return Robustness(
        n=len(faces),
        clean=float(right(faces.images).mean()),
        accuracy={name: tuple(each.mean(1).tolist()) for name, each in found.items()},
        mean=float(shares.mean()),
        interval=mean_interval(shares, faces.groups()),
        worst=(first, second),
        shares=shares,
    )


def columns(classifier: Classifier, labels: Sequence[str]) -> list[int]:
    """Where the labels stand among the classifier's.

    Raises:
        ConfigError: the classifier lacks one.
    """
    missing = [label for label in labels if label not in classifier.labels]
    if missing:
        raise ConfigError(f"the model has no class {', '.join(missing)}; the pictures show {', '.join(labels)}")
    return [list(classifier.labels).index(label) for label in labels]


def _gamma(images: Crops, exponent: float, _: np.random.Generator) -> Crops:
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return table[images]


def _brightness(images: Crops, levels: float, rng: np.random.Generator) -> Crops:
    """Darker or brighter by so many gray levels; what leaves the range is lost."""
    side = rng.choice([-1.0, 1.0], len(images))[:, None, None]
    return _rounded(images + levels * side)


def _side_light(images: Crops, strength: float, rng: np.random.Generator) -> Crops:
    """Light from the left or the right: a factor that runs from 1 + strength on one side to 1 - strength."""
    side = rng.choice([-1.0, 1.0], len(images))[:, None, None]
    return _rounded(images * (1 + strength * side * np.linspace(-1, 1, images.shape[2])))


def _contrast(images: Crops, factor: float, _: np.random.Generator) -> Crops:
    mean = images.mean((1, 2), keepdims=True)
    return _rounded(mean + factor * (images - mean))


def _rotation(images: Crops, degrees: float, rng: np.random.Generator) -> Crops:
    signs = rng.choice([-1.0, 1.0], len(images))
    return _warped(images, [cv2.getRotationMatrix2D((23.5, 23.5), sign * degrees, 1.0) for sign in signs])


def _shift(images: Crops, pixels: float, rng: np.random.Generator) -> Crops:
    """In a random direction; by whole pixels, because a fraction would also blur."""
    angles = rng.uniform(0, 2 * np.pi, len(images))
    moves = np.rint(pixels * np.stack([np.cos(angles), np.sin(angles)], 1))
    return _warped(images, [np.array([[1, 0, x], [0, 1, y]]) for x, y in moves])


def _zoom(images: Crops, factor: float, _: np.random.Generator) -> Crops:
    return _warped(images, [cv2.getRotationMatrix2D((23.5, 23.5), 0.0, factor)] * len(images))


def _defocus(images: Crops, radius: float, _: np.random.Generator) -> Crops:
    """A disk, the picture of a point out of focus; its rim is weighed by the share of the pixel that it covers."""
    reach, fine = int(np.ceil(radius)), 16
    steps = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    disk = (np.hypot(steps[:, None], steps) <= max(radius, 0.5)).astype(np.float64)
    kernel = disk.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).sum((1, 3))
    return _filtered(images, [kernel] * len(images))


def _motion(images: Crops, length: float, rng: np.random.Generator) -> Crops:
    """A straight path of the given length, in a random direction."""
    reach = int(np.ceil(length / 2))
    path = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    grid = np.arange(-reach, reach + 1)
    kernels = []
    for angle in rng.uniform(0, np.pi, len(images)):
        # Each point of the path falls on its four neighbours, by nearness.
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
    """Averaged down to `side` pixels and interpolated up again, as `mien.image.crop` does with a small face."""
    small = [cv2.resize(image, (int(side), int(side)), interpolation=cv2.INTER_AREA) for image in images]
    return np.stack([cv2.resize(image, (48, 48), interpolation=cv2.INTER_LINEAR) for image in small]).astype(np.uint8)


def _hidden(row: int, wider: int) -> Change:
    """A flat rectangle around the row, `wider` pixels wider than high, in the picture's mean gray.

    The mean takes away what was there and adds as little as can be: neither sunglasses nor a mask.
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
    """Each picture through its own 2x3 matrix; what comes in from outside repeats the border."""
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
    "contrast": Corruption("factor about the picture's mean", (1, 0.7, 0.5, 0.35, 0.2, 0.1), _contrast),
    "rotation": Corruption("degrees, to the left or the right", (0, 5, 10, 20, 30, 45), _rotation),
    "shift": Corruption("pixels, in a random direction", (0, 2, 4, 6, 8, 11), _shift),
    "zoom-in": Corruption("factor: the box was too small", (1, 1.1, 1.2, 1.35, 1.5, 1.75), _zoom),
    "zoom-out": Corruption("factor: the box was too large", (1, 0.91, 0.83, 0.74, 0.67, 0.57), _zoom),
    "defocus": Corruption("radius of the disk, pixels", (0, 0.8, 1.2, 1.7, 2.3, 3), _defocus),
    "motion": Corruption("length of the path, pixels", (0, 2, 4, 6, 8, 11), _motion),
    "noise": Corruption("standard deviation, gray levels", (0, 8, 16, 25, 38, 55), _noise),
    "jpeg": Corruption("quality; 100 still changes a little", (100, 50, 30, 18, 10, 5), _jpeg),
    "low-resolution": Corruption("side of the face, pixels", (48, 32, 24, 18, 14, 10), _low_resolution),
    "eyes-hidden": Corruption("height of the rectangle, pixels; 24 wider", (0, 4, 6, 8, 12, 16), _hidden(EYES, 24)),
    "mouth-hidden": Corruption("height of the rectangle, pixels; 14 wider", (0, 4, 6, 10, 14, 18), _hidden(MOUTH, 14)),
}
"""Name -> corruption: the table of amounts at severities 0 to 5."""
