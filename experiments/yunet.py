"""Make the detector's file: YuNet as published, with preprocessing, decoding and suppression inside.

Layers and weights are the published ones, arranged for speed:

- The first convolution reads the image as it lies in memory, (H, 3 W): columns and colours are one axis, its kernel is
  3 x 9 and its stride 2 x 6. Nothing is transposed.
- The four branches of a head (class, object, box, landmarks) read the same features; they become one of 16 channels.
  The strides are in its weights, so that it answers in pixels.
- Boxes and landmarks are computed for cells above the lowest score only.

Only operators of ONNX are used; Python and the page run the same file.

Usage: python -m experiments.yunet [--published FILE] [--out FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser

PUBLISHED = Path(__file__).parent / "face_detection_yunet_2023mar.onnx"
SHIPPED = Path(__file__).parents[1] / "src/mien/assets/yunet.onnx"
OPSET = 17  # of ONNX Runtime 1.13
STRIDES = (8, 16, 32)
BRANCHES = ("cls", "obj", "bbox", "kps")
LICENSE = "MIT. Copyright (C) 2021, Shenzhen Institute of Artificial Intelligence and Robotics for Society"

# Black is added below and to the right, up to multiples of 32 pixels.
PREPARE = """
prepare (uint8[height, width, 3] image) => (float[1, 1, rows, values] pixels)
  <int64[2] as_lines = {0, -1}, int64[2] step = {32, 96}, int64[2] in_front = {0, 0}, uint8 black = {0},
   int64[2] outer = {0, 1}>
{
  lines = Reshape (image, as_lines)
  size = Shape (lines)
  negative_size = Neg (size)
  lacking = Mod (negative_size, step)
  lacking_any = ReduceSum <keepdims = 0> (lacking)
  uneven = Cast <to = 9> (lacking_any)
  plane = If (uneven) <
    then_branch = pad () => (float[even_rows, even_values] framed) {
      pads = Concat <axis = 0> (in_front, lacking)
      padded = Pad (lines, pads, black)
      framed = Cast <to = 1> (padded)
    },
    else_branch = keep () => (float[even_rows, even_values] plain) { plain = Cast <to = 1> (lines) }
  >
  pixels = Unsqueeze (plane, outer)
}
"""

# A head's rows: class and object as logits, logarithms of half the box's sides, its centre and five landmarks as
# offsets from the cell's corner. The rows of a face: x1, y1, x2, y2, score, landmarks; the best face comes first.
# YuNet's "right eye" is the person's: on the left of the image.
DECODE = """
decode (float[1, 16, rows_8, columns_8] head_8, float[1, 16, rows_16, columns_16] head_16,
        float[1, 16, rows_32, columns_32] head_32, float score, float nms) => (float[found, 15] found)
  <int64[2] as_rows = {16, -1}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64 axis = {0},
   int64[3] quarters = {1, 4, 16}, int64[3] halvings = {1, 2, 4}, int64[3] strides = {8, 16, 32},
   int64[3] head_parts = {2, 2, 12}, int64[2] point_parts = {2, 10}, int64 most = {2000}, int64 box_column = {2}>
{
  flat_8 = Reshape (head_8, as_rows)
  flat_16 = Reshape (head_16, as_rows)
  flat_32 = Reshape (head_32, as_rows)
  heads = Concat <axis = 1> (flat_8, flat_16, flat_32)
  logits = Slice (heads, zero, two, zero)
  class_and_object = Sigmoid (logits)
  squared_scores = ReduceProd <axes = [0], keepdims = 0> (class_and_object)
  squared_score = Mul (score, score)
  is_face = GreaterOrEqual (squared_scores, squared_score)
  index = NonZero (is_face)

  cells_8 = Shape <start = 1, end = 2> (flat_8)
  cells = Div (cells_8, quarters)
  first = CumSum <exclusive = 1> (cells, axis)
  first_of_levels = Unsqueeze (first, one)
  reached = GreaterOrEqual (index, first_of_levels)
  reached_int = Cast <to = 7> (reached)
  levels_reached = ReduceSum <keepdims = 1> (reached_int, zero)
  level = Sub (levels_reached, one)
  width_8 = Shape <start = 3, end = 4> (head_8)
  widths = Div (width_8, halvings)
  first_of_level = Gather (first, level)
  width = Gather (widths, level)
  place = Sub (index, first_of_level)
  row = Div (place, width)
  column = Mod (place, width)
  cell = Concat <axis = 0> (column, row)
  stride = Gather (strides, level)
  corner_int = Mul (cell, stride)
  corner = Cast <to = 1> (corner_int)

  indices = Squeeze (index, zero)
  chosen = Gather <axis = 1> (heads, indices)
  chosen_logits, half_logarithms, offsets = Split (chosen, head_parts)
  corners = Concat <axis = 0> (corner, corner, corner, corner, corner, corner)
  points = Add (offsets, corners)
  centre, landmarks = Split (points, point_parts)
  half = Exp (half_logarithms)
  lower = Sub (centre, half)
  upper = Add (centre, half)
  squared = Gather (squared_scores, index)
  confidence = Sqrt (squared)

  box_columns = Concat <axis = 0> (lower, upper)
  box_rows = Transpose (box_columns)
  boxes = Unsqueeze (box_rows, zero)
  scores = Unsqueeze (confidence, zero)
  selected = NonMaxSuppression (boxes, scores, most, nms)
  best_first = Gather <axis = 1> (selected, box_column)
  face_columns = Concat <axis = 0> (box_columns, confidence, landmarks)
  face_rows = Transpose (face_columns)
  found = Gather (face_rows, best_first)
}
"""

# A box below the score `sure` is dropped if more than a share of it lies in a better one that is kept, or the reverse:
# hair, a shoulder, a hand. Two people who are close together have high scores both. `keep` begins with all boxes and is
# recomputed until it stays: a row is right once those above it are.
DROP = """
drop (float[found, 15] found) => (float[faces, 15] faces)
  <float sure = {0.8}, float share = {0.25}, float nothing = {0}, int64 minus_one = {-1}, bool begin = {1},
   int64[1] at_0 = {0}, int64[1] at_1 = {1}, int64[1] at_2 = {2}, int64[1] at_4 = {4}, int64[1] at_5 = {5}>
{
  found_scores = Slice (found, at_4, at_5, at_1)
  is_doubtful = Less (found_scores, sure)
  doubtful = Cast <to = 1> (is_doubtful)
  doubts = ReduceSum <keepdims = 0> (doubtful)
  any_doubt = Cast <to = 9> (doubts)
  faces = If (any_doubt) <
    then_branch = compare () => (float[kept, 15] kept) {
      low = Slice (found, at_0, at_2, at_1)
      high = Slice (found, at_2, at_4, at_1)
      low_of_other = Unsqueeze (low, at_1)
      high_of_other = Unsqueeze (high, at_1)
      common_low = Max (low, low_of_other)
      common_high = Min (high, high_of_other)
      difference = Sub (common_high, common_low)
      common_sides = Relu (difference)
      common = ReduceProd <axes = [2], keepdims = 0> (common_sides)
      sides = Sub (high, low)
      area = ReduceProd <axes = [1], keepdims = 1> (sides)
      area_of_other = Transpose (area)
      smaller = Min (area, area_of_other)
      limit = Mul (smaller, share)
      is_over = Greater (common, limit)
      over = Cast <to = 1> (is_over)
      over_better = Trilu <upper = 0> (over, minus_one)
      covers = Mul (over_better, doubtful)
      rounds = Cast <to = 7> (doubts)
      every = Equal (doubtful, doubtful)
      keep_all = Cast <to = 1> (every)
      keep = Loop (rounds, begin, keep_all) <
        body = again (int64 round, bool going, float[boxes, 1] before) => (bool changed, float[boxes, 1] after) {
          covered = MatMul (covers, before)
          is_free = Equal (covered, nothing)
          after = Cast <to = 1> (is_free)
          change = Sub (after, before)
          distance = Abs (change)
          distances = ReduceSum <keepdims = 0> (distance)
          changed = Cast <to = 9> (distances)
        }
      >
      is_kept = Cast <to = 9> (keep)
      is_kept_row = Squeeze (is_kept, at_1)
      kept = Compress <axis = 0> (found, is_kept_row)
    },
    else_branch = keep_found () => (float[kept, 15] same) { same = Identity (found) }
  >
}
"""


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--published", type=Path, default=PUBLISHED)
    command.add_argument("--out", type=Path, default=SHIPPED)
    options = command.parse_args()
    onnx.save(build(onnx.load(options.published)), options.out)


def build(published: onnx.ModelProto) -> onnx.ModelProto:
    """Return the detector made of the published network.

    Inputs: `image`, uint8 BGR (H, W, 3) of any size; `score` and `nms`, float32. Output: `faces`, float32 (N, 15), in
    pixels of the image.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in published.graph.initializer}
    heads = next(k for k, node in enumerate(published.graph.node) if any("bbox_head" in name for name in node.input))
    first, *body = published.graph.node[:heads]
    prepare, decode, drop = (parser.parse_graph(text) for text in (PREPARE, DECODE, DROP))
    nodes = [*prepare.node, _first_convolution(first, weights), *body]
    for level, stride in enumerate(STRIDES):
        nodes += _head(published, weights, level, f"head_{stride}")
    nodes += [*decode.node, *drop.node]
    inputs = [*prepare.input, *(value for value in decode.input if value.name in ("score", "nms"))]
    used = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items() if name in used]
    return make_model("yunet", nodes, inputs, drop.output, [prepare, decode, drop], constants)


