"""The flags of all commands, for the table in the documents and for the test that one flag has one meaning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from cyclopts import App


def commands(app: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Yield the name of each command, such as `data info`, and its app."""
    for name in app:
        if name.startswith("-"):
            continue
        if any(not below.startswith("-") for below in app[name]):
            yield from commands(app[name], (*path, name))
        else:
            yield " ".join((*path, name)), app[name]


def flags(app: App) -> dict[str, dict[str, Any]]:
    """Return flag -> command -> cyclopts' argument; positional and hidden ones are left out."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for command, part in commands(app):
        for argument in part.assemble_argument_collection(parse_docstring=True):
            if argument.show and not argument.field_info.is_positional:
                found[argument.names[0]][command] = argument
    return found


def meaning(argument: Any) -> str:
    """Return the text that --help shows for a flag."""
    return " ".join((argument.parameter.help or "").split())


def table(app: App) -> str:
    """Return a Markdown table of the flags that several commands have."""
    lines = ["| flag | meaning | commands |", "| --- | --- | --- |"]
    for flag, places in sorted(flags(app).items()):
        if len(places) > 1:
            texts = [meaning(place).rstrip(".") for place in places.values()]
            text = min(texts, key=len)
            if not all(other.startswith(text) for other in texts):
                text = text.partition(":")[0]
            names = ", ".join(f"`{name}`" for name in places)
            everywhere = len(places) == len(list(commands(app)))
            lines.append(f"| `{flag}` | {text}. | {'all' if everywhere else names} |")
    return "\n".join(lines) + "\n"
