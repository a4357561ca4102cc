"""Random changes of the training pictures, on the whole batch, on its device."""

from __future__ import annotations

from math import sqrt

import torch
from kornia.filters import gaussian_blur2d, motion_blur
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from mien.train.config import TrainConfig


def augment(images: Tensor, config: TrainConfig, factor: float = 1.0) -> Tensor:
    """Flip, rotate, scale, shear, shift, light, sharpen, degrade and erase, each picture on its own, as `config` says.

    Draws from torch's global generator. One affine warp does all geometry; what comes in from outside is the border's
    colour, as in a real crop there would be more picture, not black.

    Args:
        images: float (N, 1, H, W) in 0..1.
        config: the strengths.
        factor: on all of them but the mirroring, 0..1.

    Returns:
        float (N, 1, H, W) in 0..1.
    """
    n, _, height, width = images.shape
    device = images.device

    def spread(limit: float) -> Tensor:
        return (torch.rand(n, device=device) * 2 - 1) * limit * factor

    angle = torch.deg2rad(spread(config.rotation))
    scale = 1 + spread(config.zoom)
    mirror = torch.ones(n, device=device)
    if config.flip:
        mirror = torch.where(torch.rand(n, device=device) < 0.5, -1.0, 1.0)
    # What is seen at x comes from (R S M)^-1 (x - shift), coordinates from -1 to 1.
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    a, b, c, d = cos * mirror, sin * mirror, -sin, cos
    if config.stretch or config.shear:
        wider, taller = (torch.exp(spread(config.stretch)) for _ in range(2))
        slant = spread(config.shear)
        a, b = a / wider, a / wider * slant + b / taller
        c, d = c / wider, c / wider * slant + d / taller
    right, down = 2 * spread(config.shift), 2 * spread(config.shift)
    matrix = torch.stack([a, b, -a * right - b * down, c, d, -c * right - d * down], 1).view(n, 2, 3)
    grid = affine_grid(matrix, [n, 1, height, width], align_corners=True)
    images = grid_sample(images, grid, padding_mode="border", align_corners=True)

    if config.gamma:
        images = images.clamp(1e-4, 1) ** torch.exp(spread(config.gamma)).view(n, 1, 1, 1)
    if config.shadow:
        images = _light_from_one_side(images, spread(config.shadow))
    mean = images.mean((2, 3), keepdim=True)
    gain = (1 + spread(config.contrast)).view(n, 1, 1, 1)
    offset = spread(config.brightness).view(n, 1, 1, 1)
    images = ((images - mean) * gain + mean + offset).clamp(0, 1)
    if config.sharpen * factor:
        images = _sharpen(images, config.sharpen * factor)
    if config.degrade * factor:
        images = _degrade(images, config.degrade * factor)
    if config.motion * factor:
        images = _move(images, config.motion * factor)
    if config.erasing * factor:
        images = _erase(images, config.erasing * factor)
    return images


def _light_from_one_side(images: Tensor, strength: Tensor) -> Tensor:
    """Multiply by a plane that rises from 1 - strength to 1 + strength across the image, in a random direction."""
    n, _, height, width = images.shape
    direction = 2 * torch.pi * torch.rand(n, 1, 1, device=images.device)
    columns = torch.linspace(-1, 1, width, device=images.device)
    rows = torch.linspace(-1, 1, height, device=images.device)[:, None]
    plane = torch.cos(direction) * columns + torch.sin(direction) * rows
    return images * (1 + strength.view(n, 1, 1, 1) * plane[:, None])


def _sharpen(images: Tensor, share: float) -> Tensor:
    """Sharpen `share` of the images with an unsharp mask of random strength, as cameras and editors do."""
    chosen = (torch.rand(len(images)) < share).nonzero()[:, 0]
    if not len(chosen):
        return images
    part = images[chosen]
    amount = 2 * torch.rand(len(chosen), 1, 1, 1).to(images)
    images = images.clone()
    images[chosen] = (part + amount * (part - gaussian_blur2d(part, (5, 5), (1.0, 1.0), "replicate"))).clamp(0, 1)
    return images


