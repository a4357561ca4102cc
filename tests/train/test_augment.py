"""Random changes of the training make_images: each strength does what its name says, and nothing at zero."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mien.train.augment import augment, mix
from mien.train.config import TrainConfig

STILL = TrainConfig(flip=False, rotation=0, zoom=0, shift=0, brightness=0, contrast=0)


def make_images(count: int = 64) -> Tensor:
    torch.manual_seed(0)
    return torch.rand(count, 1, 48, 48)


def test_augment_keeps_shape_and_range() -> None:
    everything = TrainConfig(
        stretch=0.3, shear=0.2, gamma=0.5, shadow=0.5, sharpen=1, degrade=1, motion=1, erasing=1,
        perspective=0.4, framing=1, highlight=1, occlude=1,
    )  # fmt: skip
    changed = augment(make_images(), everything)
    assert changed.shape == (64, 1, 48, 48)
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1


def test_strength_zero_is_the_identity() -> None:
    torch.testing.assert_close(augment(make_images(), STILL), make_images(), rtol=0, atol=1e-4)


def test_factor_scales_every_strength_except_flip() -> None:
    full = TrainConfig(
        stretch=0.2, shear=0.2, gamma=0.4, shadow=0.4, degrade=0.5, motion=0.4, erasing=0.4, framing=0.4, highlight=0.4,
        occlude=0.4, perspective=0.4,
    )  # fmt: skip
    half = replace(
        full, rotation=6, zoom=0.05, stretch=0.1, shear=0.1, shift=0.04, brightness=0.1, contrast=0.1, gamma=0.2,
        shadow=0.2, degrade=0.25, motion=0.2, erasing=0.2, framing=0.2, highlight=0.2, occlude=0.2, perspective=0.2,
    )  # fmt: skip
    views = []
    for config, factor in ((full, 0.5), (half, 1.0)):
        images = make_images()
        torch.manual_seed(1)
        views.append(augment(images, config, factor))
    torch.testing.assert_close(*views, rtol=0, atol=1e-4)
    torch.testing.assert_close(augment(make_images(), replace(full, flip=False), 0.0), make_images(), rtol=0, atol=1e-3)


def test_flip_mirrors_half_of_the_images() -> None:
    images = make_images()
    flips = augment(images, replace(STILL, flip=True))
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(flips, images, strict=True)]
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-4) for a, b in zip(flips, images, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 20 < sum(mirrored) < 44


def test_gamma_keeps_the_order_of_gray_levels() -> None:
    ramp = torch.linspace(0.05, 0.95, 48).expand(64, 1, 48, 48)
    changed = augment(ramp, replace(STILL, gamma=0.7))
    assert bool((changed.diff(dim=-1) > 0).all())
    middle = changed[:, 0, 0, 24]
    assert float(middle.min()) < 0.45 < 0.55 < float(middle.max())


def bright_extent(images: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height in pixels of what is bright in (N, 1, H, W)."""
    return (images[:, 0] > 0.5).any(1).sum(1), (images[:, 0] > 0.5).any(2).sum(1)


def test_stretch_scales_width_and_height_independently() -> None:
    square = torch.zeros(300, 1, 48, 48)
    square[:, :, 14:34, 14:34] = 1
    torch.manual_seed(0)
    width, height = bright_extent(augment(square, replace(STILL, stretch=0.3)))
    for side in (width, height):
        assert 14 <= int(side.min()) <= 16 and 25 <= int(side.max()) <= 28  # 20 pixels times exp(-0.3) and exp(0.3)
    ratio = torch.log(width / height)
    assert float(ratio.min()) < -0.4 < 0.4 < float(ratio.max())
    assert abs(float(torch.corrcoef(torch.stack([width, height]).float())[0, 1])) < 0.2


