"""Whatever a user calls an image -> a Frame: paths, URLs, bytes, open files, PIL images, arrays, tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil

from mien.errors import SourceError
from mien.media.image import decode, from_pillow, to_bgr
from mien.media.image_info import DEFAULT
from mien.media.paths import VIDEO_SUFFIXES, display, read_file, without_password
from mien.types import Frame, Image

ACCEPTED = "give a path, an http(s) URL, bytes, a file opened with 'rb', a PIL image, an array or a tensor"
URL_SECONDS = 60.0
"""Longest time that the download of one image may take."""


@runtime_checkable
class Readable(Protocol):
    """A file object, opened in binary mode."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes."""
        ...


@runtime_checkable
class ArrayLike(Protocol):
    """A tensor of PyTorch, TensorFlow or JAX, or anything else that NumPy can turn into an array."""

    def __array__(self) -> NDArray[Any]:
        """Return it as an array, see `image.to_bgr`."""
        ...


ImageLike: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Pil.Image | NDArray[Any] | ArrayLike
)
"""What `read_frame` reads."""


def is_many(source: object) -> TypeGuard[Iterable[Any]]:
    """Tell whether a source is a list, tuple or other iterable of images rather than one image."""
    if getattr(getattr(source, "dtype", None), "kind", "") in ("O", "U"):  # a column of a table
        return True
    single = (str, bytes, bytearray, memoryview, os.PathLike, Readable, ArrayLike, Pil.Image, dict)
    return isinstance(source, Iterable) and not isinstance(source, single)


def read_frame(source: object, rgb: bool = False, index: int = 0, unnamed: str = "") -> Frame:
    """Read one image.

    Args:
        source: see `ImageLike`.
        rgb: arrays and tensors are RGB or RGBA, not BGR or BGRA; the others know their order.
        index: of the frame.
        unnamed: added to the names of images that have none of their own, such as " 3".

    Raises:
        SourceError: it cannot be read, or is of another type.
    """
    if isinstance(source, type):
        kind = f"the class {source.__name__}"
    elif isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(source)
        return Frame(_read_path(name), index, name=without_password(name))
    elif isinstance(source, Pil.Image):
        name = getattr(source, "filename", "")
        name = os.fsdecode(name) if isinstance(name, (str, bytes)) and name else f"PIL image{unnamed}"
        return Frame(from_pillow(source, display(name)), index, name=name)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name = f"bytes{unnamed}"
        return Frame(decode(bytes(source), name), index, name=name)
    elif isinstance(source, ArrayLike):
        name = f"{'array' if isinstance(source, np.ndarray) else type(source).__name__}{unnamed}"
        return Frame(to_bgr(_as_array(source, name), name, rgb), index, name=name)
    elif isinstance(source, Readable):
        name = getattr(source, "name", "")
        name = name if isinstance(name, str) and name else f"file{unnamed}"
        return Frame(decode(_read_object(source, display(name)), display(name)), index, name=name)
    elif source is None:
        kind = "None"
    else:
        kind = type(source).__name__
        kind = f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
    advice = "for a camera use pipeline.track; " if isinstance(source, int) else ""
    raise SourceError(f"{f'image{unnamed}: ' if unnamed else ''}{kind} is not an image; {advice}{ACCEPTED}")


def download(url: str, limit: int = DEFAULT.file_bytes, timeout: float = 10.0) -> bytes:
    """Download a file of at most `limit` bytes by http or https; `timeout` is in seconds, for each answer and block.

    Raises:
        SourceError: no answer, a broken connection, too large, or slower than `URL_SECONDS`.
    """
    from mien.media.http_file import HttpFile, failure_reason

    name = display(without_password(url))
    advice = "check the address and the network"
    end = monotonic() + URL_SECONDS
    try:
        file = HttpFile(url, timeout)
    except Exception as error:  # of urllib and http.client: OSError, HTTPException, ValueError
        raise SourceError(f"{name}: cannot be downloaded ({failure_reason(error)}); {advice}") from error
    too_large = SourceError(f"{name}: more than the limit of {limit / 1e6:.0f} MB; use a smaller image")
    data = bytearray()
    with file:
        if (file.size or 0) > limit:
            raise too_large
        while block := file.read(1 << 20):
            data += block
            if len(data) > limit:
                raise too_large
            if monotonic() > end:
                raise SourceError(f"{name}: the download took over {URL_SECONDS:.0f} s; download it first")
        if file.error:
            raise SourceError(f"{name}: cannot be downloaded ({file.error}); try again, or download it first")
    return bytes(data)


def _read_path(name: str) -> Image:
    if "://" in name:
        scheme = name.partition("://")[0].lower()
        if scheme not in ("http", "https"):
            raise SourceError(
                f"{display(without_password(name))}: an address of the kind {scheme}; give http, https or a path"
            )
        return decode(download(name), display(without_password(name)))
    path, shown = Path(name), display(name)
    if path.is_dir():
        raise SourceError(f"{shown}: a folder, not a file; give its images as a list, or use mien.predict")
    if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
        raise SourceError(f"{shown}: a video, not an image; use pipeline.track or mien.predict")
    return decode(read_file(path), shown)


def _read_object(source: Readable, name: str, limit: int = DEFAULT.file_bytes) -> bytes:
    try:
        data = source.read(limit + 1)
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: cannot be read ({error}); open it again") from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise SourceError(f"{name}: its read() returns {type(data).__name__}; open the file with 'rb'")
    if len(data) > limit:
        raise SourceError(f"{name}: more than the limit of {limit / 1e6:.0f} MB; make the image smaller")
    return bytes(data)


def _as_array(source: ArrayLike, name: str) -> NDArray[Any]:
    try:
        return np.asarray(source)
    except Exception as error:  # a tensor on a GPU, or one with gradients
        raise SourceError(f"{name}: gives no array ({error}); detach it and copy it to the CPU first") from error
