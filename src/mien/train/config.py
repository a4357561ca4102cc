"""TrainConfig: the YAML recipe, and part of every checkpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from mien.errors import ConfigError
from mien.media.foreign import parsing, short
from mien.media.paths import display

T = TypeVar("T")

_RECIPE_BYTES, _RECIPE_VALUES = 100_000, 10_000
_HINTS: dict[type, dict[str, Any]] = {}  # kept, since a recipe may have thousands of stages


@dataclass(frozen=True, slots=True)
class Range:
    """Finite numbers from `low` to `high`; an end that is open is excluded."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        finite = isinstance(value, int) or math.isfinite(value)  # an int may be too large for a float
        return above and finite and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        low = f"{'above' if self.open_low else 'at least'} {self.low:,}"
        high = f"{'below' if self.open_high else 'at most'} {self.high:,}"
        return f"finite and {low}" if self.high == math.inf else f"{low} and {high}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.values))}"


class PlainName:
    """A file name without folder on every system."""

    def __contains__(self, value: str) -> bool:
        plain = value.isprintable() and not set(value) & set('/\\:*?"<>|') and value == value.strip()
        return plain and 0 < len(value) <= 100 and not value.startswith(".")

    def __str__(self) -> str:
        return 'a file name: 1 to 100 characters, no leading dot, no outer spaces, none of / \\ : * ? " < > |'


Share = Annotated[float, Range(0, 1)]
ShareBelowOne = Annotated[float, Range(0, 1, open_high=True)]
NotNegative = Annotated[float, Range(0)]


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _HINTS:
        _HINTS[kind] = get_type_hints(kind, include_extras=True)
    return _HINTS[kind]