def _degrade(images: Tensor, share: float) -> Tensor:
    """Blur, noise or low resolution, each on a third of `share` of the pictures, at a random strength."""
    n, size = len(images), images.shape[-1]
    # Drawn on the CPU, so that a GPU need not be waited for.
    kind = torch.rand(n) / share * 3  # below 1 blur, below 2 noise, below 3 low resolution
    strength = torch.rand(n)
    blur, noise, low = (((kind >= k) & (kind < k + 1)).nonzero()[:, 0] for k in range(3))
    images = images.clone()
    if len(blur):
        sigma = (0.5 + 1.5 * strength[blur])[:, None].expand(-1, 2).to(images)
        images[blur] = gaussian_blur2d(images[blur], (9, 9), sigma, "replicate")
    if len(noise):
        scale = (0.02 + 0.1 * strength[noise].view(-1, 1, 1, 1)).to(images)
        images[noise] = (images[noise] + torch.randn_like(images[noise]) * scale).clamp(0, 1)
    for some in torch.split(low, 8) if len(low) else ():
        small = interpolate(images[some], (16 + int(16 * float(strength[some[0]])),) * 2, mode="area")
        images[some] = interpolate(small, (size, size), mode="bilinear", align_corners=False)
    return images


def _move(images: Tensor, share: float) -> Tensor:
    """Blur `share` of the pictures along a line of 3 to 9 pixels in any direction, as a moving head or camera does."""
    some = (torch.rand(len(images)) < share).nonzero()[:, 0]
    images = images.clone()
    for part in torch.split(some, 8) if len(some) else ():  # one length each
        length = 3 + 2 * int(torch.randint(0, 4, ()))
        angle = (180 * torch.rand(len(part))).to(images)
        images[part] = motion_blur(images[part], length, angle, torch.zeros_like(angle), "replicate", "bilinear")
    return images


def _erase(images: Tensor, share: float) -> Tensor:
    """Random erasing (Zhong et al. 2020): a rectangle of 5 to 25 % of the area becomes noise."""
    n, _, height, width = images.shape
    device = images.device
    area, ratio = 0.05 + 0.2 * torch.rand(n, device=device), torch.exp(torch.rand(n, device=device) - 0.5)
    h, w = height * torch.sqrt(area * ratio), width * torch.sqrt(area / ratio)
    top, left = torch.rand(n, device=device) * (height - h), torch.rand(n, device=device) * (width - w)
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    inside = ((rows >= top[:, None]) & (rows < (top + h)[:, None]))[:, :, None]
    inside = inside & ((columns >= left[:, None]) & (columns < (left + w)[:, None]))[:, None, :]
    inside = inside & (torch.rand(n, device=device) < share).view(n, 1, 1)
    return torch.where(inside[:, None], torch.rand_like(images), images)


def mix(images: Tensor, targets: Tensor, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) within the batch, as `config` says.

    Args:
        images: float (N, 1, H, W).
        targets: float (N, C), rows sum to 1.
        config: the strengths; without mixup and cutmix nothing is drawn or changed.

    Returns:
        Mixed images and targets, of the same shapes.
    """
    if config.cutmix and float(torch.rand(())) < config.cutmix:
        order = torch.randperm(len(images), device=images.device)
        height, width = images.shape[2:]
        side = sqrt(float(torch.rand(())))
        h, w = int(height * side), int(width * side)
        top, left = (int(torch.randint(0, room + 1, ())) for room in (height - h, width - w))
        images = images.clone()
        images[:, :, top : top + h, left : left + w] = images[order, :, top : top + h, left : left + w]
        kept = 1 - h * w / (height * width)
        return images, kept * targets + (1 - kept) * targets[order]
    if config.mixup:
        order = torch.randperm(len(images), device=images.device)
        kept = float(torch.distributions.Beta(config.mixup, config.mixup).sample())
        return kept * images + (1 - kept) * images[order], kept * targets + (1 - kept) * targets[order]
    return images, targets
