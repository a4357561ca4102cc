"""A native window, by SDL through pygame-ce (extra `live`): OpenCV's headless wheel has none."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import ModuleType, TracebackType
from typing import Any, Self

import cv2
import numpy as np

from mien.types import ConfigError, Image

_SHARE = 0.85  # of the screen's sides that a new window takes at most
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
_BLIND = frozenset({"dummy", "offscreen", "evdev", "kmsdrm"})  # drivers of SDL that show no window on a desktop


class Window:
    """A picture that fills a resizable window, keeping its shape, and the keys that are pressed.

    All methods belong to the thread that made it, on macOS the main thread.
    """

    def __init__(self, title: str = "mien") -> None:
        """Look for a screen; the window itself opens with the first picture, which gives its size.

        Args:
            title: of the window.

        Raises:
            ConfigError: pygame-ce is not installed, or there is no screen.
        """
        self._pygame: Any = _load()
        self._title = title
        if sys.platform == "linux" and not any(name in os.environ for name in _SCREENS):
            raise ConfigError(_no_screen("DISPLAY and WAYLAND_DISPLAY are not set"))
        try:
            self._pygame.display.init()
        except self._pygame.error as error:
            raise ConfigError(_no_screen(str(error))) from error
        driver = self._pygame.display.get_driver().lower()
        if driver in _BLIND and "SDL_VIDEODRIVER" not in os.environ:  # what SDL takes when it finds no better one
            self._pygame.display.quit()
            raise ConfigError(_no_screen(f"only SDL's driver {driver}"))
        self._pygame.font.init()

    def show(self, image: Image, lines: Sequence[str] = ()) -> None:
        """Show a picture.

        Args:
            image: uint8 BGR (H, W, 3), of any size; it is scaled to the window.
            lines: text to lay over it, at the top.
        """
        screen = self._pygame.display.get_surface() or self._open(image)
        width, height = screen.get_size()
        scale = min(width / image.shape[1], height / image.shape[0])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        fitted = np.ascontiguousarray(
            image if size == image.shape[1::-1] else cv2.resize(image, size, interpolation=how)
        )
        screen.fill((0, 0, 0))
        screen.blit(
            self._pygame.image.frombuffer(fitted, size, "BGR"), ((width - size[0]) // 2, (height - size[1]) // 2)
        )
        if lines:
            self._write(screen, lines)
        self._pygame.display.flip()

    def keys(self) -> list[str]:
        """Names of the keys pressed since the last call, as "q" or "space"; closing the window counts as "escape"."""
        pygame = self._pygame
        pressed = []
        for event in pygame.event.get() if pygame.display.get_surface() else ():
            if event.type == pygame.QUIT:
                pressed.append("escape")
            elif event.type == pygame.KEYDOWN:
                pressed.append(pygame.key.name(event.key))
        return pressed

    def close(self) -> None:
        """Close the window; calling it twice does no harm."""
        self._pygame.font.quit()
        self._pygame.display.quit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, image: Image) -> Any:
        pygame = self._pygame
        wide, high = pygame.display.get_desktop_sizes()[0]
        scale = min(1.0, _SHARE * wide / image.shape[1], _SHARE * high / image.shape[0])
        pygame.display.set_caption(self._title)
        try:
            return pygame.display.set_mode(
                (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))), pygame.RESIZABLE
            )
        except pygame.error as error:
            raise ConfigError(_no_screen(str(error))) from error

    def _write(self, screen: Any, lines: Sequence[str]) -> None:
        """Text on a dark ground in the upper left corner, broken where the window is too narrow."""
        pygame = self._pygame
        font = pygame.font.Font(None, min(max(screen.get_height() // 22, 18), 36))
        room = max(screen.get_width() - 3 * font.get_linesize(), 60)
        texts = [font.render(line, True, (255, 255, 255), None, room) for line in lines]
        edge = font.get_linesize() // 2
        ground = pygame.Surface(
            (max(text.get_width() for text in texts) + 2 * edge, sum(text.get_height() for text in texts) + 2 * edge)
        )
        ground.set_alpha(200)
        screen.blit(ground, (edge, edge))
        top = 2 * edge
        for text in texts:
            screen.blit(text, (2 * edge, top))
            top += text.get_height()


def _load() -> ModuleType:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # its greeting on stdout
    try:
        import pygame
        import pygame.font
    except ImportError as error:
        raise ConfigError(f"a window needs pygame-ce ({error}); pip install 'mien[live]', or use --headless") from error
    return pygame


def _no_screen(reason: str) -> str:
    return f"there is no screen to open a window on ({reason}); use --headless, or log in to a desktop"