def test_shear_moves_rows_and_keeps_the_height() -> None:
    square = torch.zeros(300, 1, 48, 48)
    square[:, :, 14:34, 14:34] = 1
    torch.manual_seed(0)
    changed = augment(square, replace(STILL, shear=0.3))
    columns = torch.arange(48.0)
    top, bottom = ((changed[:, 0, row] * columns).sum(1) / changed[:, 0, row].sum(1) for row in (16, 31))
    assert int(bright_extent(changed)[1].min()) == int(bright_extent(changed)[1].max()) == 20
    assert float((top - bottom).min()) < -3 and float((top - bottom).max()) > 3
    assert float((top - bottom).abs().max()) <= 0.3 * 15 + 0.5


def test_shadow_shades_from_all_directions() -> None:
    gray = torch.full((200, 1, 48, 48), 0.4)
    torch.manual_seed(0)
    changed = augment(gray, replace(STILL, shadow=0.5))[:, 0]
    torch.testing.assert_close(changed.mean((1, 2)), torch.full((200,), 0.4), rtol=0, atol=1e-3)
    across, along = changed[:, 24, -1] - changed[:, 24, 0], changed[:, -1, 24] - changed[:, 0, 24]
    for difference in (across, along):
        assert float(difference.min()) < -0.25 and float(difference.max()) > 0.25


def test_sharpen_raises_the_contrast_at_edges() -> None:
    edge = torch.full((400, 1, 48, 48), 0.4)
    edge[:, :, :, 24:] = 0.6
    torch.manual_seed(0)
    changed = augment(edge, replace(STILL, sharpen=0.25))
    step = changed[:, 0, 24, 24] - changed[:, 0, 24, 23]
    assert 70 < int((step > 0.21).sum()) < 130
    assert float(step.min()) > 0.19
    torch.testing.assert_close(changed[:, :, :, :18], edge[:, :, :, :18], rtol=0, atol=1e-4)


def test_degrade_changes_its_share_of_the_images() -> None:
    images = make_images(400) * 0.2 + 0.4
    changed = augment(images, replace(STILL, degrade=0.3))
    changed_images = (changed - images).abs().amax((1, 2, 3)) > 0.01
    assert 80 < int(changed_images.sum()) < 160
    spread = changed[changed_images].std((1, 2, 3)) / images[changed_images].std((1, 2, 3))
    assert bool((spread < 0.8).any())  # blurred or of low resolution
    assert bool((spread > 1.05).any())  # noisy


def test_motion_blurs_points_into_lines() -> None:
    images = torch.zeros(200, 1, 48, 48)
    images[:, :, 24, 24] = 1
    torch.manual_seed(0)
    changed = augment(images, replace(STILL, motion=0.5))[:, 0]
    changed_images = changed[(changed - images[:, 0]).abs().amax((1, 2)) > 0.1].double()
    assert 70 < len(changed_images) < 130
    torch.testing.assert_close(
        changed_images.sum((1, 2)), torch.ones(len(changed_images), dtype=torch.float64), rtol=0, atol=0.05
    )
    at = torch.arange(48).double() - 24
    xx, yy = (changed_images * at**2).sum((1, 2)), (changed_images * at[:, None] ** 2).sum((1, 2))
    xy = (changed_images * at * at[:, None]).sum((1, 2))
    along = (xx + yy) / 2 + torch.sqrt((xx - yy) ** 2 / 4 + xy**2)
    across = xx + yy - along
    assert bool((along > 2 * across).all())  # variances of the line: it is long and thin
    assert 0.5 < float(along.min()) < 1.5 < 4 < float(along.max()) < 9  # of 3 to 9 pixels
    for direction in (xx > 2 * yy, yy > 2 * xx, xy > 0.4 * along, xy < -0.4 * along):
        assert bool(direction.any())


def test_erasing_replaces_one_rectangle() -> None:
    images = torch.full((100, 1, 48, 48), 2.0)
    erased = augment(images, replace(STILL, erasing=0.5)) < 1  # augment clamps the rest to 1
    area = erased.float().mean((1, 2, 3))
    assert 30 < int((area > 0).sum()) < 70
    for mask in erased[area > 0][:, 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert int(mask.sum()) >= 0.98 * int(rows.sum()) * int(columns.sum())
    assert 0.02 < float(area[area > 0].min()) < float(area.max()) < 0.3


@pytest.mark.parametrize("config", [replace(STILL, mixup=0.4), replace(STILL, cutmix=1.0)])
def test_mix_weighs_images_and_targets_alike(config: TrainConfig) -> None:
    torch.manual_seed(3)
    targets = torch.eye(4)
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 48, 48)  # the picture's value is its class
    mixed, mixed_targets = mix(images, targets, config)
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(4))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), mixed_targets @ torch.arange(4.0))
    assert not torch.equal(mixed_targets, targets)


