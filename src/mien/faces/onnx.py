"""ONNX Runtime sessions and the folder of the weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from mien.errors import ConfigError, ModelError
from mien.faces.cores import cores as cores
from mien.media.paths import display
from mien.types import Floats

ASSETS = Path(__file__).parents[1] / "assets"


SUMS = "SHA256SUMS"


def check_shipped(path: Path, sha256: str | None = None) -> bool:
    """Raise a ModelError if a file of the assets differs from its checksum; return whether it has one.

    `sha256` is the file's hash, in hexadecimal, where it is known.
    """
    sums = ASSETS / SUMS
    if path.parent != ASSETS or not sums.is_file() or not path.is_file():
        return False
    digests = {
        name: digest for digest, name in (line.split(maxsplit=1) for line in sums.read_text("utf-8").splitlines())
    }
    found = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    if digests.get(path.name, found) != found:
        raise ModelError(f"{display(path)}: damaged, or another file than the one shipped; install mien again")
    return path.name in digests


def open_session(
    path: Path, advice: str, threads: int | None = None, spin: bool = True, content: bytes | None = None
) -> onnxruntime.InferenceSession:
    """Open a model file on the CPU.

    Args:
        path: the ONNX file.
        advice: what to do when it cannot be opened; ends the error message.
        threads: threads of one call; None for `cores()`. ONNX Runtime's own default counts the cores of the machine
            and binds a thread to each: every call waits where the process may not use a core or shares it.
        spin: let threads wait actively after each call. A lone caller gets the next answer sooner; other programs get
            less of the processors.
        content: of the file, changed; None to read the file.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; give 1 or more, or None for all cores")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, not printed
    options.intra_op_num_threads = cores() if threads is None else threads
    # Arena, memory pattern, all optimisations and sequential execution are ONNX Runtime's defaults: nothing was clearly
    # faster (benchmarks/speed/session_options.py). Without all optimisations int8 convolutions run in fp32.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    # A second attempt on the same provider would only print to stdout.
    source = _source(path) if content is None else content
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise ModelError(f"{display(path)}: not an ONNX model or damaged; {advice}") from error


def _source(path: Path) -> str | bytes:
    """The path, or the content of a file whose name is not UTF-8, which ONNX Runtime cannot open."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.read_bytes()
    return str(path)


class Network:
    """The weights of a detector: a function from the inputs to the outputs. Pickled by name."""

    def __init__(self, name: str, threads: int | None) -> None:
        """Load a file of the assets."""
        self._name, self._threads = name, threads
        path = ASSETS / name
        if not path.is_file():
            raise ModelError(f"{path}: the detector's weights are missing; install mien again")
        check_shipped(path)
        self._session = open_session(path, "install mien again", threads)
        self._inputs = [each.name for each in self._session.get_inputs()]

    def __call__(self, *inputs: NDArray[Any]) -> list[Floats]:
        return list(self._session.run(None, dict(zip(self._inputs, inputs, strict=True))))

    def __reduce__(self) -> tuple[type[Network], tuple[str, int | None]]:
        return Network, (self._name, self._threads)
