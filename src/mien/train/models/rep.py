"""Rep and Wide: plain 3x3 networks that fold into fewer operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RepBlock(nn.Module):
    """3x3 convolution, batch norm, residual addition if the shape allows it, ReLU.

    The addition comes before the ReLU, so that batch norm and addition fold into one convolution (Ding et al., RepVGG,
    2021, without the 1x1 branch, which costs a ninth of the training time).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.adds = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.norm(self.conv(x))
        return torch.relu(y + x if self.adds else y)

    @torch.no_grad()
    def fused(self, fold: bool = True) -> nn.Module:
        """Return the same function in evaluation without batch norm and, with `fold`, without the addition."""
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        scale = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        conv = nn.Conv2d(self.conv.in_channels, self.conv.out_channels, 3, self.conv.stride[0], 1)
        conv.weight.copy_(self.conv.weight * scale[:, None, None, None])
        assert conv.bias is not None
        conv.bias.copy_(self.norm.bias - self.norm.running_mean * scale)
        if self.adds and fold:
            index = torch.arange(self.conv.out_channels)
            conv.weight[index, index, 1, 1] += 1
        return Fused(conv, self.adds and not fold)


class Fused(nn.Module):
    """A convolution, the input if `adds`, ReLU."""

    def __init__(self, conv: nn.Conv2d, adds: bool) -> None:
        super().__init__()
        self.conv, self.adds = conv, adds

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return torch.relu(y + x if self.adds else y)


class Rep(nn.Module):
    """A plain 3x3 network of stride 16: 1.8 M parameters, 44 M multiply-adds on 32 pixels, 100 M on 48.

    `width` is a factor on the filters, `dropout` on the dropout rate before the last layer.
    """

    FIRST = 24
    FILTERS = (48, 96, 128, 256)
    DEPTHS = (2, 3, 3, 1)
    RATE = 0.2

    def __init__(self, classes: int = 5, width: float = 1.0, dropout: float = 1.0) -> None:
        super().__init__()
        before = round(self.FIRST * width)
        blocks = [RepBlock(1, before)]
        for filters, depth in zip(self.FILTERS, self.DEPTHS, strict=True):
            filters = round(filters * width)
            blocks += [RepBlock(before, filters, 2), *(RepBlock(filters, filters) for _ in range(depth))]
            before = filters
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(self.RATE * dropout), nn.Linear(before, classes)
        )
        for block in blocks:  # a residual branch that starts at 0 trains faster (Goyal et al. 2017)
            if block.adds:
                nn.init.zeros_(block.norm.weight)

    def forward(self, images: Tensor) -> Tensor:
        """float (N, 1, S, S), normalised -> raw logits (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def fused(self, fold: bool = True) -> nn.Module:
        """Return the same function in evaluation, for the export."""
        blocks = [block.fused(fold) for block in self.features if isinstance(block, RepBlock)]
        return nn.Sequential(*blocks, self.head).eval()


class Wide(Rep):
    """`Rep` with more filters, its teacher: 6.2 M parameters, 234 M multiply-adds on 48 pixels."""

    FIRST = 32
    FILTERS = (64, 128, 256, 512)
    RATE = 0.5
