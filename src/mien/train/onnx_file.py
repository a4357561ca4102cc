"""Write an ONNX graph with its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from mien.media import atomic


def write_model(graph: onnx.ModelProto, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a graph with `facts` as its only metadata."""
    del graph.metadata_props[:]
    for node in graph.graph.node:  # the exporter stores stack traces with paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer]:
        del value.metadata_props[:]
    for tensor in graph.graph.initializer:  # as bytes, which `mien.faces.amx` can change when the file is loaded
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    del graph.graph.metadata_props[:]
    graph.producer_name, graph.doc_string = "mien", ""
    for key, value in facts.items():
        graph.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.checker.check_model(graph)
    with atomic.draft(path) as draft:
        onnx.save(graph, str(draft))
