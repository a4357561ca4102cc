"""The networks and their registry. All take float (N, 1, S, S), normalised, and give raw logits (N, C).

Each has `features`, the convolutions, and `head`, from their output to the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mien.train.mobilenet import MobileNet
from mien.types import ConfigError


class LastMaxPool(nn.MaxPool2d):
    """2x2 max-pooling; on inputs of other sizes than 48 px it still gives 3x3, so that the dense layers fit.

    From 6x6 (48 px) it is plain max-pooling; from 4x4 (32 px) the 2x2 windows overlap; 3x3 (24 px) stays. In general it
    is adaptive max-pooling, written with its three evenly spaced windows a side, which have an ONNX for every size.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, S, S), S of at least 2 -> (N, C, 3, 3)."""
        side = input.shape[-1]
        step, edge = (side + 1) // 3, int(side % 3 == 2)
        return nn.functional.max_pool2d(input, side + 2 * edge - 2 * step, step, edge)


class Baseline(nn.Module):
    """The README network: four blocks of two 3x3 convolutions, then three dense layers; 7.18 M parameters.

    Args:
        classes: number of outputs.
        width: factor on the filters (training may begin narrow).
        dropout: factor on the dropout rates.
    """

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
            nn.Linear(before * 9, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5 * dropout),
            nn.Linear(512, 256),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5 * dropout),
            nn.Linear(256, classes),
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """float (N, 1, S, S), normalised -> raw logits (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class RepBlock(nn.Module):
    """3x3 convolution, batch norm, the input added where the shape allows, ReLU.

    The addition comes before the ReLU, so that batch norm and addition fold into one plain convolution (Ding et al.,
    RepVGG, 2021, less its 1x1 branch, which costs a ninth of the training time here).
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
        """The same function in evaluation with one convolution, its bias, and the ReLU.

        Args:
            fold: put the addition of the input into the convolution too.
        """
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
    """A convolution, the input added where `adds` says so, ReLU."""

    def __init__(self, conv: nn.Conv2d, adds: bool) -> None:
        super().__init__()
        self.conv, self.adds = conv, adds

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return torch.relu(y + x if self.adds else y)


class Rep(nn.Module):
    """A plain 3x3 network: stride 16, global average pooling; 1.8 M parameters.

    44 M multiply-adds on pictures of 32 pixels, 100 M on 48.

    Args:
        classes: number of outputs.
        width: factor on the filters.
        dropout: factor on the dropout rate before the last layer.
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
        initialise(self)
        for block in blocks:  # a residual branch that begins at 0 trains faster (Goyal et al. 2017)
            if block.adds:
                nn.init.zeros_(block.norm.weight)

    def forward(self, images: Tensor) -> Tensor:
        """float (N, 1, S, S), normalised -> raw logits (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def fused(self, fold: bool = True) -> nn.Module:
        """The same function in evaluation without batch norms and, with `fold`, additions: what is exported."""
        blocks = [block.fused(fold) for block in self.features if isinstance(block, RepBlock)]
        return nn.Sequential(*blocks, self.head).eval()


class Wide(Rep):
    """`Rep` with more filters, to teach it: 6.2 M parameters, 234 M multiply-adds on 48 pixels."""

    FIRST = 32
    FILTERS = (64, 128, 256, 512)
    RATE = 0.5


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def initialise(model: nn.Module) -> None:
    """He initialisation (He et al. 2015) for layers followed by a ReLU, in place."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "baseline": Baseline, "mobilenet": MobileNet, "rep": Rep, "wide": Wide,
}  # fmt: skip


def build(network: str, classes: int, width: float = 1.0, dropout: float = 1.0, auxiliary: int = 0) -> nn.Module:
    """A fresh network by name.

    Args:
        network: a key of NETWORKS.
        classes: number of outputs.
        width: factor on the filters.
        dropout: factor on the dropout rates.
        auxiliary: outputs of a second head on the pooled features, for training only; 0 for none.

    Raises:
        ConfigError: no network of that name.
    """
    if network not in NETWORKS:
        raise ConfigError(f"no network is called {network!r}; there are: {', '.join(NETWORKS)}")
    model = NETWORKS[network](classes=classes, width=width, dropout=dropout)
    if auxiliary:
        filters = [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)][-1]
        head = nn.Linear(filters, auxiliary)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        model.auxiliary = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return model


