"""Uploads: reads the images of a request into memory, with limits on size, number and time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from fastapi import HTTPException, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mien.media.image import count_pages, is_tiff, page_name
from mien.serve.engine import EncodedImage
from mien.serve.limits import Limits
from mien.serve.schemas import Upload

_NAME_LENGTH = 100
_FIELDS, _FIELD_BYTES = 16, 65_536  # fields of a form beside the files; they are ignored
_HINT = "send files, as in: curl -F images=@face.jpg, or JSON with base64"


class Uploads:
    """Reads bodies and counts the bytes held in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0

    @asynccontextmanager
    async def images(self, request: Request) -> AsyncIterator[list[EncodedImage]]:
        """Read the images of a request, at least one; each page of a TIFF is an image.

        Their bytes count as held while the context lasts.

        Raises HTTPException: 408 too slow, 413 too large or too many, 415 wrong type, 422 malformed, 503 no memory.
        """
        parse = _parse_form if _media_type(request) == "multipart/form-data" else _parse_json
        body = _Body(self, self._limits, request)
        try:
            try:
                async with asyncio.timeout(self._limits.read_seconds):
                    images = await parse(request, body.chunks(), self._limits)
            except TimeoutError:
                # Closed: the rest of the body would be taken for the next request.
                raise HTTPException(408, "the body came too slowly", {"Connection": "close"}) from None
            if not images:
                raise HTTPException(422, f"no image in the request; {_HINT}")
            if any(is_tiff(image.data) for image in images):
                images = await asyncio.to_thread(_pages, images, self._limits.images)
            yield images
        finally:
            self.held -= body.length


class _Body:
    """The bytes of a request as they arrive."""

    def __init__(self, uploads: Uploads, limits: Limits, request: Request) -> None:
        self._uploads, self._limits, self._request = uploads, limits, request
        self.length = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        limit = self._limits.body_bytes
        too_large = HTTPException(413, f"the body has more than {limit} bytes; send fewer or smaller images")
        declared = self._request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
            raise too_large
        async for chunk in self._request.stream():
            self.length += len(chunk)
            self._uploads.held += len(chunk)
            if self.length > limit:
                raise too_large
            if self._uploads.held > self._limits.buffered_bytes:
                raise HTTPException(503, "too many uploads at once; try again in a moment", {"Retry-After": "1"})
            yield chunk


def _media_type(request: Request) -> str:
    """Return the media type without parameters, if it is supported."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("multipart/form-data", "application/json"):
        raise HTTPException(415, f"Content-Type must be multipart/form-data or application/json; {_HINT}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "Content-Encoding is not supported; images are compressed already")
    return media_type


class _FormParser(MultiPartParser):
    """Starlette's parser, in memory alone, that refuses a truncated form."""

    def __init__(self, request: Request, chunks: AsyncGenerator[bytes, None], limits: Limits) -> None:
        super().__init__(
            request.headers, self._checked(chunks),
            max_files=limits.images, max_fields=_FIELDS, max_part_size=_FIELD_BYTES,
        )  # fmt: skip
        self.spool_max_size = limits.body_bytes
        self._complete = False

    def on_end(self) -> None:
        self._complete = True

    async def _checked(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            yield chunk
        if not self._complete:
            raise MultiPartException("The form is cut short.")


async def _parse_form(request: Request, chunks: AsyncGenerator[bytes, None], limits: Limits) -> list[EncodedImage]:
    """Read the files of a form, whatever their fields are called; text fields are ignored."""
    try:
        form = await _FormParser(request, chunks, limits).parse()
    except MultiPartException as error:
        too_much = "aximum" in error.message
        raise HTTPException(413 if too_much else 422, f"{error.message} {_HINT}") from error
    except ValueError as error:  # a charset that cannot decode
        raise HTTPException(422, f"malformed multipart body; {_HINT}") from error
    files = [item for _, item in form.multi_items() if isinstance(item, UploadFile)]
    images = [EncodedImage(shortened(file.filename or ""), await file.read()) for file in files]
    await form.close()
    return images


async def _parse_json(request: Request, chunks: AsyncGenerator[bytes, None], limits: Limits) -> list[EncodedImage]:
    body = b"".join([chunk async for chunk in chunks])
    return await asyncio.to_thread(_decode_json, body, limits.images)


def _decode_json(body: bytes, max_images: int) -> list[EncodedImage]:
    # An image takes 8 quotes and 3 commas. Counted first, since a parser would build millions of values.
    if body.count(b'"') + body.count(b",") > 1000 + 20 * max_images:
        raise HTTPException(413, f"too many values in the JSON body; send at most {max_images} images at once")
    try:
        items = Upload.model_validate_json(body).images
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise HTTPException(422, f"malformed JSON body: {shortened(place)}: {shortened(first['msg'])}") from error
    if len(items) > max_images:
        raise HTTPException(413, f"too many images; send at most {max_images} at once")
    images = []
    for number, item in enumerate(items):
        text = item.data.partition(",")[2] if item.data.startswith("data:") else item.data
        try:
            images.append(EncodedImage(shortened(item.name), base64.b64decode(text, validate=True)))
        except ValueError as error:
            raise HTTPException(422, f"malformed JSON body: images.{number}.data is not base64") from error
    return images


def _pages(images: list[EncodedImage], limit: int) -> list[EncodedImage]:
    """Return the images, each page of a TIFF as one."""
    pages: list[EncodedImage] = []
    for image in images:
        pages += [replace(image, name=page_name(image.name, k), page=k) for k in range(count_pages(image.data))]
        if len(pages) > limit:
            raise HTTPException(413, f"too many images, with the pages of TIFF files; send at most {limit} at once")
    return pages


def shortened(name: str) -> str:
    """Return the last part of a client's name: printable characters only, and not too many."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(char if char.isprintable() else "?" for char in last[:_NAME_LENGTH])
