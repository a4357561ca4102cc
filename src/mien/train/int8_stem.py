"""The first convolution of an int8 file, for pixels as they are stored."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_BLOCK = 4  # int8 convolutions read channels by fours
_LARGEST = 64  # of a weight: without VNNI, larger products saturate in 16-bit sums
_LARGEST_BIAS = 2**30  # as a 32-bit number
_CHANNELS_LAST, _CHANNELS_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]

Constants = dict[str, NDArray[Any]]


class _Stem(NamedTuple):
    """The nodes from the pixels to the first int8 features: normalised = scale * pixel + offset, convolution, ReLU."""

    pixels: str  # `crops`, or their float pixels in another size
    side: int
    scale: float
    offset: float
    weights: NDArray[np.float32]  # (filters, 1, 3, 3)
    bias: NDArray[np.float32]
    quantize: onnx.NodeProto


def quantize_stem(model: onnx.ModelProto) -> None:
    """Compute the first convolution of an int8 model in int8, from pixels that were not normalised before.

    A single channel of 32 bits takes long to normalise, to convolve and to bring into the order of the next
    convolution. Here four neighbouring pixels of a line are four channels, and each filter exists four times, once for
    each pixel: the result lies in memory like the features of single pixels. Normalisation is the scale and the zero
    point of the input, rounded to a gray level; the bias makes up for the rounding, except along the border.

    A model that begins with other layers stays as it is.
    """
    graph = model.graph
    constants: Constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    stem = _find(graph, constants)
    if stem is None:
        return
    nodes, added = _build(stem)
    place = list(graph.node).index(stem.quantize)
    nodes = _without_unused([*graph.node[:place], *nodes, *graph.node[place + 1 :]], graph.output[0].name)
    used = {name for node in nodes for name in (*node.input, *node.output)}
    initializers = [numpy_helper.from_array(value, name) for name, value in (constants | added).items() if name in used]
    values = [value for value in graph.value_info if value.name in used]
    for field, content in ((graph.node, nodes), (graph.initializer, initializers), (graph.value_info, values)):
        del field[:]
        field.extend(content)


def _find(graph: onnx.GraphProto, constants: Constants) -> _Stem | None:
    """Return the stem, or None where the first layers are others."""
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def before(node: onnx.NodeProto | None, kind: str) -> tuple[onnx.NodeProto | None, NDArray[Any] | None]:
        """Return the maker of a node's only variable input, if it is of a kind and read once, and its constant."""
        names = [name for name in node.input if name not in constants] if node else []
        maker = makers.get(names[0]) if len(names) == 1 and len(readers[names[0]]) == 1 else None
        if maker is None or maker.op_type != kind:
            return None, None
        return maker, next((constants[name] for name in maker.input if name in constants), None)

    convolution = next((node for node in graph.node if node.op_type == "Conv"), None)
    add, offset = before(convolution, "Add")
    multiply, scale = before(add, "Mul")
    relu = _only(readers, convolution, "Relu")
    quantize = _only(readers, relu, "QuantizeLinear")
    if convolution is None or multiply is None or quantize is None or offset is None or scale is None:
        return None
    attributes = {item.name: helper.get_attribute_value(item) for item in convolution.attribute}
    weights, bias = (constants.get(name) for name in convolution.input[1:3])
    ones = [1, 1]
    is_plain = attributes.get("pads") == 2 * ones and all(
        attributes.get(name, ones) == ones for name in ("strides", "dilations")
    )
    if weights is None or bias is None or weights.shape[1:] != (1, 3, 3) or not is_plain:
        return None
    (pixels,) = (name for name in multiply.input if name not in constants)
    resize, area = before(multiply, "MatMul")
    unsqueeze, _ = before(multiply, "Unsqueeze")
    cast, _ = before(unsqueeze, "Cast")
    if resize is None and cast is not None:
        pixels, side = cast.input[0], 48
    elif area is not None:
        side = area.shape[1]
    else:
        return None
    if side % _BLOCK:
        return None
    return _Stem(pixels, side, float(scale), float(offset), weights, bias, quantize)


