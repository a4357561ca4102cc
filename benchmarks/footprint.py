"""What mien and `fer` take on a machine: size of the installation, and peak memory of a process that uses it.

Each gets a clean virtual environment and a plain `pip install`: mien from this checkout, without extras, and `fer` with
all that it asks for. The size is that of all files which pip added. A third environment, the one of peers.py, has of
`fer` the weights alone, with LiteRT in TensorFlow's place. In each a process of its own finds the face of the
portrait and its emotion, see peer_memory.py. Where pip finds no way to install, its reason stands in place of figures.

peers.py does this too; alone, the script renews the part "footprint" of results/peers.json, which must be there.

Usage: python benchmarks/footprint.py [--installs FOLDER] [--env FOLDER] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mien import files
from mien.classify import ASSETS
from peer_fer_env import FER, installed, python_of

ROOT = Path(__file__).parents[1]
PORTRAIT = ASSETS / "portrait.jpg"
PLAIN = {"mien": ("mien", str(ROOT)), f"fer {FER}": ("fer", f"fer=={FER}")}
"""Heading -> package, and what pip is asked for."""

ALONE = f"fer {FER}, weights alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--installs", type=Path, help="folder for the two environments; a temporary one")
    parser.add_argument("--env", type=Path, help="folder of the environment of peers.py; a temporary one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "peers.json")
    options = parser.parse_args()
    values = json.loads(options.out.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        python = installed(options.env or Path(scratch) / "env")
        values["footprint"] = footprint(options.installs or Path(scratch), python)
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(markdown(values["footprint"]))


def footprint(folder: Path, alone: Path) -> dict[str, dict[str, Any]]:
    """Figures of each contestant, by its heading.

    Args:
        folder: where environments are made; one that is there is taken as it is.
        alone: Python of the environment with the weights of `fer` alone.
    """
    empty = made(folder / "empty")
    found = {}
    for heading, (package, wanted) in PLAIN.items():
        python = made(folder / package)
        if reason := install(python, wanted):
            found[heading] = {"reason": reason}
        else:
            mb = (size(python.parents[1]) - size(empty.parents[1])) / 1e6
            found[heading] = {"installed_mb": mb, "packages": len(packages(python) - packages(empty)),
                              **used(python, package)}  # fmt: skip
    return found | {ALONE: {"installed_mb": None, "packages": None, **used(alone, "fer")}}


def made(folder: Path) -> Path:
    """Python of a clean environment."""
    if not python_of(folder).exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return python_of(folder)


def install(python: Path, wanted: str) -> str:
    """Why pip could not install it, or ""."""
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted],
        capture_output=True, text=True, check=False, env=bare(),
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
    return "; ".join(said) if done.returncode else ""


def packages(python: Path) -> set[str]:
    asked = [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=bare())
    return {each["name"] for each in json.loads(done.stdout)}


def size(folder: Path) -> int:
    """Bytes of all files below a folder; a file with two names counts once."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            facts = Path(root, name).lstat()
            found[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(found.values())


def used(python: Path, package: str) -> dict[str, Any]:
    """What peer_memory.py says in this environment; "reason" where it does not run there."""
    script = Path(__file__).with_name("peer_memory.py")
    done = subprocess.run([python, script, package, PORTRAIT], capture_output=True, text=True, check=False, env=bare())
    if done.returncode:
        return {"reason": done.stderr.strip().splitlines()[-1]}
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def bare() -> dict[str, str]:
    """The environment's own packages, and no checkout's."""
    return {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def markdown(values: dict[str, dict[str, Any]]) -> str:
    """A table for a document."""
    lines = ["| plain `pip install` | installed, MB | packages | peak memory, one picture, MB |", "|---|---|---|---|"]
    for heading, row in values.items():
        cells = [shown(row.get("installed_mb")), shown(row.get("packages")), shown(row.get("peak_mb"))]
        lines.append(f"| {heading} | {' | '.join(cells)} |")
    return "\n".join([*lines, *(f"\n{heading}: {row['reason']}" for heading, row in values.items() if "reason" in row)])


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


if __name__ == "__main__":
    main()
