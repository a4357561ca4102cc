"""Print the lowest versions that pyproject.toml allows, one requirement a line: python .ci/lowest.py [extra ...]."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_LOWER = re.compile(r"(?P<name>[\w.-]+(?:\[[^\]]*\])?)\s*>=\s*(?P<version>[^,;\s]+)[^;]*(?P<marker>;.*)?")


def lowest(requirement: str) -> str:
    """Return the requirement pinned to its lower bound."""
    match = _LOWER.fullmatch(requirement.strip())
    if not match:
        raise SystemExit(f"{requirement!r} has no lower bound: write name>=version")
    return f"{match['name']}=={match['version']}{match['marker'] or ''}"


def requirements(extras: list[str], project: Path = PROJECT) -> list[str]:
    """Return the pins of the base dependencies and of these extras; mien's own extras within an extra are left out."""
    table = tomllib.loads(project.read_text("utf-8"))["project"]
    lines = [*table["dependencies"], *(line for name in extras for line in table["optional-dependencies"][name])]
    return [lowest(line) for line in lines if not line.startswith("mien[")]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
