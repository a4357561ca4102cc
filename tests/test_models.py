"""The README network, to the letter, and growth without a change of function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mien.train import models
from mien.types import ConfigError


def test_baseline_is_the_readme_network_layer_by_layer() -> None:
    net = models.build("baseline", 5)
    expected: list[tuple[object, ...]] = []
    before = 1
    for filters, rate in zip((64, 128, 256, 512), (0.25, 0.25, 0.35, 0.40), strict=True):
        for inputs in (before, filters):
            expected += [("conv", inputs, filters, (3, 3), (1, 1), (1, 1)), ("bn", filters), ("relu",)]
        expected += [("pool", 2, 2), ("dropout", rate)]
        before = filters
    expected += [("flatten",), ("dense", 4608, 512), ("relu",), ("dropout", 0.5)]
    expected += [("dense", 512, 256), ("relu",), ("dropout", 0.5), ("dense", 256, 5)]
    assert [describe(layer) for layer in [*net.features, *net.head]] == expected


def describe(layer: nn.Module) -> tuple[object, ...]:
    match layer:
        case nn.Conv2d():
            return ("conv", layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        case nn.BatchNorm2d():
            return ("bn", layer.num_features)
        case nn.ReLU():
            return ("relu",)
        case nn.MaxPool2d():
            return ("pool", layer.kernel_size, layer.stride)
        case nn.Dropout():
            return ("dropout", layer.p)
        case nn.Flatten():
            return ("flatten",)
        case nn.Linear():
            return ("dense", layer.in_features, layer.out_features)
    raise AssertionError(layer)


def test_baseline_has_7_18_million_parameters_and_gives_raw_logits() -> None:
    net = models.build("baseline", 5).eval()
    assert models.parameters(net) == 7_180_485
    logits = net(torch.randn(3, 1, 48, 48))
    assert logits.shape == (3, 5)
    assert not torch.allclose(logits.sum(1), torch.ones(3))


def test_last_pool_is_plain_max_pooling_at_48_pixels() -> None:
    maps = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(models.LastMaxPool(2)(maps), nn.functional.max_pool2d(maps, 2))


@pytest.mark.parametrize("side", range(2, 13))
def test_last_pool_is_adaptive_max_pooling_at_all_sizes(side: int) -> None:
    maps = torch.randint(3, (2, 8, side, side)).float().requires_grad_()  # with ties, for the gradient
    pools = (models.LastMaxPool(2)(maps), nn.functional.adaptive_max_pool2d(maps, 3))
    assert torch.equal(*pools)
    weights = torch.randn(2, 8, 3, 3)
    slopes = [torch.autograd.grad((pooled * weights).sum(), maps)[0] for pooled in pools]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("size", [16, 24, 32, 40, 96])
def test_smaller_pictures_still_fit_the_dense_layers(size: int) -> None:
    assert models.build("baseline", 7, width=0.25)(torch.randn(2, 1, size, size)).shape == (2, 7)


def test_growing_keeps_the_function() -> None:
    torch.manual_seed(0)
    small, large = models.build("baseline", 5, width=0.25).train(), models.build("baseline", 5)
    images = torch.randn(4, 1, 48, 48)
    small(images)  # gives batch norm statistics of its own
    small.eval()
    models.grow(small.state_dict(), large)
    torch.testing.assert_close(large.eval()(images), small(images), rtol=1e-4, atol=1e-4)


def test_unknown_network_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="there are: baseline"):
        models.build("resnet9000", 5)


def test_rep_folds_into_plain_convolutions_of_the_same_function() -> None:
    torch.manual_seed(0)
    net = models.build("rep", 5)
    assert isinstance(net, models.Rep)
    for layer in net.modules():  # batch norms as after training, not as at the start
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    net.eval()
    images = torch.randn(4, 1, 48, 48)
    for fold in (True, False):
        fused = net.fused(fold)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
        assert any(isinstance(layer, models.Fused) and layer.adds for layer in fused.modules()) is not fold
        with torch.no_grad():
            torch.testing.assert_close(fused(images), net(images), rtol=1e-4, atol=1e-4)


def test_rep_stays_within_its_budget_and_stride_16() -> None:
    net = models.build("rep", 5)
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += output[0].numel() * layer.weight[0].numel()

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        assert net.features(torch.zeros(1, 1, 32, 32)).shape[-2:] == (2, 2)
    assert 40e6 < total < 50e6
    assert models.parameters(net) < 2e6


def test_a_second_head_is_built_only_when_asked_for() -> None:
    assert not hasattr(models.build("rep", 5), "auxiliary")
    for name, filters in (("rep", 256), ("baseline", 512)):
        net = models.build(name, 5, auxiliary=8)
        assert net.auxiliary(torch.zeros(2, filters, 3, 3)).shape == (2, 8)


def test_adopting_keeps_the_rows_of_shared_classes_and_starts_new_ones_afresh() -> None:
    torch.manual_seed(0)
    old, new = models.build("rep", 3, auxiliary=8), models.build("rep", 2)
    fresh = new.head[-1].weight.detach().clone()
    models.adopt(old.state_dict(), ["happy", "sad", "neutral"], new, ["bored", "sad"])
    torch.testing.assert_close(new.head[-1].weight[1], old.head[-1].weight[1])
    torch.testing.assert_close(new.head[-1].bias[1], old.head[-1].bias[1])
    torch.testing.assert_close(new.head[-1].weight[0], fresh[0])
    images = torch.randn(2, 1, 48, 48)
    torch.testing.assert_close(new.eval().features(images), old.eval().features(images))


def test_adopting_another_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="another network"):
        models.adopt(models.build("baseline", 5).state_dict(), ["a"] * 5, models.build("rep", 5), ["a"] * 5)
    with pytest.raises(ConfigError, match="another network"):
        models.adopt(models.build("rep", 5, width=0.5).state_dict(), ["a"] * 5, models.build("rep", 5), ["a"] * 5)


def test_a_network_cut_down_to_the_channels_that_count_is_the_same_function() -> None:
    torch.manual_seed(0)
    small, large = models.build("rep", 5, width=0.25), models.build("rep", 5, width=0.5)
    assert isinstance(small, models.Rep) and isinstance(large, models.Rep)
    for layer in small.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    for value in large.parameters():
        nn.init.zeros_(value)
    before = torch.arange(1)
    # the small one's channels, anywhere among dead ones
    for thin, wide in zip(small.features, large.features, strict=True):
        assert isinstance(thin, models.RepBlock) and isinstance(wide, models.RepBlock)
        if not thin.adds:
            places = torch.randperm(wide.conv.out_channels)[: thin.conv.out_channels].sort().values
        with torch.no_grad():
            wide.conv.weight[places[:, None], before] = thin.conv.weight
            for name, value in thin.norm.state_dict().items():
                if value.dim():
                    wide.norm.state_dict()[name][places] = value
        before = places
    with torch.no_grad():
        large.head[-1].weight[:, before] = small.head[-1].weight
        large.head[-1].bias.copy_(small.head[-1].bias)
    found = models.build("rep", 5, width=0.25)
    assert isinstance(found, models.Rep)
    models.narrow(large, found)
    images = torch.randn(4, 1, 32, 32)
    torch.testing.assert_close(found.eval()(images), small.eval()(images))
    with pytest.raises(ConfigError, match="fewer filters"):
        models.narrow(small, large)
