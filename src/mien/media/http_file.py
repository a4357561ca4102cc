"""HttpFile: a file on a web server, read like a local one."""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from http.client import HTTPResponse
from typing import IO

_STEP = 65_536  # bytes read from the network at once
_SKIP = 262_144  # bytes to read and drop rather than to send a new request
_MAX_FAILURES = 3  # then no more requests are sent
_PLAYLISTS = re.compile(r"mpegurl|dash\+xml|^multipart/", re.IGNORECASE)


class HttpFile(io.RawIOBase):
    """Reads a file by HTTP, with seeking, and knows whether all of it arrived.

    If the server supports ranges, they are requested. If not, the data is kept in a temporary file for seeking back.
    `read` never raises, because libav mistakes errors for the end: after an error it returns no data and sets `error`.

    Attributes:
        size: bytes of the whole file, or None if the server does not say.
        error: why the last `read` ended before the end of the file, or "".
        is_playlist: whether the response is a playlist or a multipart stream, which libav reads itself.
    """

    def __init__(self, url: str, timeout: float) -> None:
        """Request an http or https URL, which may hold user and password; raise an OSError if that fails.

        `timeout` is in seconds, for the response and for each block.
        """
        super().__init__()
        self._url, self._opener = _opener(url)
        self._timeout = timeout
        self._at = 0  # position of the reader
        self._next = 0  # position of the response
        self._kept: IO[bytes] | None = None
        self._stop = threading.Event()
        self._failures = 0
        self._failed_at = -1
        self.error = ""
        response = self._ask(0)
        self._response: HTTPResponse | None = response
        self.is_playlist = bool(_PLAYLISTS.search(response.headers.get_content_type()))
        length = response.headers.get("Content-Length", "")
        whole = re.search(r"/(\d+)\s*$", response.headers.get("Content-Range", ""))
        self.size = int(whole[1]) if whole else int(length) if length.isdecimal() else None
        self._has_ranges = response.status == 206 and self.size is not None
        if not self._has_ranges and self.size is not None:
            self._kept = tempfile.TemporaryFile(prefix="mien-")  # noqa: SIM115

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        """Return False for a stream of unknown length."""
        return self.size is not None

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; nothing is requested before the next `read`."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size or 0}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, or b"" at the end, after an error and after `abort`."""
        if size < 0:
            size = _STEP
        if self._stop.is_set() or self._has_failed_here() or (self.size is not None and self._at >= self.size):
            return b""
        error, data = "", b""
        try:
            data = self._take_kept(size) if self._kept else self._take(size)
            if not data and self.size is not None:
                error = "the connection broke off"
        except (OSError, http.client.HTTPException) as caught:
            error = failure_reason(caught)
        if self._stop.is_set():
            return b""
        if error:
            self._failures += 1
            self._failed_at = self._at
            self._drop_response()
        self.error = error
        self._at += len(data)
        return data

    def _has_failed_here(self) -> bool:
        """Return whether a new request would be in vain; libav reads the end of a file before its middle."""
        if not self.error:
            return False
        if self._has_ranges:
            return self._at == self._failed_at or self._failures >= _MAX_FAILURES
        return self._at >= self._next  # earlier data is kept and can be read

    def abort(self) -> None:
        """End a `read` that waits for the network in another thread; later ones return nothing."""
        self._stop.set()
        response = self._response
        with suppress(OSError, ValueError, AttributeError):
            if response is not None:
                with socket.socket(fileno=os.dup(response.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection and delete the temporary file."""
        self._stop.set()
        self._drop_response()
        if self._kept is not None:
            self._kept.close()
        super().close()

    def _drop_response(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _take(self, size: int) -> bytes:
        """Read from the network at the position of the reader."""
        ahead = self._at - self._next
        if self._has_ranges and (self._response is None or not 0 <= ahead <= _SKIP):
            self._drop_response()
            self._response, self._next, ahead = self._ask(self._at), self._at, 0
        while ahead > 0 and (dropped := self._receive(min(ahead, _STEP))):
            ahead -= len(dropped)
        return self._receive(size) if ahead == 0 else b""

    def _take_kept(self, size: int) -> bytes:
        """Read from the temporary file at the position of the reader, after filling it up to there."""
        assert self._kept is not None
        self._kept.seek(self._next)
        while self._next <= self._at and (data := self._receive(_STEP)):
            self._kept.write(data)
        self._kept.seek(self._at)
        return self._kept.read(size)

    def _receive(self, size: int) -> bytes:
        if self._response is None:
            return b""
        data = self._response.read1(size)
        self._next += len(data)
        return data

    def _ask(self, start: int) -> HTTPResponse:
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={start}-", "User-Agent": "mien"})
        response: HTTPResponse = self._opener.open(request, timeout=self._timeout)
        if start and response.status != 206:
            response.close()
            raise OSError("the server no longer sends parts of the file")
        return response


def _opener(url: str) -> tuple[str, urllib.request.OpenerDirector]:
    """Return the URL without user and password, and an opener that sends them."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    plain = urllib.parse.urlunsplit(parts._replace(netloc=host, fragment=""))
    plain = urllib.parse.quote(plain, safe="%/:=&?~#+!$,;'@()*[]")
    handlers: list[urllib.request.BaseHandler] = []
    if parts.username is not None:
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        user, password = (urllib.parse.unquote(text or "") for text in (parts.username, parts.password))
        passwords.add_password(None, plain, user, password)
        handlers = [urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords)]
    return plain, urllib.request.build_opener(*handlers)


def failure_reason(error: BaseException) -> str:
    """Return in a few words why the network failed, without the address."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "the server does not answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke off"
    return str(getattr(error, "strerror", None) or error or "the connection failed")
