"""The environment of the peer `fer`: its weights and LiteRT, without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FER = "25.10.3"
NEEDS = ("ai-edge-litert==2.3.0", "numpy==2.4.6", "opencv-python-headless==4.14.0.94")


def installed(folder: Path) -> Path:
    """The environment's Python. `fer` comes without what it asks for: its weights are all that is needed."""
    python = python_of(folder)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *NEEDS], check=True)
    subprocess.run([*pip, "--no-deps", f"fer=={FER}"], check=True)
    return python


def python_of(folder: Path) -> Path:
    """Where an environment has its Python."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
