"""Intake: the body of a request -> pictures, in memory alone, with limits on size and time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from fastapi import HTTPException, Request
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mien.serve.engine import Picture
from mien.serve.limits import Limits
from mien.serve.schemas import Upload

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

T = TypeVar("T")

_NAME = 100  # characters of a name that are shown
_HOW = "send files, as in: curl -F pictures=@face.jpg, or JSON with base64"


class Intake:
    """Reads bodies, and knows how many bytes of them are in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0

    @asynccontextmanager
    async def pictures(self, request: Request) -> AsyncIterator[list[Picture]]:
        """The pictures of a request, at least one; their bytes count as held as long as the context lasts.

        Raises:
            HTTPException: 408 too slow, 413 too large or too many, 415 another type, 422 malformed, 503 no memory left.
        """
        body = _Body(self, self._limits, request)
        try:
            yield await self._read(request, body)
        finally:
            self.held -= body.length

    async def _read(self, request: Request, body: _Body) -> list[Picture]:
        parse = _multipart if _kind(request) == "multipart/form-data" else _json
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                return await parse(request, body.chunks(), self._limits.pictures)
        except TimeoutError:
            # Closed, because what is still to come would be taken for the next request.
            raise HTTPException(408, "the body came too slowly", {"Connection": "close"}) from None


class _Body:
    """The bytes of one request as they come."""

    def __init__(self, intake: Intake, limits: Limits, request: Request) -> None:
        self._intake, self._limits, self._request = intake, limits, request
        self.length = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        most = self._limits.body_bytes
        too_large = HTTPException(413, f"the body has more than {most} bytes; send fewer or smaller pictures")
        declared = self._request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
            raise too_large
        async for chunk in self._request.stream():
            self.length += len(chunk)
            self._intake.held += len(chunk)
            if self.length > most:
                raise too_large
            if self._intake.held > self._limits.buffered_bytes:
                raise HTTPException(503, "too many uploads at once; try again in a moment", {"Retry-After": "1"})
            yield chunk


def _kind(request: Request) -> str:
    """The media type without parameters."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/json"):
        raise HTTPException(415, f"Content-Type must be multipart/form-data or application/json; {_HOW}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "a Content-Encoding is not supported; pictures are compressed already")
    return kind


async def _multipart(request: Request, chunks: AsyncGenerator[bytes, None], most: int) -> list[Picture]:
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary")
    if not boundary:
        raise HTTPException(422, f"malformed multipart body: its Content-Type has no boundary; {_HOW}")
    form = _Form(most)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in chunks:
            parser.write(chunk)
    except FormParserError as error:
        raise HTTPException(422, f"malformed multipart body; {_HOW}") from error
    if not form.complete:
        raise HTTPException(422, "malformed multipart body: it is cut short")
    return _counted(form.pictures, most)


class _Form:
    """The files of a form, whatever their fields are called, gathered in memory.

    Starlette's own parser would put what is over a megabyte on the disk.
    """

    def __init__(self, most: int) -> None:
        self.pictures: list[Picture] = []
        self.complete = False
        self._most = most
        self._start()

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._start,
            "on_header_field": lambda data, start, end: self._key.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._name_it,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._add,
            "on_end": self._end,
        }

    def _start(self) -> None:
        self._key, self._value, self._data = bytearray(), bytearray(), bytearray()
        self._disposition, self._name = b"", ""

    def _header(self) -> None:
        if self._key.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._key, self._value = bytearray(), bytearray()

    def _name_it(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"filename")
        if name is None:
            raise HTTPException(422, f"a field of the form is no file; {_HOW}")
        self._name = shown(name.decode("utf-8", "replace"))

    def _add(self) -> None:
        self.pictures.append(Picture(self._name, bytes(self._data)))
        _counted(self.pictures, self._most)

    def _end(self) -> None:
        self.complete = True


async def _json(request: Request, chunks: AsyncGenerator[bytes, None], most: int) -> list[Picture]:
    body = b"".join([chunk async for chunk in chunks])
    try:
        upload = Upload.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise HTTPException(422, f"malformed JSON body: {shown(place)}: {shown(first['msg'])}") from error
    pictures = []
    for number, item in enumerate(_counted(upload.pictures, most)):
        text = item.data.partition(",")[2] if item.data.startswith("data:") else item.data
        try:
            pictures.append(Picture(shown(item.name), base64.b64decode(text, validate=True)))
        except ValueError as error:
            raise HTTPException(422, f"malformed JSON body: pictures.{number}.data is not base64") from error
    return pictures


def _counted(pictures: list[T], most: int) -> list[T]:
    if not pictures:
        raise HTTPException(422, f"no picture in the request; {_HOW}")
    if len(pictures) > most:
        raise HTTPException(413, f"too many pictures; send at most {most} at once")
    return pictures


def shown(name: str) -> str:
    """A name that a stranger chose, fit for logs and answers: its last part, printable characters, not too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(char if char.isprintable() else "?" for char in last[:_NAME])
