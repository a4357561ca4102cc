"""Random changes of the training images, on a whole batch, on its device."""

from __future__ import annotations

from math import sqrt

import torch
from kornia.filters import gaussian_blur2d, motion_blur
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from mien.train.config import TrainConfig


def augment(images: Tensor, config: TrainConfig, factor: float = 1.0) -> Tensor:
    """Flip, turn, scale, shear, shift, light, sharpen, degrade and hide parts of each image: (N, 1, H, W) in 0..1.

    Draws from torch's global generator, for each image on its own. One warp does all geometry; outside the image the
    border is repeated, as a real crop would show more of the scene, not black. `factor` (0..1) scales every strength
    except `flip`.
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
    # The pixel at x comes from (R S M)^-1 (x - shift), coordinates from -1 to 1.
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    a, b, c, d = cos * mirror, sin * mirror, -sin, cos
    if config.stretch or config.shear:
        wider, taller = (torch.exp(spread(config.stretch)) for _ in range(2))
        slant = spread(config.shear)
        a, b = a / wider, a / wider * slant + b / taller
        c, d = c / wider, c / wider * slant + d / taller
    right, down = 2 * spread(config.shift), 2 * spread(config.shift)
    if config.framing:
        misframed = (torch.rand(n, device=device) < config.framing * factor).float()
        larger = torch.exp(-0.15 * misframed * (2 * torch.rand(n, device=device) - 1))
        a, b, c, d = a * larger, b * larger, c * larger, d * larger
        right = right + 0.16 * misframed * (2 * torch.rand(n, device=device) - 1)
        down = down + 0.16 * misframed * (2 * torch.rand(n, device=device) - 1)
    matrix = torch.stack([a, b, -a * right - b * down, c, d, -c * right - d * down], 1).view(n, 2, 3)
    grid = affine_grid(matrix, [n, 1, height, width], align_corners=True)
    if config.perspective:
        grid = _tilt(grid, matrix, spread(config.perspective), spread(config.perspective / 2))
    images = grid_sample(images, grid, padding_mode="border", align_corners=True)

    if config.gamma:
        images = images.clamp(1e-4, 1) ** torch.exp(spread(config.gamma)).view(n, 1, 1, 1)
    if config.shadow:
        images = _shade(images, spread(config.shadow))
    if config.highlight:
        images = _light_spot(images, config.highlight * factor)
    mean = images.mean((2, 3), keepdim=True)
    gain = (1 + spread(config.contrast)).view(n, 1, 1, 1)
    offset = spread(config.brightness).view(n, 1, 1, 1)
    images = ((images - mean) * gain + mean + offset).clamp(0, 1)
    if config.sharpen * factor:
        images = _sharpen(images, config.sharpen * factor)
    if config.degrade * factor:
        images = _degrade(images, config.degrade * factor)
    if config.motion * factor:
        images = _blur_motion(images, config.motion * factor)
    if config.erasing * factor:
        images = _erase(images, config.erasing * factor)
    if config.occlude * factor:
        images = _occlude(images, config.occlude * factor)
    return images


def _tilt(grid: Tensor, matrix: Tensor, across: Tensor, along: Tensor) -> Tensor:
    """Turn the plane of the image: one side becomes smaller than the other by a share, (N,), in either direction.

    `grid` (N, H, W, 2) and `matrix` (N, 2, 3) belong together. Heights at the left and right edge have the ratio 1 -
    |across|, widths at the top and bottom edge 1 - |along|: what a head does that turns or nods a little, without its
    parts hiding each other.
    """
    rows, columns = (torch.linspace(-1, 1, side, device=grid.device) for side in grid.shape[1:3])
    slopes = (torch.sign(share) * share.abs() / (2 - share.abs()) for share in (across, along))
    p, q = (slope.view(-1, 1, 1) for slope in slopes)
    depth = 1 + p * columns + q * rows[:, None]
    centre = matrix[:, None, None, :, 2]
    return (grid - centre) / depth[..., None] + centre


def _light_spot(images: Tensor, share: float) -> Tensor:
    """Brighten a soft spot of a tenth to a quarter of the side on `share` of the images, up to white at its centre."""
    n, _, height, width = images.shape
    device = images.device
    chosen = (torch.rand(n, 1, 1, device=device) < share).float()
    strength = chosen * (0.3 + 0.7 * torch.rand(n, 1, 1, device=device))
    radius = 0.1 + 0.15 * torch.rand(n, 1, 1, device=device)
    x, y = torch.rand(n, 1, 1, device=device), torch.rand(n, 1, 1, device=device)
    rows, columns = (torch.linspace(0, 1, side, device=device) for side in (height, width))
    distance = (columns - x) ** 2 + (rows[:, None] - y) ** 2
    spot = strength * torch.exp(-distance / (2 * (radius / 2) ** 2))
    return images + spot[:, None] * (1 - images).clamp(min=0)


def _shade(images: Tensor, strength: Tensor) -> Tensor:
    """Multiply by a plane that rises from 1 - strength to 1 + strength in a random direction."""
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
    """Blur, noise or low resolution, each on a third of `share` of the images, at a random strength."""
    n, size = len(images), images.shape[-1]
    # Drawn on the CPU to avoid waiting for a GPU.
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
    for block in torch.split(low, 8) if len(low) else ():
        small = interpolate(images[block], (16 + int(16 * float(strength[block[0]])),) * 2, mode="area")
        images[block] = interpolate(small, (size, size), mode="bilinear", align_corners=False)
    return images


def _blur_motion(images: Tensor, share: float) -> Tensor:
    """Blur `share` of the images along a line of 3 to 9 pixels in any direction, as a moving head or camera does."""
    chosen = (torch.rand(len(images)) < share).nonzero()[:, 0]
    images = images.clone()
    for block in torch.split(chosen, 8) if len(chosen) else ():  # one length each
        length = 3 + 2 * int(torch.randint(0, 4, ()))
        angle = (180 * torch.rand(len(block))).to(images)
        images[block] = motion_blur(images[block], length, angle, torch.zeros_like(angle), "replicate", "bilinear")
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


PATCHES = {
    "eyes": (0.26, 0.48, 0.1, 0.9),
    "mouth": (0.62, 0.86, 0.22, 0.78),
    "chin": (0.8, 1.0, 0.1, 0.9),
    "left": (0.0, 1.0, 0.0, 0.3),
    "right": (0.0, 1.0, 0.7, 1.0),
    "below": (0.7, 1.0, 0.0, 1.0),
}
"""Parts of a face crop that sunglasses, masks, hands and scarves cover: top, bottom, left and right, 0..1."""


def _occlude(images: Tensor, share: float) -> Tensor:
    """Cover one of PATCHES, moved and scaled a little, with one gray on `share` of the images."""
    n, _, height, width = images.shape
    device = images.device
    places = torch.tensor(list(PATCHES.values()), device=device)
    box = places[torch.randint(0, len(places), (n,), device=device)]
    box = box + 0.04 * (2 * torch.rand(n, 4, device=device) - 1)
    rows, columns = (torch.linspace(0, 1, side, device=device) for side in (height, width))
    inside = ((rows >= box[:, :1]) & (rows <= box[:, 1:2]))[:, :, None]
    inside = inside & ((columns >= box[:, 2:3]) & (columns <= box[:, 3:]))[:, None, :]
    inside = inside & (torch.rand(n, 1, 1, device=device) < share)
    return torch.where(inside[:, None], torch.rand(n, 1, 1, 1, device=device), images)


def mix(images: Tensor, targets: Tensor, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Apply mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) within a batch; targets are float (N, C)."""
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


def normalize(images: Tensor, mean: float, std: float, size: int = 48) -> Tensor:
    """float (N, 1, 48, 48) in 0..1 -> normalised, (N, 1, size, size)."""
    if size != images.shape[-1]:
        images = interpolate(images, (size, size), mode="area")
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)
