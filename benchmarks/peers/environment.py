"""The environment of the peer `fer`, and its worker in a process of its own.

The environment has the weights of `fer` and LiteRT in the place of TensorFlow, Keras and the rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FER = "25.10.3"
NEEDS = ("ai-edge-litert==2.3.0", "numpy==2.4.6", "opencv-python-headless==4.14.0.94")
WORKER = Path(__file__).with_name("fer_worker.py")


def install(folder: Path) -> Path:
    """Install the weights of `fer` and LiteRT into a virtual environment and return its Python."""
    python = create(folder)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *NEEDS], check=True)
    subprocess.run([*pip, "--no-deps", f"fer=={FER}"], check=True)
    return python


def create(folder: Path) -> Path:
    """Return the Python of the virtual environment in a folder, which is made where it is missing."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return python


def isolated() -> dict[str, str]:
    """Return environment variables that hide this checkout and keep TensorFlow quiet."""
    return {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


class PeerProcess:
    """fer_worker.py in a Python of its own: a line in, a line of JSON out.

    Attributes:
        hello: versions that the worker reports when it is ready.
    """

    def __init__(self, python: Path, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            [python, "-P", WORKER, *arguments],  # -P: peers/fer.py must not hide the package
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=isolated(),
        )  # fmt: skip
        self.hello = self._receive()

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._receive()

    def close(self) -> None:
        """End the worker and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{WORKER.name} ended with {self._process.wait()}; start it by hand to see why")
        found: dict[str, Any] = json.loads(line)
        return found