def _only(readers: dict[str, list[onnx.NodeProto]], node: onnx.NodeProto | None, kind: str) -> onnx.NodeProto | None:
    """Return the node that reads another's output, if it is the only one and of a kind."""
    found = readers.get(node.output[0], []) if node else []
    return found[0] if len(found) == 1 and found[0].op_type == kind else None


def _build(stem: _Stem) -> tuple[list[onnx.NodeProto], Constants]:
    """Return the nodes and constants that take the stem's place."""
    zero_point = round(-stem.offset / stem.scale)
    lost = -stem.scale * zero_point - stem.offset  # of each normalised pixel
    bias = stem.bias - lost * stem.weights.sum((1, 2, 3))
    filters = len(bias)
    scales = np.abs(stem.weights).max((1, 2, 3)) / _LARGEST
    scales = np.maximum(scales, np.maximum(np.abs(bias), 1) / (stem.scale * _LARGEST_BIAS))
    integers = np.round(stem.weights[:, 0] / scales[:, None, None]).astype(np.int8)
    weights = np.zeros((_BLOCK, filters, _BLOCK, 3, 3), np.int8)  # pixel, filter, channel, line, block
    for pixel in range(_BLOCK):
        for column in range(3):
            block, channel = divmod(pixel + column - 1, _BLOCK)
            weights[pixel, :, channel, :, block + 1] = integers[:, :, column]
    scales, bias = np.tile(scales, _BLOCK).astype(np.float32), np.tile(bias, _BLOCK)
    constants: Constants = {
        "stem_blocks": np.array([-1, stem.side, stem.side // _BLOCK, _BLOCK]),
        "stem_pixels": np.array([-1, stem.side, stem.side, filters]),
        "stem_one": np.array(1, np.float32),
        "stem_black": np.array(0, np.uint8),
        "stem_scale": np.array(stem.scale, np.float32),
        "stem_zero_point": np.array(zero_point, np.uint8),
        "stem_weights_int8": weights.reshape(_BLOCK * filters, _BLOCK, 3, 3),
        "stem_weights_scale": scales,
        "stem_weights_zero_point": np.zeros(len(scales), np.int8),
        "stem_bias_int32": np.round(bias / (scales * stem.scale)).astype(np.int32),
        "stem_bias_scale": scales * np.float32(stem.scale),
        "stem_bias_zero_point": np.zeros(len(scales), np.int32),
    }
    features = stem.quantize.output[0]
    bytes_, nodes = stem.pixels, []
    if stem.pixels != "crops":
        bytes_ = "stem_bytes"
        nodes = [helper.make_node("QuantizeLinear", [stem.pixels, "stem_one", "stem_black"], [bytes_])]
    nodes += [
        helper.make_node("Reshape", [bytes_, "stem_blocks"], ["stem_last"]),
        helper.make_node("Transpose", ["stem_last"], ["stem_first"], perm=_CHANNELS_FIRST),
        helper.make_node("DequantizeLinear", ["stem_first", "stem_scale", "stem_zero_point"], ["stem_normalized"]),
        *(
            helper.make_node(
                "DequantizeLinear", [f"stem_{part}_{kind}", f"stem_{part}_scale", f"stem_{part}_zero_point"],
                [f"stem_{part}"], axis=0,
            )
            for part, kind in (("weights", "int8"), ("bias", "int32"))
        ),
        helper.make_node(
            "Conv", ["stem_normalized", "stem_weights", "stem_bias"], ["stem_sums"], kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
        ),
        helper.make_node("Relu", ["stem_sums"], ["stem_positive"]),
        helper.make_node("QuantizeLinear", ["stem_positive", *stem.quantize.input[1:]], ["stem_features_first"]),
        helper.make_node("Transpose", ["stem_features_first"], ["stem_features_last"], perm=_CHANNELS_LAST),
        helper.make_node("Reshape", ["stem_features_last", "stem_pixels"], ["stem_features"]),
        helper.make_node("Transpose", ["stem_features"], [features], perm=_CHANNELS_FIRST),
    ]  # fmt: skip
    return nodes, constants


def _without_unused(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """Return the nodes, in their order, on which the output depends."""
    used, kept = {output}, []
    for node in reversed(nodes):
        if used & set(node.output):
            used |= set(node.input)
            kept.append(node)
    return kept[::-1]