def test_mix_without_strengths_changes_nothing() -> None:
    images, targets = make_images(4), torch.eye(4)
    before = torch.get_rng_state()
    mixed, mixed_targets = mix(images, targets, STILL)
    assert mixed is images and mixed_targets is targets
    assert torch.equal(torch.get_rng_state(), before)


def test_perspective_makes_one_side_smaller_by_its_share() -> None:
    bar = torch.zeros(300, 1, 48, 48)
    bar[:, :, 14:34] = 1  # a band over the whole width: its height shows the scale at each column
    torch.manual_seed(0)
    heights = (augment(bar, replace(STILL, perspective=0.4))[:, 0] > 0.5).sum(1).float()
    ratio = heights[:, 0] / heights[:, -1]
    assert 0.55 <= float(ratio.min()) <= 0.75 and 1.35 <= float(ratio.max()) <= 1.85  # 1 - 0.4, and 1 / 0.6
    assert 100 < int((ratio < 1).sum()) < 200
    torch.testing.assert_close(heights[:, 23:25].mean(), torch.tensor(20.0), rtol=0, atol=1.0)


def test_framing_moves_and_scales_its_share_of_the_images() -> None:
    square = torch.zeros(400, 1, 48, 48)
    square[:, :, 14:34, 14:34] = 1
    torch.manual_seed(0)
    changed = augment(square, replace(STILL, framing=0.5))
    moved = (changed - square).abs().amax((1, 2, 3)) > 0.3
    assert 140 < int(moved.sum()) < 230
    width, height = bright_extent(changed)
    assert torch.equal(width, height) or float((width - height).abs().max()) <= 1  # one scale for both axes
    assert 16 <= int(width.min()) <= 18 and 22 <= int(width.max()) <= 24  # 20 pixels times exp(-0.15) and exp(0.15)
    columns = torch.arange(48.0)
    centre = (changed[:, 0].sum(1) * columns).sum(1) / changed[:, 0].sum((1, 2))
    assert float((centre - 23.5).abs().max()) < 5
    assert float((centre - 23.5).abs().max()) > 2.5


def test_highlight_brightens_a_spot() -> None:
    gray = torch.full((400, 1, 48, 48), 0.4)
    torch.manual_seed(0)
    changed = augment(gray, replace(STILL, highlight=0.3))[:, 0]
    lit = changed.amax((1, 2)) > 0.45
    assert 90 < int(lit.sum()) < 150
    assert float(changed.min()) > 0.399
    assert float((changed[lit] > 0.5).float().mean()) < 0.15  # a spot, not the whole face
    assert float(changed.max()) > 0.9


def test_occluders_cover_eyes_mouth_chin_and_borders_evenly() -> None:
    images = torch.full((600, 1, 48, 48), 2.0)  # augment clamps what stays to 1
    torch.manual_seed(0)
    changed = augment(images, replace(STILL, occlude=0.5))[:, 0]
    covered = changed < 1
    hit = covered.any(2).any(1)
    assert 240 < int(hit.sum()) < 360
    for image, mask in zip(changed[hit], covered[hit], strict=True):
        assert float(image[mask].std()) < 1e-6  # one gray
        assert int(mask.sum()) == int(mask.any(1).sum()) * int(mask.any(0).sum())
    for row, column in ((18, 24), (36, 24), (46, 24), (24, 2), (24, 45)):  # eyes, mouth, chin, left, right
        assert int(covered[:, row, column].sum()) > 20
    assert int(covered[:, 26, 24].sum()) == 0  # the nose stays
