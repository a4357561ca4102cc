"""Random changes of the training pictures, on the whole batch, on its device."""

from __future__ import annotations

import torch
from kornia.geometry.transform import warp_affine
from torch import Tensor

from mien.train.config import TrainConfig


def augment(images: Tensor, config: TrainConfig) -> Tensor:
    """Flip, rotate, zoom, shift, brighten and change the contrast, each picture on its own.

    Draws from torch's global generator. One affine warp does all geometry; what comes in from outside is the border's
    colour, as in a real crop there would be more picture, not black.

    Args:
        images: float (N, 1, H, W) in 0..1.
        config: the strengths.

    Returns:
        float (N, 1, H, W) in 0..1.
    """
    n, _, height, width = images.shape
    device = images.device

    def spread(limit: float) -> Tensor:
        return (torch.rand(n, device=device) * 2 - 1) * limit

    angle = torch.deg2rad(spread(config.rotation))
    scale = 1 + spread(config.zoom)
    mirror = torch.ones(n, device=device)
    if config.flip:
        mirror = torch.where(torch.rand(n, device=device) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    cx, cy = (width - 1) / 2, (height - 1) / 2
    # x' = R S M (x - centre) + centre + shift
    a, b, c, d = cos * mirror, -sin, sin * mirror, cos
    tx = cx + spread(config.shift) * width - a * cx - b * cy
    ty = cy + spread(config.shift) * height - c * cx - d * cy
    matrix = torch.stack([torch.stack([a, b, tx], 1), torch.stack([c, d, ty], 1)], 1)
    images = warp_affine(images, matrix, (height, width), padding_mode="border", align_corners=True)

    mean = images.mean((2, 3), keepdim=True)
    gain = (1 + spread(config.contrast)).view(n, 1, 1, 1)
    offset = spread(config.brightness).view(n, 1, 1, 1)
    return ((images - mean) * gain + mean + offset).clamp(0, 1)
