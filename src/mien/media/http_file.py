"""A file on a web server, read as if it were a local one."""

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

_STEP = 65_536  # bytes taken from the network at once
_SKIP = 262_144  # bytes that are read and dropped rather than asked for anew
_MAX_FAILURES = 3  # then nothing more is asked for
_PLAYLISTS = re.compile(r"mpegurl|dash\+xml|^multipart/", re.IGNORECASE)


class HttpFile(io.RawIOBase):
    """Reads a file by HTTP, with seeking, and knows whether all of it came.

    Where the server sends any part that is asked for, parts are asked for. Where it does not, what came is kept in a
    temporary file, in which one can go back. `read` never raises: what goes wrong is in `error`, and looks like the end
    of the file, because libav mistakes errors for the end.

    Attributes:
        size: bytes of the whole file, or None where the server does not say.
        error: why the last `read` ended before the end of the file, or "".
        is_playlist: whether the server says that this is a playlist or a stream of parts, which libav reads itself.
    """

    def __init__(self, url: str, timeout: float) -> None:
        """Ask for the file.

        Args:
            url: http or https, with user and password where the server wants them.
            timeout: seconds to wait for an answer, and then for each block.

        Raises:
            OSError: no connection, or no such file; the message says which.
        """
        super().__init__()
        self._url, self._opener = _opener(url)
        self._timeout = timeout
        self._at = 0  # where the reader is
        self._next = 0  # where the response goes on
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
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say whether one can go back: not in a stream of unknown length."""
        return self.size is not None

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; nothing is asked for before the next `read`."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size or 0}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`, or b"" at the end, after an error and after `abort`."""
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
            error = _reason(caught)
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
        """Return whether asking again is in vain; libav looks at the end of a file before it reads the middle."""
        if not self.error:
            return False
        if self._has_ranges:
            return self._at == self._failed_at or self._failures >= _MAX_FAILURES
        return self._at >= self._next  # what came before is kept, and can be read

    def abort(self) -> None:
        """End a `read` that waits for the network, from another thread; all later ones return nothing."""
        self._stop.set()
        response = self._response
        with suppress(OSError, ValueError, AttributeError):
            if response is not None:
                with socket.socket(fileno=os.dup(response.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection and drop what was kept."""
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
        """Return bytes from the network at the reader's position."""
        ahead = self._at - self._next
        if self._has_ranges and (self._response is None or not 0 <= ahead <= _SKIP):
            self._drop_response()
            self._response, self._next, ahead = self._ask(self._at), self._at, 0
        while ahead > 0 and (dropped := self._receive(min(ahead, _STEP))):
            ahead -= len(dropped)
        return self._receive(size) if ahead == 0 else b""

    def _take_kept(self, size: int) -> bytes:
        """Return bytes at the reader's position from the temporary file, fetching all up to there first."""
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
    """Return the URL without user and password, and what opens it with them."""
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


def _reason(error: BaseException) -> str:
    """Say in a few words why the network failed, without the address."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "the server does not answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke off"
    return str(getattr(error, "strerror", None) or error or "the connection failed")
