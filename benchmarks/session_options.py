"""ONNX Runtime's session options for the classifier: which of them beats the defaults, and by how much.

Every combination of the graph's optimisation level, the order of execution, the memory arena, the memory pattern and
the number of threads is timed on one face and on 64. They take turns, so that a busy machine hits all; what counts is
the ratio to ONNX Runtime's defaults with the same threads in the same turn. `mien.runtime` sets what is clearly better
than the defaults, and leaves the others as they are.

Usage: python benchmarks/session_options.py [--model rep] [--threads 1 2] [--rounds 15] [--seconds 0.05] [--out FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from mien import files
from mien.classify import ASSETS, DEFAULT
from mien.report_page import environment
from mien.types import Floats
from peer_fer import timed

LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
MODES = {"sequential": ort.ExecutionMode.ORT_SEQUENTIAL, "parallel": ort.ExecutionMode.ORT_PARALLEL}
DEFAULTS = {"level": "all", "mode": "sequential", "arena": True, "pattern": True}
"""What ONNX Runtime does when nothing is set."""

BATCHES = (1, 64)
MATTERS = 0.02
"""A gain below this share, in the lower quartile of the turns, is taken for noise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT, help="a shipped one")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each; the median is kept")
    parser.add_argument("--seconds", type=float, default=0.05, help="of calls in a turn")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "session_options.json")
    options = parser.parse_args()
    rows = [row for threads in options.threads for batch in BATCHES for row in sweep(options, threads, batch)]
    values = {"model": options.model, "rounds": options.rounds, "seconds": options.seconds, "rows": rows,
              "best": best(rows), "environment": environment()}  # fmt: skip
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(markdown(values))


def choices() -> list[dict[str, Any]]:
    """All combinations, the defaults first."""
    found = [
        dict(zip(DEFAULTS, each, strict=True))
        for each in itertools.product(LEVELS, MODES, (True, False), (True, False))
    ]
    return sorted(found, key=lambda each: each != DEFAULTS)


def sweep(options: argparse.Namespace, threads: int, batch: int) -> list[dict[str, Any]]:
    """One row a combination."""
    crops = np.random.default_rng(0).integers(0, 256, (batch, 48, 48), np.uint8)
    calls = [opened(ASSETS / f"{options.model}.onnx", threads, each) for each in choices()]
    seconds = np.zeros((options.rounds, len(calls)))
    for turn in range(options.rounds):
        for k, call in enumerate(calls):
            seconds[turn, k] = timed(call, crops, options.seconds) / batch
        print(f"{threads} threads, batch {batch}, turn {turn + 1} of {options.rounds}", end="\r", file=sys.stderr)
    ratios = seconds[:, :1] / seconds
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75], axis=0).tolist()
    medians = np.median(seconds, axis=0).tolist()
    return [
        {"threads": threads, "batch": batch, **each, "milliseconds_a_face": 1000 * medians[k],
         "times_default": {"low": low[k], "median": middle[k], "high": high[k]}}
        for k, each in enumerate(choices())
    ]  # fmt: skip


def opened(path: Path, threads: int, choice: dict[str, Any]) -> Callable[[np.ndarray], Floats]:
    """A session with these options; all else is as `mien.runtime` has it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.graph_optimization_level = LEVELS[choice["level"]]
    options.execution_mode = MODES[choice["mode"]]
    options.inter_op_num_threads = threads
    options.enable_cpu_mem_arena = choice["arena"]
    options.enable_mem_pattern = choice["pattern"]
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda crops: session.run(None, {"crops": crops})[0]


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each number of threads and faces the fastest combination; the defaults where none is clearly faster."""
    found = []
    for _, each in itertools.groupby(rows, key=lambda row: (row["threads"], row["batch"])):
        given, *others = each
        clear = [row for row in others if row["times_default"]["low"] > 1 + MATTERS]
        found.append(max(clear, key=lambda row: row["times_default"]["median"], default=given))
    return found


def alone(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The defaults, and what differs from them in one option."""
    return [row for row in rows if sum(row[key] != DEFAULTS[key] for key in DEFAULTS) <= 1]


def said(row: dict[str, Any]) -> str:
    """What differs from the defaults, in words."""
    words = {"level": f"level {row['level']}", "mode": f"execution {row['mode']}"}
    words |= {
        key: f"{name} {'on' if row[key] else 'off'}"
        for key, name in (("arena", "arena"), ("pattern", "memory pattern"))
    }
    return ", ".join(words[key] for key in DEFAULTS if row[key] != DEFAULTS[key]) or "ONNX Runtime's defaults"


def is_default(row: dict[str, Any]) -> bool:
    return all(row[key] == value for key, value in DEFAULTS.items())


def markdown(values: dict[str, Any]) -> str:
    """A table for a document."""
    columns = list(dict.fromkeys((row["threads"], row["batch"]) for row in values["rows"]))
    heads = [f"{batch} face{'s' * (batch > 1)}, {threads} thread{'s' * (threads > 1)}" for threads, batch in columns]
    lines = [f"| `{values['model']}`, ms a face (times as fast as the defaults) | {' | '.join(heads)} |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    cells: dict[str, list[str]] = {}
    for row in alone(values["rows"]):
        cells.setdefault(said(row), []).append(
            f"{row['milliseconds_a_face']:.3f} ({row['times_default']['median']:.2f})"
        )
    lines += [f"| {name} | {' | '.join(each)} |" for name, each in cells.items()]
    bests = [f"{said(row)} ({row['times_default']['median']:.2f})" for row in values["best"]]
    return "\n".join([*lines, f"| clearly best of all {len(choices())} combinations | {' | '.join(bests)} |"])


if __name__ == "__main__":
    main()