def _check_ranges(config: Any) -> None:
    """Compare each field with the range in its annotation."""
    for name, hint in _hints(type(config)).items():
        for allowed in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
            if (value := getattr(config, name)) not in allowed:
                raise ConfigError(f"{name} must be {allowed}, got {short(value)}")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of training at one input size."""

    epochs: Annotated[int, Range(1, 10_000)] = 40  # passes over the training images
    lr: Annotated[float, Range(0, open_low=True)] = 1e-3  # learning rate at the start of the stage, after the warm-up
    lr_end: NotNegative = 0.0  # learning rate at the end of the stage
    size: Annotated[int, Range(16, 96)] = 48  # side of the input in pixels; that of the last stage is exported
    dropout: Share = 1.0  # factor on the network's dropout rates
    augment: Share = 1.0  # factor on every strength of the augmentation except `flip`
    distill: Share = 0.0  # weight of the teacher's answer in the target; needs `teacher` or `soft_labels`
    freeze: Share = 0.0  # share of the blocks, from the input on, that stay as they are; 1: only the head learns

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True, slots=True)
class DataSet:
    """How a run uses one of its data sets."""

    weight: NotNegative = 1.0  # images drawn in an epoch, as a share of Training; 0: the whole set is for validation
    balance: Annotated[float, Range(-1, 0)] = 0.0  # draw an image by its class's count to this power; -1: classes alike
    distill: Share = 1.0  # factor on the stages' `distill`
    soft_labels: str = ""  # file of soft labels; for the first set, the recipe's `soft_labels` does; "init": answers of
    # the network that the run starts from, so that it does not forget them

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True, slots=True)
class Variant:
    """A second model file of the same weights."""

    name: Annotated[str, PlainName()] = ""
    classes: Annotated[int, Choice((5, 7, 8))] = 7
    blend: NotNegative = 0.0
    class_bias: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_ranges(self)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides the result of a run."""

    name: Annotated[str, PlainName()] = "baseline"  # name of the model in its metadata and file name
    network: str = "baseline"  # a key of `models.NETWORKS`
    width: Annotated[float, Range(0, 1, open_low=True)] = 1.0  # factor on the number of filters
    init: str = ""  # checkpoint, or name of a shipped one, that the run starts from; "" for a fresh start
    # (several checkpoints of one start, joined by +, give the mean of their weights: Wortsman et al. 2022)
    classes: Annotated[int, Choice((5, 7, 8))] = 5  # 5 or 7 emotions of FER2013; 8: with contempt
    extra_classes: bool = False  # train on FER2013's other two classes too; only for training
    folds: Annotated[int, Range(0, 1000)] = 0  # cross-fitting: parts of Training, by a hash of the pixels; 0 for none
    fold: Annotated[int, Range(0, 999)] = 0  # the part to leave out, for soft labels of unseen images
    drop_leaks: bool = True  # leave out Training images that are identical to a test image
    sets: tuple[DataSet, ...] = ()  # of the data sets in their order; the last one also for further sets
    stages: tuple[Stage, ...] = (Stage(),)  # stretches of training, in order
    batch: Annotated[int, Range(2, 65_536)] = 128  # images a step
    optimizer: Annotated[str, Choice(("adamw", "adam", "sgd"))] = "adamw"  # sgd: Nesterov momentum 0.9
    weight_decay: NotNegative = 0.05  # weight decay of convolutions and dense layers
    warmup: NotNegative = 0.5  # epochs of linear warm-up at the start of each stage
    schedule: Annotated[str, Choice(("cosine", "one-cycle"))] = "cosine"  # one-cycle: Smith 2018
    label_smoothing: ShareBelowOne = 0.1  # share of the target that is spread evenly over the classes
    mixup: NotNegative = 0.0  # parameter of the Beta distribution that mixes pairs of images and targets; 0: off
    cutmix: Share = 0.0  # share of the batches in which a rectangle comes from another image; targets are mixed by area
    ferplus: NotNegative = 0.0  # weight of the loss of an auxiliary head for the FER+ votes; needs votes
    blend: NotNegative = 0.0  # factor on the FER+ head's logits in the exported model; needs `ferplus`
    class_bias: dict[str, float] = dataclasses.field(default_factory=dict)  # added to logits of the exported model
    variants: tuple[Variant, ...] = ()  # further model files to export
    # shipped model or ONNX file whose answers to the augmented images are the targets of stages with `distill`; several
    # names, as in mien-m+baseline, take turns step by step
    teacher: str = ""
    soft_labels: str = ""  # file of `mien data soft-labels`, in place of a teacher
    mirror: bool = False  # export the mean over the image and its mirror image, at twice the time
    patience: Annotated[int, Range(0, 10_000)] = (
        0  # epochs without a better one after which the last stage ends; 0: off
    )
    keep_start: bool = False  # the start is kept if no epoch is better; for runs whose `init` knows all classes
    ema: ShareBelowOne = 0.998  # decay a step of the moving average that is validated and kept; 0: off
    flip: bool = True  # mirror half of the images
    rotation: Annotated[float, Range(0, 180)] = 12.0  # largest rotation in degrees, either way
    zoom: ShareBelowOne = 0.1  # largest change of scale
    stretch: ShareBelowOne = 0.0  # scale each axis on its own by a factor from exp(-stretch) to exp(stretch)
    shear: ShareBelowOne = 0.0  # largest horizontal shift of a row, as a share of its distance from the centre
    shift: ShareBelowOne = 0.08  # largest shift, as a share of the side
    perspective: Annotated[float, Range(0, 0.5)] = 0.0  # turned heads: one side of the face up to this share smaller
    framing: Share = 0.0  # share of the images framed as a detector errs: up to 15 % larger or smaller, 8 % off
    brightness: Share = 0.2  # largest change of brightness, as a share of the range
    contrast: Share = 0.2  # largest change of contrast
    gamma: Annotated[float, Range(0, 3)] = 0.0  # exposure: power from exp(-gamma) to exp(gamma) of the pixels
    shadow: Share = 0.0  # light from one side: pixels gain up to this share there and lose it opposite
    highlight: Share = 0.0  # share of the images with a bright spot, as of a lamp on skin
    sharpen: Share = 0.0  # share of the images that are sharpened with an unsharp mask
    degrade: Share = 0.0  # share of the images that are blurred, made noisy or reduced in resolution
    motion: Share = 0.0  # share of the images that are blurred along a line, as when a head moves
    erasing: Share = 0.0  # share of the images in which a rectangle is replaced by noise
    occlude: Share = (
        0.0  # share of the images in which an even patch covers the eyes, the mouth, the chin or the border
    )
    seed: Annotated[int, Range(0, 2**32 - 1)] = 1  # seed of initialisation, order, augmentation and dropout
    precision: Annotated[str, Choice(("auto", "32-true", "bf16-mixed"))] = "auto"  # auto: bf16 if the hardware has it

    def __post_init__(self) -> None:
        _check_ranges(self)
        distills = any(stage.distill for stage in self.stages)
        biases = [
            bias for values in (self.class_bias, *(v.class_bias for v in self.variants)) for bias in values.values()
        ]
        blends = any(blend > 0 for blend in (self.blend, *(variant.blend for variant in self.variants)))
        rules = (
            (bool(self.stages), "stages must hold at least one stage"),
            (self.classes == 5 or not self.extra_classes, "extra_classes adds to 5 classes, not to 7 or 8"),
            (not self.sets or self.sets[0].weight > 0, "the first of the sets must have a weight above 0"),
            (all(bias in Range(-1000, 1000) for bias in biases), "class_bias must hold finite numbers, -1000 to 1000"),
            (self.folds != 1, "folds must be 0 or at least 2, got 1"),
            (self.fold < max(1, self.folds), f"fold must be below folds ({self.folds}), got {self.fold}"),
            (not blends or self.ferplus > 0, "blend needs ferplus above 0"),
            (not blends or self.network != "baseline", "blend needs network: rep or wide; baseline has other features"),
            (not (self.teacher and self.has_soft_labels), "teacher and soft_labels exclude each other"),
            (not distills or bool(self.teacher or self.has_soft_labels), "distill needs a teacher or soft_labels"),
            (bool(self.init) or all(item.soft_labels != "init" for item in self.sets), "soft_labels: init needs init"),
        )
        for fulfilled, message in rules:
            if not fulfilled:
                raise ConfigError(message)

    @property
    def has_soft_labels(self) -> bool:
        return bool(self.soft_labels or any(item.soft_labels for item in self.sets))

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def settings(self, count: int) -> list[DataSet]:
        """Return the settings of `count` data sets."""
        last = self.sets[-1] if len(self.sets) > 1 else DataSet()
        return [*self.sets, *[last] * (count - len(self.sets))][:count]

    def stage_at(self, epoch: int) -> tuple[int, int]:
        """Return the index of the stage that an epoch (from 0) belongs to, and its number within the stage."""
        for index, stage in enumerate(self.stages):
            if epoch < stage.epochs:
                return index, epoch
            epoch -= stage.epochs
        raise IndexError("the recipe has fewer epochs")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for YAML and JSON."""
        lists = {name: [dataclasses.asdict(item) for item in getattr(self, name)] for name in _LISTS}
        return {**dataclasses.asdict(self), **lists}


_LISTS = {"stages": Stage, "sets": DataSet, "variants": Variant}

FINETUNE = TrainConfig(
    name="mine", network="rep", init="mien-s", batch=32,
    stages=(Stage(epochs=12, lr=5e-4, size=48),), weight_decay=0.02,
    warmup=1.0, ema=0.98, gamma=0.3, degrade=0.1, erasing=0.1, patience=4, keep_start=True,
)  # fmt: skip
"""Fine-tunes the shipped network on some hundreds or thousands of images, in minutes on a CPU."""


def from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Build a config from plain values; a ConfigError names the field."""
    values = dict(values)
    if "stages" in values and not (isinstance(values["stages"], list | tuple) and values["stages"]):
        raise ConfigError("stages must be a list with at least one stage, each with epochs, lr, size ...")
    for name, kind in _LISTS.items():
        if isinstance(items := values.get(name), list | tuple):
            values[name] = tuple(_build(kind, item, f"{name[:-1]} {n}") for n, item in enumerate(items, 1))
    return _build(TrainConfig, values, "the recipe")


