"""A native window by pygame-ce (extra `live`): OpenCV's headless wheel has none."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Self

import cv2
import numpy as np

from mien.errors import ConfigError
from mien.types import Image

_MAX_SHARE = 0.85  # of the screen's sides for a new window
_COMMON_WIDTH = 1920  # pixels of a screen on which images open at their size; at twice it on a screen twice as wide
_TEXT = 18, 36  # height of text in pixels, by that of the window; larger only in windows of more than 1080 lines
_LEAST_TEXT = 10  # so that many lines fit into a small window
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
_WINDOWLESS = frozenset({"dummy", "offscreen", "evdev", "kmsdrm"})  # SDL drivers without a window on a desktop


class Window:
    """A resizable window that shows images in their aspect ratio and reads keys.

    Call all methods from the thread that created it; on macOS that is the main thread.
    """

    def __init__(self, title: str = "mien") -> None:
        """Check for a screen; the window opens with the first image, at its size."""
        self._pygame: Any = _load()
        self._title = title
        self._windowed: tuple[int, int] | None = None  # size to return to from full screen
        if sys.platform == "linux" and not any(name in os.environ for name in _SCREENS):
            raise ConfigError(_no_screen("DISPLAY and WAYLAND_DISPLAY are not set"))
        try:
            self._pygame.display.init()
        except self._pygame.error as error:
            raise ConfigError(_no_screen(str(error))) from error
        driver = self._pygame.display.get_driver().lower()
        if driver in _WINDOWLESS and "SDL_VIDEODRIVER" not in os.environ:  # SDL's last resort
            self._pygame.display.quit()
            raise ConfigError(_no_screen(f"only SDL's driver {driver}"))
        self._pygame.font.init()

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the window's content in pixels; None before the first image."""
        screen = self._pygame.display.get_surface()
        return screen.get_size() if screen else None

    def toggle_full_screen(self) -> None:
        """Fill the screen, or return to a window of the size before. Does nothing before the first image."""
        if self.size is None:
            return
        if self._windowed:
            size, self._windowed = self._windowed, None
            self._pygame.display.set_mode(size, self._pygame.RESIZABLE)
        else:
            self._windowed = self.size
            self._pygame.display.set_mode((0, 0), self._pygame.FULLSCREEN)

    def show(self, image: Image, lines: Sequence[str] = ()) -> None:
        """Show a uint8 BGR image (H, W, 3), scaled to the window, with lines of text at the top."""
        screen = self._pygame.display.get_surface() or self._open(image)
        width, height = screen.get_size()
        scale = min(width / image.shape[1], height / image.shape[0])
        size = _scaled_size(image, scale)
        if size != image.shape[1::-1]:
            interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            image = np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)
        surface = self._pygame.image.frombuffer(np.ascontiguousarray(image), size, "BGR")
        screen.fill((0, 0, 0))
        screen.blit(surface, ((width - size[0]) // 2, (height - size[1]) // 2))
        if lines:
            self._write(screen, lines)
        self._pygame.display.flip()

    def keys(self) -> list[str]:
        """Return the keys pressed since the last call, such as "q" or "space"; closing the window is "escape"."""
        pygame = self._pygame
        pressed = []
        for event in pygame.event.get() if pygame.display.get_surface() else ():
            if event.type == pygame.QUIT:
                pressed.append("escape")
            elif event.type == pygame.KEYDOWN:
                # "+" needs Shift on some keyboards and has a key of its own on others: ask for the character
                character = getattr(event, "unicode", "")
                pressed.append(character if character in ("+", "-") else pygame.key.name(event.key).strip("[]"))
        return pressed

    def close(self) -> None:
        """Close the window; calling it twice does no harm."""
        self._pygame.font.quit()
        self._pygame.display.quit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, image: Image) -> Any:
        pygame = self._pygame
        wide, high = pygame.display.get_desktop_sizes()[0]
        scale = max(wide // _COMMON_WIDTH, 1)
        scale = min(scale, _MAX_SHARE * wide / image.shape[1], _MAX_SHARE * high / image.shape[0])
        pygame.display.set_caption(self._title)
        try:
            return pygame.display.set_mode(_scaled_size(image, scale), pygame.RESIZABLE)
        except pygame.error as error:
            raise ConfigError(_no_screen(str(error))) from error

    def _write(self, screen: Any, lines: Sequence[str]) -> None:
        """Write text on a dark background in the upper left corner, wrapped to the window and small enough for it."""
        pygame = self._pygame
        width, height = screen.get_size()
        for tall in range(max(_TEXT[0], min(height // 22, _TEXT[1]), height // 30), _LEAST_TEXT - 1, -1):
            font = pygame.font.Font(None, tall)
            edge = font.get_linesize() // 2
            room = max(width - 6 * edge, 60)
            texts = [font.render(line, True, (255, 255, 255), None, room) for line in lines]
            if sum(text.get_height() for text in texts) + 4 * edge <= height:
                break
        size = max(text.get_width() for text in texts), sum(text.get_height() for text in texts)
        background = pygame.Surface((size[0] + 2 * edge, size[1] + 2 * edge))
        background.set_alpha(200)
        screen.blit(background, (edge, edge))
        top = 2 * edge
        for text in texts:
            screen.blit(text, (2 * edge, top))
            top += text.get_height()


def _scaled_size(image: Image, scale: float) -> tuple[int, int]:
    """Return width and height in pixels, at least 1."""
    return max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))


def _load() -> ModuleType:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # pygame prints a greeting
    try:
        import pygame
        import pygame.font
    except ImportError as error:
        raise ConfigError(f"a window needs pygame-ce ({error}); pip install 'mien[live]', or use --headless") from error
    return pygame


def _no_screen(reason: str) -> str:
    return f"there is no screen to open a window on ({reason}); use --headless, or log in to a desktop"
