"""Write an ONNX graph with its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from mien.media import atomic


def write_model(graph: onnx.ModelProto, path: Path, facts: Mapping[str, Any]) -> None:
    del graph.metadata_props[:]
    for node in graph.graph.node:  # the exporter notes stack traces with machine paths in each node
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer]:
        del value.metadata_props[:]
    del graph.graph.metadata_props[:]
    graph.producer_name, graph.doc_string = "mien", ""
    for key, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        graph.metadata_props.add(key=key, value=text)
    onnx.checker.check_model(graph)
    with atomic.draft(path) as place:
        onnx.save(graph, str(place))