def make_model(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    parts: Sequence[onnx.GraphProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """Return a checked model of nodes with the constants of the graphs that they are from."""
    constants = [*constants, *(tensor for part in parts for tensor in part.initializer)]
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="mien")
    helper.set_model_props(model, {"name": name, "license": LICENSE})
    onnx.checker.check_model(model, full_check=True)
    return model


def _first_convolution(node: onnx.NodeProto, weights: dict[str, NDArray[np.float32]]) -> onnx.NodeProto:
    """Return the published first convolution for lines of pixels."""
    kernel = weights[node.input[1]]  # (filters, colours, 3, 3)
    weights[node.input[1]] = np.ascontiguousarray(kernel.transpose(0, 2, 3, 1)).reshape(len(kernel), 1, 3, 9)
    return helper.make_node(
        "Conv", ["pixels", *node.input[1:]], node.output, kernel_shape=[3, 9], strides=[2, 6], pads=[1, 3, 1, 3]
    )


def _head(
    published: onnx.ModelProto, weights: dict[str, NDArray[np.float32]], level: int, output: str
) -> list[onnx.NodeProto]:
    """Return the convolutions of a head, all branches in one; add their weights."""
    branches = [f"bbox_head.multi_level_{branch}.{level}" for branch in BRANCHES]
    (features,) = (node.input[0] for node in published.graph.node if f"{branches[0]}.conv1.weight" in node.input)
    names = [f"head_{level}.{part}" for part in ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")]
    for name in names:
        part = name.split(".", 1)[1]
        cls, obj, bbox, kps = (weights[f"{branch}.{part}"] for branch in branches)
        sides, points = bbox[2:], np.concatenate([bbox[:2], kps])
        if part.startswith("conv2"):
            points = points * np.float32(STRIDES[level])
        if part == "conv2.bias":
            sides = sides + np.log(np.float32(STRIDES[level] / 2))
        weights[name] = np.concatenate([cls, obj, sides, points])
    middle = f"head_{level}.conv1"
    return [
        helper.make_node("Conv", [features, *names[:2]], [middle], kernel_shape=[1, 1]),
        helper.make_node("Conv", [middle, *names[2:]], [output], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=16),
    ]


if __name__ == "__main__":
    main()
