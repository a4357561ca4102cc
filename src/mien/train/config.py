"""TrainConfig: one frozen dataclass that is the YAML recipe and the checkpoint's content."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mien.types import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of training at one input size and one width.

    Training may begin with a narrow network on small pictures, where a pass costs a tenth, and grow: the network keeps
    what it learned when it gets wider (see `models.grow`).
    """

    epochs: int = 40
    """Passes over the training images."""
    lr: float = 1e-3
    """Learning rate at the start of the stage, after the warm-up."""
    lr_end: float = 0.0
    """Learning rate at the end of the stage (cosine from `lr`)."""
    size: int = 48
    """Side of the square input in pixels; pictures are reduced by area averaging after augmentation. The exported
    model brings its crops to the size of the last stage."""
    width: float = 1.0
    """Factor on the number of filters."""
    dropout: float = 1.0
    """Factor on the network's dropout rates."""
    augment: float = 1.0
    """Factor on every strength of the augmentation but the mirroring, 0..1."""
    distill: float = 0.0
    """Share of the target that is the teacher's answer, 0..1; needs `teacher` or `soft_labels`."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides what a run gives."""

    name: str = "baseline"
    """Name of the model in its metadata and file name."""
    network: str = "baseline"
    """A key of `models.NETWORKS`."""
    init: str = ""
    """Checkpoint, or name of a shipped one, whose weights the run starts from; "" for a fresh start."""
    classes: int = 5
    """5 or 7 emotions of FER2013, or 8: with the contempt of FER+ and AffectNet."""
    extra_classes: bool = False
    """Learn from FER2013's other two classes as well; validation leaves them out and the exported model drops them."""
    folds: int = 0
    """Cross-fitting: the Training images fall into this many parts by a hash of their pixels; 0 for none."""
    fold: int = 0
    """The part that is left out, 0..folds - 1: of it the model can later tell soft labels that it has not learned."""
    drop_leaks: bool = True
    """Leave out Training images that are identical to a test image."""
    stages: tuple[Stage, ...] = (Stage(),)
    """Stretches of training, in order."""
    batch: int = 128
    """Images a step."""
    optimizer: str = "adamw"
    """adamw (decoupled weight decay), adam (L2 in the gradient) or sgd (Nesterov momentum 0.9, L2)."""
    weight_decay: float = 0.05
    """Weight decay, on weights of convolutions and dense layers only."""
    warmup: float = 0.5
    """Epochs of linear warm-up at the start of each stage; of `one-cycle` it is at least 0.3 of the stage."""
    schedule: str = "cosine"
    """cosine, or one-cycle (Smith 2018): a long warm-up, the momentum falls from 0.95 to 0.85 and rises again."""
    label_smoothing: float = 0.1
    """Share of the target spread evenly over the classes, 0..1."""
    mixup: float = 0.0
    """Parameter of the Beta distribution that mixes pairs of pictures and their targets; 0 turns it off."""
    cutmix: float = 0.0
    """Share of the batches in which a rectangle comes from another picture, target mixed by area, 0..1."""
    ferplus: float = 0.0
    """Weight of an auxiliary head that learns the FER+ votes of the Training images; needs votes."""
    blend: float = 0.0
    """Share of the FER+ head's logits that the exported model adds to its own; 0 drops that head."""
    teacher: str = ""
    """Shipped model, or ONNX file, whose answers to the augmented pictures stages with `distill` learn from; names
    joined by +, as in wide+baseline, take turns, step by step."""
    soft_labels: str = ""
    """File of `mien data soft-labels` that stages with `distill` learn from, in place of a teacher."""
    mirror: bool = False
    """The exported model answers with the mean over the picture and its mirror image, which takes twice the time."""
    ema: float = 0.998
    """Decay a step of the moving average of the weights that is evaluated and kept; 0 turns it off."""
    flip: bool = True
    """Mirror half of the pictures."""
    rotation: float = 12.0
    """Largest rotation in degrees, either way."""
    zoom: float = 0.1
    """Largest change of scale, as a share."""
    stretch: float = 0.0
    """Largest change of each axis on its own: both are scaled by a factor between exp(-stretch) and exp(stretch)."""
    shear: float = 0.0
    """Largest horizontal shift of a row, as a share of its distance from the centre."""
    shift: float = 0.08
    """Largest shift, as a share of the side."""
    brightness: float = 0.2
    """Largest change of brightness, as a share of the range."""
    contrast: float = 0.2
    """Largest change of contrast, as a share."""
    gamma: float = 0.0
    """Largest change of exposure: each picture is raised to a power between exp(-gamma) and exp(gamma)."""
    shadow: float = 0.0
    """Largest strength of light from one side: pixels gain up to this share on one side and lose it on the other."""
    sharpen: float = 0.0
    """Share of the images that are sharpened with an unsharp mask, 0..1."""
    degrade: float = 0.0
    """Share of the pictures that are blurred, made noisy or reduced to a low resolution (one of the three), 0..1."""
    motion: float = 0.0
    """Share of the pictures that are blurred along a line, as when a head moves, 0..1."""
    erasing: float = 0.0
    """Share of the pictures in which a rectangle is replaced by noise, 0..1."""
    seed: int = 1
    """Seed of initialisation, order, augmentation and dropout."""
    precision: str = "auto"
    """auto, 32-true or bf16-mixed; auto takes bf16 only where the hardware has it."""

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and JSON."""
        values = dataclasses.asdict(self)
        values["stages"] = [dict(stage) for stage in values["stages"]]
        return values


FINETUNE = TrainConfig(
    name="mine", network="rep", init="rep", batch=32, stages=(Stage(epochs=12, lr=5e-4, size=48),), weight_decay=0.02,
    warmup=1.0, ema=0.98, gamma=0.3, degrade=0.1, erasing=0.1,
)  # fmt: skip
"""The shipped network goes on learning from one's own pictures, some hundreds or thousands, in minutes on a CPU."""


