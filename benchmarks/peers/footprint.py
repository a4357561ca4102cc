"""Measure the size of an installation and the peak memory of a process, for mien and for `fer`.

Each gets a clean virtual environment and a plain `pip install`: mien from this checkout without extras, `fer` with all
its dependencies. The size is that of all files that pip added. A third environment, that of peers/fer.py, has only the
weights of `fer`, with LiteRT in the place of TensorFlow. In each a new process classifies the face of the portrait;
fer_worker.py measures its memory. Where pip cannot install, its message stands in the place of figures.

peers/fer.py does this too. Alone, the script renews the part "footprint" of results/peers.json.

Usage: python -m benchmarks.peers.footprint [--installs FOLDER] [--env FOLDER] [--out FILE]
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.peers import environment
from benchmarks.peers.environment import FER, WORKER, create, isolated
from mien.faces.onnx import ASSETS
from mien.media import atomic

PORTRAIT = ASSETS / "portrait.jpg"
PLAIN = {"mien": ("mien", str(harness.ROOT)), f"fer {FER}": ("fer", f"fer=={FER}")}
"""Heading -> package, and what pip is asked for."""

ALONE = f"fer {FER}, weights alone"


def main() -> None:
    parser = harness.parser(__doc__, "peers")
    parser.add_argument("--installs", type=Path, help="folder for the two environments; default: a temporary one")
    parser.add_argument("--env", type=Path, help="folder of the environment of peers.py; default: a temporary one")
    options = parser.parse_args()
    values = json.loads(options.out.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        python = environment.install(options.env or Path(scratch) / "env")
        values["footprint"] = footprint(options.installs or Path(scratch), python)
    atomic.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(markdown(values["footprint"]))


def footprint(folder: Path, alone: Path) -> dict[str, dict[str, Any]]:
    """Return the figures of each contestant by its heading.

    Environments below `folder` are reused. `alone` is the Python of the environment with only the weights of `fer`.
    """
    empty = create(folder / "empty")
    found = {}
    for heading, (package, wanted) in PLAIN.items():
        python = create(folder / package)
        if reason := install(python, wanted):
            found[heading] = {"reason": reason}
        else:
            mb = (size(python.parents[1]) - size(empty.parents[1])) / 1e6
            found[heading] = {"installed_mb": mb, "packages": len(packages(python) - packages(empty)),
                              **used(python, package)}  # fmt: skip
    return found | {ALONE: {"installed_mb": None, "packages": None, **used(alone, "fer")}}


def install(python: Path, wanted: str) -> str:
    """Install a package; return pip's error message, or "" on success."""
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted],
        capture_output=True, text=True, check=False, env=isolated(),
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
    return "; ".join(said) if done.returncode else ""


def packages(python: Path) -> set[str]:
    """Return the names of the installed packages."""
    asked = [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=isolated())
    return {each["name"] for each in json.loads(done.stdout)}


def size(folder: Path) -> int:
    """Return the bytes of all files below a folder; a file with two names counts once."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            facts = Path(root, name).lstat()
            found[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(found.values())


def used(python: Path, package: str) -> dict[str, Any]:
    """Return peak memory and number of faces in this environment, or the "reason" why it does not run there."""
    command = [python, "-P", WORKER, "memory", package, PORTRAIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=isolated())
    if done.returncode:
        return {"reason": done.stderr.strip().splitlines()[-1]}
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def markdown(values: dict[str, dict[str, Any]]) -> str:
    """Return the table; a reason for missing figures stands below it."""
    cells = ("installed_mb", "packages", "peak_mb")
    rows = [[heading, *(shown(row.get(cell)) for cell in cells)] for heading, row in values.items()]
    head = ["plain `pip install`", "installed, MB", "packages", "peak memory, one image, MB"]
    reasons = [f"\n{heading}: {row['reason']}" for heading, row in values.items() if "reason" in row]
    return "\n".join([harness.table(head, rows), *reasons])


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


if __name__ == "__main__":
    main()
