"""Files of other people: whatever their parser raises becomes one line that names the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mien.errors import Error
from mien.media.paths import display

_LONGEST = 200


@contextmanager
def parsing(path: str | os.PathLike[str], kind: type[Error], what: str, advice: str) -> Iterator[None]:
    """Turn any exception of a parser into a `kind`: "<path>: <what> (<cause>); <advice>". An `Error` passes."""
    try:
        yield
    except Error:
        raise
    except OSError as error:
        raise kind(f"{display(path)}: cannot be read ({cause(error)}); {advice}") from error
    except Exception as error:  # RuntimeError, NotImplementedError, RecursionError, zlib.error and others
        raise kind(f"{display(path)}: {what} ({cause(error)}); {advice}") from error


def cause(error: Exception) -> str:
    """Return an exception's message in one short line."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, KeyError):
        return f"no {short(error.args[0] if error.args else '')}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def short(value: object) -> str:
    """Return a value of a foreign file for a message: plain values in full up to some length, of others the type."""
    if not isinstance(value, str | int | float | bool | None):
        return f"a {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