def read_recipe(path: Path | str, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a YAML recipe and put `overrides` on top."""
    with parsing(path, ConfigError, "not valid YAML", "correct it or give another file"):
        with Path(path).open("rb") as stream:
            data = stream.read(_RECIPE_BYTES + 1)
        if len(data) > _RECIPE_BYTES:
            raise ConfigError(f"{display(path)}: longer than {_RECIPE_BYTES:,} bytes, so no recipe")
        values = _parse_yaml(data.decode("utf-8-sig"))
    if not isinstance(values, dict):
        raise ConfigError(f"{display(path)}: a recipe is a list of 'field: value' lines")
    try:
        return from_dict({**values, **(overrides or {})})
    except ConfigError as error:
        raise ConfigError(f"{display(path)}: {error}") from error


def _parse_yaml(text: str) -> Any:
    """Parse plain YAML whose aliases, written out, stay within the limit."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        _count_nodes(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of nodes below and with `node`; `known` holds those of finished ones, 0 while they are open."""
    count = known.get(id(node))
    if count == 0:
        raise ValueError("an anchor contains itself")
    if count is None:
        known[id(node)] = 0
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        count = known[id(node)] = 1 + sum(_count_nodes(part, known) for part in parts)
    if count > _RECIPE_VALUES:
        raise ValueError(f"more than {_RECIPE_VALUES:,} values, aliases written out")
    return count


def _build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a list of 'field: value' lines, got {short(values)}")
    values = dict(values)
    if kind is Stage and values.get("width") == 1:
        del values["width"]  # older checkpoints have it
    types = {name: get_args(hint)[0] if get_origin(hint) is Annotated else hint for name, hint in _hints(kind).items()}
    if unknown := [name for name in values if name not in types]:
        names = ", ".join(sorted(name if isinstance(name, str) else short(name) for name in unknown[:5]))
        raise ConfigError(f"unknown field {names} in {where}; fields are: {', '.join(types)}")
    for name, value in values.items():
        expected = get_origin(types[name]) or types[name]
        if expected is float and isinstance(value, int | str) and not isinstance(value, bool):
            try:
                values[name] = value = float(value)  # YAML reads 1e-3 as text
            except (ValueError, OverflowError):
                raise ConfigError(f"{name} in {where} must be a number, got {short(value)}") from None
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise ConfigError(f"{name} in {where} must be {expected.__name__}, got {short(value)}")
    for name, number in values.get("class_bias", {}).items():
        if not isinstance(name, str):
            raise ConfigError(f"class_bias in {where} must name classes, got {short(name)}")
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ConfigError(f"class_bias of {name} in {where} must be a number, got {short(number)}")
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
