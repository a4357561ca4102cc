"""Which parts of a face an answer rests on: hide one part after the other and see what the probability loses.

Occlusion maps (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014), by captum. They ask
only for answers, not for gradients, and so work on any model file.
"""

from __future__ import annotations

import numpy as np
import torch
from captum.attr import Occlusion
from numpy.typing import NDArray

from mien.types import Classifier, ConfigError, Floats

WINDOW, STRIDE = 12, 4
"""Side of the hidden square and the step between two squares, pixels of the crop; 12 is about an eye with its brow."""

# Squares also reach over the border, so that each pixel lies under equally many; else a corner would have the one
# square's loss and look as important as the eye beside it.
_RIM = WINDOW - STRIDE


def explain(classifier: Classifier, crop: NDArray[np.uint8], label: str | None = None) -> Floats:
    """How much of a label's probability goes where the crop is hidden by a square of its mean gray.

    Args:
        classifier: any.
        crop: uint8 gray, shape (48, 48).
        label: the class to explain; None: the most probable one.

    Returns:
        float32 (48, 48), -1..1: the probability lost (above 0: the place speaks for the label; below: against it), mean
        over the squares that cover the pixel.

    Raises:
        ConfigError: no such label, or a crop of another shape or type.
    """
    if crop.dtype != np.uint8 or crop.shape != (48, 48):
        raise ConfigError(f"the crop must be uint8 (48, 48), not {crop.dtype} {crop.shape}; see mien.image.crop")
    labels = list(classifier.labels)
    if label is not None and label not in labels:
        raise ConfigError(f"the model has no class {label!r}; choose one of {', '.join(labels)}")
    target = int(classifier(crop[None])[0].argmax()) if label is None else labels.index(label)

    def answer(crops: torch.Tensor) -> torch.Tensor:
        inner = crops[:, _RIM:-_RIM, _RIM:-_RIM].numpy()
        return torch.from_numpy(classifier(inner.round().astype(np.uint8)))

    lost = Occlusion(answer).attribute(
        torch.from_numpy(np.pad(crop, _RIM)[None].astype(np.float32)),
        sliding_window_shapes=(WINDOW, WINDOW),
        strides=STRIDE,
        baselines=float(crop.mean()),
        target=target,
        perturbations_per_eval=64,
    )
    return np.asarray(lost[0, _RIM:-_RIM, _RIM:-_RIM], np.float32)
