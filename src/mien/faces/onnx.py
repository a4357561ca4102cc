"""ONNX Runtime sessions and the folder of the weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnxruntime

from mien.errors import ModelError
from mien.media.paths import display
from mien.types import Floats

ASSETS = Path(__file__).parents[1] / "assets"


def cores() -> int:
    """Return the number of processors that this process may use (taskset and cpusets count)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_session(
    path: Path, advice: str, threads: int | None = None, spin: bool = True
) -> onnxruntime.InferenceSession:
    """Open a model file on the CPU.

    Args:
        path: the ONNX file.
        advice: what to do when it cannot be opened; ends the error message.
        threads: threads of one call; None for `cores()`. ONNX Runtime's own default counts the cores of the machine
            and binds a thread to each: every call waits where the process may not use a core or shares it.
        spin: let threads wait actively after each call. A lone caller gets the next answer sooner; other programs get
            less of the processors.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, not printed
    options.intra_op_num_threads = cores() if threads is None else threads
    # Arena, memory pattern, all optimisations and sequential execution are ONNX Runtime's defaults: nothing was clearly
    # faster (benchmarks/speed/session_options.py). Without all optimisations int8 convolutions run in fp32.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    # A second attempt on the same provider would only print to stdout.
    try:
        return onnxruntime.InferenceSession(
            _source(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise ModelError(f"{display(path)}: not an ONNX model or damaged; {advice}") from error


def _source(path: Path) -> str | bytes:
    """The path, or the content of a file whose name is not UTF-8, which ONNX Runtime cannot open."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.read_bytes()
    return str(path)


def detector_network(name: str, threads: int | None) -> Callable[[Floats], list[Floats]]:
    """Load the weights of a detector by file name; return a function from a batch of images to the outputs."""
    path = ASSETS / name
    if not path.is_file():
        raise ModelError(f"{path}: the detector's weights are missing; install mien again")
    session = open_session(path, "install mien again", threads)
    input_name = session.get_inputs()[0].name
    return lambda blob: list(session.run(None, {input_name: blob}))
