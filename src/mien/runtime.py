"""ONNX Runtime sessions as mien opens them."""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime

from mien.types import ModelError


def cores() -> int:
    """Processors that this process may run on: fewer than the machine has under taskset or in a container's cpuset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def session(path: Path, advice: str, threads: int | None = None, spin: bool = True) -> onnxruntime.InferenceSession:
    """Open a model file on the CPU.

    ONNX Runtime's own choice of threads looks at the machine, not at what the process may use, and binds each to a
    core: where the process may not use that core, or has to share it, every call waits.

    Args:
        path: of the file.
        advice: what to do when it cannot be opened.
        threads: for one call; None for as many as `cores()`.
        spin: the threads look out for work for a while after each call. A lone caller gets the next answer sooner, and
            everyone else on the machine gets less of the processors.

    Raises:
        ModelError: no ONNX, or damaged.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong comes as an exception; nothing is printed
    options.intra_op_num_threads = cores() if threads is None else threads
    # Arena, memory pattern, all optimisations, one operator after the other: ONNX Runtime's defaults, and nothing beats
    # them clearly (benchmarks/session_options.py). Without all optimisations int8 convolutions run as fp32 ones.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no public base
        raise ModelError(f"{path}: not an ONNX model or damaged; {advice}") from error
