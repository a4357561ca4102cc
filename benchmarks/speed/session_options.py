"""Measure ONNX Runtime's session options for the classifier: does any beat the defaults, and by how much?

Every combination of optimization level, execution mode, memory arena, memory pattern and number of threads is timed on
one face and on 64. They take turns, so that a busy machine slows all of them. What counts is the ratio to the defaults
with as many threads in the same turn. `mien.faces.onnx` sets only what is clearly better than the defaults.

Usage: python -m benchmarks.speed.session_options [--model mien-s] [--threads 1 2] [--rounds 15] [--seconds 0.05]
       [--out FILE]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks import harness
from benchmarks.pages.speed import DEFAULTS, LEVELS, MODES, session_tables
from mien.faces.models import DEFAULT
from mien.faces.onnx import ASSETS

BATCHES = (1, 64)
CLEAR = 0.02
"""A gain below this share, in the lower quartile of the turns, counts as noise."""


def main() -> None:
    parser = harness.parser(__doc__, "session_options")
    parser.add_argument("--model", default=DEFAULT, help="a shipped model")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each; the median is kept")
    parser.add_argument("--seconds", type=float, default=0.05, help="time of the calls in a turn")
    options = parser.parse_args()
    rows = [row for threads in options.threads for batch in BATCHES for row in sweep(options, threads, batch)]
    values = {"model": options.model, "rounds": options.rounds, "seconds": options.seconds, "rows": rows}
    values["best"] = best(rows)
    harness.save(options.out, values)
    print(session_tables(values))


def choices() -> list[dict[str, Any]]:
    """Return all combinations, the defaults first."""
    rows = itertools.product(LEVELS, MODES, (True, False), (True, False))
    return sorted((dict(zip(DEFAULTS, row, strict=True)) for row in rows), key=lambda row: row != DEFAULTS)


def sweep(options: argparse.Namespace, threads: int, batch: int) -> list[dict[str, Any]]:
    """Return one row a combination."""
    crops = np.random.default_rng(0).integers(0, 256, (batch, 48, 48), np.uint8)
    path = ASSETS / f"{options.model}.onnx"
    calls = [open_with(path, threads, choice) for choice in choices()]
    contestants = {
        str(number): lambda call=call: harness.median_seconds(lambda: call(crops), options.seconds)
        for number, call in enumerate(calls)
    }
    turns = harness.take_turns(contestants, options.rounds, rest=0.0)
    seconds = np.array(list(turns.values())).T / batch
    ratios, medians = seconds[:, :1] / seconds, np.median(seconds, axis=0)
    return [
        {"threads": threads, "batch": batch, **choice, "milliseconds_a_face": 1000 * float(medians[k]),
         "times_default": harness.quartiles(ratios[:, k])}
        for k, choice in enumerate(choices())
    ]  # fmt: skip


def open_with(path: Path, threads: int, choice: dict[str, Any]) -> Callable[[np.ndarray], Any]:
    """Return a session with these options; all else is as in `mien.faces.onnx`."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{choice['level'].upper()}")
    options.execution_mode = getattr(ort.ExecutionMode, f"ORT_{choice['mode'].upper()}")
    options.enable_cpu_mem_arena = choice["arena"]
    options.enable_mem_pattern = choice["pattern"]
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda crops: session.run(None, {"crops": crops})[0]


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the fastest combination for each number of threads and faces; the defaults win ties."""
    found = []
    for _, group in itertools.groupby(rows, key=lambda row: (row["threads"], row["batch"])):
        default, *others = group
        clear = [row for row in others if row["times_default"]["low"] > 1 + CLEAR]
        found.append(max(clear, key=lambda row: row["times_default"]["median"], default=default))
    return found


if __name__ == "__main__":
    main()
