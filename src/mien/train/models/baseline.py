"""Baseline: four blocks of two 3x3 convolutions, then three dense layers."""

from __future__ import annotations

from torch import Tensor, nn


class LastMaxPool(nn.MaxPool2d):
    """Adaptive max-pooling to 3x3, so that the dense layers fit inputs of all sizes; 2x2 max-pooling at 48 pixels.

    It is written with three evenly spaced windows a side, which have an ONNX form for every size.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, S, S), S of at least 2 -> (N, C, 3, 3)."""
        side = input.shape[-1]
        step, edge = (side + 1) // 3, int(side % 3 == 2)
        return nn.functional.max_pool2d(input, side + 2 * edge - 2 * step, step, edge)


class Baseline(nn.Module):
    """The README network, 7.18 M parameters; `width` is a factor on the filters, `dropout` on the dropout rates."""

    FILTERS = (64, 128, 256, 512)
    RATES = (0.25, 0.25, 0.35, 0.40)

    def __init__(self, classes: int = 5, width: float = 1.0, dropout: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for number, (filters, rate) in enumerate(zip(self.FILTERS, self.RATES, strict=True)):
            filters = round(filters * width)
            pool = LastMaxPool(2) if number == 3 else nn.MaxPool2d(2)
            layers += [*_conv(before, filters), *_conv(filters, filters), pool, nn.Dropout(rate * dropout)]
            before = filters
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(before * 9, 512), nn.ReLU(inplace=True), nn.Dropout(0.5 * dropout)),
            *(nn.Linear(512, 256), nn.ReLU(inplace=True), nn.Dropout(0.5 * dropout)),
            nn.Linear(256, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """float (N, 1, S, S), normalised -> raw logits (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