@torch.no_grad()
def grow(small: dict[str, Tensor], large: nn.Module) -> None:
    """Put a narrower network's weights into a wider one, which then computes the same function in evaluation.

    The old channels keep their weights and ignore the new ones (weight 0 from new to old); the new channels start from
    their own initialisation, so that both are free to learn. Net2Net (Chen et al. 2016) copies channels instead, which
    then have to be told apart by noise.
    """
    state = large.state_dict()
    for name, value in small.items():
        target = state[name]
        if value.dim() >= 2:
            target[: value.shape[0], value.shape[1] :] = 0
        target[tuple(slice(n) for n in value.shape)] = value
    large.load_state_dict(state)


@torch.no_grad()
def narrow(large: Rep, small: Rep) -> None:
    """Start a network from a wider one of its family, in place: each stage keeps the channels with the largest weights.

    How much a channel counts is the size of the weights that make it and that read it (Li et al. 2017), of each
    convolution relative to its mean. Blocks that only the small network has stay as they are; those begin at 0.

    Args:
        large: with at least as many filters in each stage.
        small: with as many classes, changed in place.

    Raises:
        ConfigError: a stage of the small network has more filters.
    """
    before = torch.arange(1)
    old, new = (_stages(each) for each in (large, small))
    if any(a[0].conv.out_channels < b[0].conv.out_channels for a, b in zip(old, new, strict=True)):
        raise ConfigError(
            "the weights to start from are of a network with fewer filters: only a wider one can be cut down"
        )
    for number, (here, there) in enumerate(zip(old, new, strict=True)):
        readers = here[1:] + (old[number + 1][:1] if number + 1 < len(old) else [])
        made = [block.fused(fold=False).get_submodule("conv").get_parameter("weight") for block in here]
        sizes = [weight.flatten(1).norm(dim=1) for weight in made]
        sizes += [block.conv.weight.transpose(0, 1).flatten(1).norm(dim=1) for block in readers]
        worth = torch.stack([size / size.mean() for size in sizes]).sum(0)
        kept = worth.topk(there[0].conv.out_channels).indices.sort().values
        for source, target in zip(here, there, strict=False):
            target.conv.weight.copy_(source.conv.weight[kept][:, before])
            for name, value in target.norm.state_dict().items():
                value.copy_(source.norm.state_dict()[name][kept] if value.dim() else source.norm.state_dict()[name])
            before = kept
    last, wider = small.head[-1], large.head[-1]
    assert isinstance(last, nn.Linear) and isinstance(wider, nn.Linear)
    last.weight.copy_(wider.weight[:, before])
    last.bias.copy_(wider.bias)


def _stages(model: Rep) -> list[list[RepBlock]]:
    """The blocks that share their channels: a residual addition keeps them."""
    found: list[list[RepBlock]] = []
    for block in model.features:
        assert isinstance(block, RepBlock)
        if not block.adds:
            found.append([])
        found[-1].append(block)
    return found


@torch.no_grad()
def adopt(tensors: dict[str, Tensor], old: Sequence[str], model: nn.Module, new: Sequence[str]) -> None:
    """Start a network from another one's weights, its last layer by the names of the classes.

    A class that the other network does not know keeps its fresh row, a class that it alone knows is dropped.

    Args:
        tensors: the other network's state; a head for training only is left out.
        old: its labels.
        model: the same kind of network, changed in place.
        new: our labels.

    Raises:
        ConfigError: the networks differ in more than the last layer.
    """
    state = model.state_dict()
    last = [name for name in state if name.startswith("head.")][-2:]
    pairs = [(new.index(label), old.index(label)) for label in new if label in old]
    for name in state:
        if name.startswith("auxiliary."):
            continue
        value = tensors.get(name)
        rows = 1 if name in last else 0  # the number of classes may differ
        if value is None or value.shape[rows:] != state[name].shape[rows:]:
            raise ConfigError(f"the weights to start from are of another network ({name} does not fit)")
        if name in last:
            for here, there in pairs:
                state[name][here] = value[there]
        else:
            state[name].copy_(value)
    model.load_state_dict(state)


def parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