def from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Build a config from plain values.

    Raises:
        ConfigError: an unknown field, or a value out of range.
    """
    values = dict(values)
    if "stages" in values:
        if not isinstance(values["stages"], list | tuple) or not values["stages"]:
            raise ConfigError("stages must be a list with at least one stage, each with epochs, lr, size ...")
        values["stages"] = tuple(_build(Stage, stage, "stage") for stage in values["stages"])
    config = _build(TrainConfig, values, "recipe")
    _check(config)
    return config


def read_recipe(path: Path | str, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a YAML recipe and put `overrides` on top.

    Raises:
        ConfigError: no such file, not YAML, an unknown field or a value out of range.
    """
    try:
        values = yaml.safe_load(Path(path).read_text("utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a list of 'field: value' lines")
    return from_dict({**values, **(overrides or {})})


def _build(kind: type[T], values: Mapping[str, Any], what: str) -> T:
    if not isinstance(values, Mapping):
        raise ConfigError(f"a {what} is a list of 'field: value' lines, got {values!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"unknown field {', '.join(unknown)} in the {what}; fields are: {', '.join(fields)}")
    clean: dict[str, Any] = {}
    for name, value in values.items():
        wanted = type(fields[name].default)
        if wanted is float and isinstance(value, int | str) and not isinstance(value, bool):
            try:
                value = float(value)
            except ValueError:
                raise ConfigError(f"{name} in the {what} must be a number, got {value!r}") from None
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise ConfigError(f"{name} in the {what} must be {wanted.__name__}, got {value!r}")
        clean[name] = value
    return kind(**clean)


def _check(config: TrainConfig) -> None:
    rules = [
        (config.classes in (5, 7, 8), "classes must be 5 or 7, or 8 with contempt"),
        (config.batch >= 2, "batch must be at least 2 (batch norm)"),
        (config.classes == 5 or not config.extra_classes, "extra_classes adds to 5 classes, not to 7 or 8"),
        (
            config.folds == 0 or (config.folds >= 2 and 0 <= config.fold < config.folds),
            "folds is 0, or at least 2 with fold in 0..folds - 1",
        ),
        (config.schedule in ("cosine", "one-cycle"), "schedule must be cosine or one-cycle"),
        (config.blend >= 0 and (not config.blend or config.ferplus > 0), "blend is not negative and needs ferplus"),
        (config.optimizer in ("adam", "adamw", "sgd"), "optimizer must be adam, adamw or sgd"),
        (config.precision in ("auto", "32-true", "bf16-mixed"), "precision must be auto, 32-true or bf16-mixed"),
        (0 <= config.label_smoothing < 1, "label_smoothing must lie in 0..1"),
        (0 <= config.ema < 1, "ema must lie in 0..1"),
        (0 <= config.zoom < 1 and 0 <= config.shift < 1, "zoom and shift must lie in 0..1"),
        (config.mixup >= 0 and config.gamma >= 0 and config.ferplus >= 0, "mixup, gamma and ferplus are not negative"),
        (0 <= config.stretch < 1 and 0 <= config.shear < 1, "stretch and shear must lie in 0..1"),
        (0 <= config.shadow <= 1 and 0 <= config.sharpen <= 1, "shadow and sharpen must lie in 0..1"),
        (
            all(0 <= v <= 1 for v in (config.cutmix, config.degrade, config.motion, config.erasing)),
            "cutmix, degrade, motion and erasing: 0..1",
        ),
        (all(0 <= stage.distill <= 1 for stage in config.stages), "distill must lie in 0..1"),
        (all(0 <= stage.augment <= 1 for stage in config.stages), "augment must lie in 0..1"),
        (
            bool(config.teacher or config.soft_labels) or not any(s.distill for s in config.stages),
            "distill needs a teacher, a model's name, or soft_labels, a file",
        ),
        (not (config.teacher and config.soft_labels), "give a teacher or soft_labels, not both"),
        (all(stage.epochs >= 1 for stage in config.stages), "a stage has at least one epoch"),
        (all(stage.lr > 0 for stage in config.stages), "lr must be above 0"),
        (all(16 <= stage.size <= 96 for stage in config.stages), "size must lie in 16..96 pixels"),
        (all(0 < stage.width <= 1 for stage in config.stages), "width must lie in 0..1"),
        (all(0 <= stage.dropout <= 1 for stage in config.stages), "dropout must lie in 0..1"),
        (config.stages[-1].width == 1.0, "the last stage trains the whole network: width 1"),
    ]
    for good, message in rules:
        if not good:
            raise ConfigError(message)
