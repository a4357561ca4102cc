"""Measure YuNet with int8 convolutions: is it faster, and does it find the same faces?

The published network is quantized (static, QDQ, 8-bit activations, weights per channel) on photographs that are apart
from the measured ones and on crowds of them. Variants differ in what stays fp32: the heads, the first convolution, or
all depthwise convolutions. Each goes through the recipe of the shipped file, `experiments/yunet.py`, so that all end in
the same decoding. A face of the fp32 detector counts as found if the variant has a box with an intersection over union
above 0.5. Networks take turns; given is the least time of one thread.

Usage: python -m benchmarks.accuracy.detector_int8 --calibration photos_train.zip --photographs photos_dev.zip
       [--images 200] [--rounds 60] [--out FILE]
"""

from __future__ import annotations

import tempfile
import time
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from benchmarks import harness
from benchmarks.accuracy.whole_search import FOUND, bystanders, crowd, overlap
from experiments import yunet as recipe
from mien.media.image import decode
from mien.types import Face, Floats, Image

VARIANTS: dict[str, tuple[str, ...]] = {
    "all": (),
    "heads fp32": ("head_",),
    "heads and first convolution fp32": ("head_", "first"),
    "heads, first and depthwise convolutions fp32": ("head_", "first", "depthwise"),
}
SIZES = ((96, 96), (320, 256), (640, 480))
SETTINGS = {"score": np.array(0.7, np.float32), "nms": np.array(0.3, np.float32)}


class Images(CalibrationDataReader):  # type: ignore[misc]
    """The calibration images, one after the other."""

    def __init__(self, images: Iterable[Image]) -> None:
        self.images = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image, **SETTINGS}


def main() -> None:
    parser = harness.parser(__doc__, "detector_int8")
    parser.add_argument("--calibration", type=Path, required=True, help="zip of photographs to calibrate with")
    parser.add_argument("--photographs", type=Path, required=True, help="zip of photographs to measure with")
    parser.add_argument("--images", type=int, default=200, help="of each kind that is made")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    known, measured = read(options.calibration, 400), read(options.photographs)
    calibration = known[:32] + [crowd(known, random) for _ in range(16)]
    kinds = {
        "photographs": measured,
        "crowds": [crowd(measured, random) for _ in range(options.images)],
        "bystanders": [bystanders(measured, random) for _ in range(options.images)],
    }
    fp32 = onnx.load(recipe.SHIPPED)
    models = {"fp32": session(fp32)}
    for name, excluded in VARIANTS.items():
        models[name] = session(quantized(fp32, calibration, excluded))
    found = {name: {kind: [faces(net, image) for image in images] for kind, images in kinds.items()}
             for name, net in models.items()}  # fmt: skip
    milliseconds = times(list(models.values()), kinds["crowds"][0], options.rounds)
    values = {
        name: {
            "milliseconds": {f"{w}x{h}": row[k] for (w, h), row in zip(SIZES, milliseconds, strict=True)},
            "recall": {kind: recall(found["fp32"][kind], found[name][kind]) for kind in kinds},
            "faces": {kind: sum(map(len, found[name][kind])) for kind in kinds},
        }
        for k, name in enumerate(models)
    }
    harness.save(options.out, {"networks": values, "environment": harness.environment()})
    for name, each in values.items():
        print(name, each)


def read(path: Path, most: int | None = None) -> list[Image]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".jpg")]
        return [decode(archive.read(name), name) for name in names[:: max(len(names) // most, 1) if most else 1]]


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def quantized(model: onnx.ModelProto, calibration: Sequence[Image], excluded: Sequence[str]) -> onnx.ModelProto:
    """Return the model with int8 convolutions, except for the kinds in `excluded`."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for number, node in enumerate(convolutions):
        depthwise = weights[node.input[1]][1] == 1 and number > 0
        kinds = ["head_"] * node.input[1].startswith("head_") + ["first"] * (number == 0) + ["depthwise"] * depthwise
        node.name = f"{'-'.join(kinds) or 'plain'} {number}"
    left = [node.name for node in convolutions if any(kind in node.name for kind in excluded)]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source, target, Images(calibration), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["Conv"],
            nodes_to_exclude=left,
        )  # fmt: skip
        return onnx.load(target)


def faces(network: onnxruntime.InferenceSession, image: Image) -> list[Face]:
    rows: Floats = network.run(None, {"image": image, **SETTINGS})[0]
    return [Face((float(a), float(b), float(c), float(d))) for a, b, c, d in rows[:, :4]]


def recall(expected: list[list[Face]], found: list[list[Face]]) -> float:
    same = [any(overlap(face, other) > FOUND for other in own) for faces, own in zip(expected, found, strict=True)
            for face in faces]  # fmt: skip
    return float(np.mean(same))


def times(networks: list[onnxruntime.InferenceSession], image: Image, rounds: int) -> list[list[float]]:
    """Return the least milliseconds of each network at each size."""
    rows = []
    for size in SIZES:
        small, best = cv2.resize(image, size, interpolation=cv2.INTER_AREA), [np.inf] * len(networks)
        for _ in range(rounds):
            for k, network in enumerate(networks):
                start = time.perf_counter()
                network.run(None, {"image": small, **SETTINGS})
                best[k] = min(best[k], time.perf_counter() - start)
        rows.append([1000 * each for each in best])
    return rows


if __name__ == "__main__":
    main()
