"""The window: SDL's dummy driver, and a real screen where Xvfb is installed."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

import numpy as np
import pytest

from mien.errors import ConfigError
from mien.live.viewer import HELP
from mien.live.window import Window

pygame = pytest.importorskip("pygame")


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Iterator[Window]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with Window("title") as shown:
        yield shown


def pixels() -> np.ndarray:
    """Return the content of the window, BGR (H, W, 3)."""
    return pygame.surfarray.array3d(pygame.display.get_surface()).transpose(1, 0, 2)[..., ::-1]


def resize(width: int, height: int) -> None:
    pygame.display.set_mode((width, height), pygame.RESIZABLE)


def halves() -> np.ndarray:
    """Blue on the left, red on the right, twice as wide as high."""
    image = np.zeros((60, 120, 3), np.uint8)
    image[:, :60], image[:, 60:] = (255, 0, 0), (0, 0, 255)
    return image


def test_image_is_shown_unchanged(window: Window) -> None:
    window.show(halves())
    assert (pixels() == halves()).all()
    assert pygame.display.get_caption()[0] == "title"


def test_image_fills_resized_window_in_its_aspect_ratio(window: Window) -> None:
    window.show(halves())
    resize(240, 300)
    window.show(halves())
    shown = pixels()
    assert shown.shape == (300, 240, 3)
    assert not shown[:90].any() and not shown[210:].any()  # 240 x 120 in the middle
    assert (shown[90:210, :119] == (255, 0, 0)).all() and (shown[90:210, 121:] == (0, 0, 255)).all()
    resize(60, 200)
    window.show(halves())
    assert (pixels()[86:114, :29] == (255, 0, 0)).all()


def test_full_screen_and_back(window: Window) -> None:
    window.toggle_full_screen()
    assert window.size is None  # nothing was shown yet
    window.show(halves())
    assert window.size == (120, 60)
    window.toggle_full_screen()
    window.show(halves())
    assert window.size == tuple(pygame.display.get_desktop_sizes()[0])
    window.toggle_full_screen()
    assert window.size == (120, 60)


def test_window_fits_the_screen(window: Window) -> None:
    wide, high = pygame.display.get_desktop_sizes()[0]
    window.show(np.zeros((2 * high, 2 * wide, 3), np.uint8))
    width, height = pygame.display.get_surface().get_size()
    assert width <= 0.9 * wide and height <= 0.9 * high
    assert width / height == pytest.approx(wide / high, rel=0.01)


def test_text_stays_inside_the_window(window: Window) -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    window.show(image, ["one line"])
    short = pixels()
    assert (short[:50, :50] < 255).any() and (short[100:] == 255).all() and (short[:, 300:] == 255).all()
    window.show(image, ["a very long message, such as the path of a file, " * 3])
    long = pixels()
    assert (long[60:100] < 255).any(), "it is wrapped"
    assert (long[:, 390:] == 255).all()
    window.show(image)
    assert (pixels() == 255).all()


def test_help_fits_a_small_window(window: Window) -> None:
    image = np.full((180, 320, 3), 255, np.uint8)
    window.show(image, HELP)
    shown = pixels()
    assert (shown[140:, :100] < 255).any()
    assert (shown[178:] == 255).all(), "nothing is cut"


def test_small_image_opens_larger_on_a_screen_with_twice_the_pixels(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pygame.display, "get_desktop_sizes", lambda: [(3840, 2160)])
    window.show(halves())
    assert window.size == (240, 120)


def test_keys_and_window_close_are_reported(window: Window) -> None:
    assert window.keys() == []
    window.show(halves())
    window.keys()
    for key in (pygame.K_q, pygame.K_SPACE, pygame.K_ESCAPE):
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
        pygame.event.post(pygame.event.Event(pygame.KEYUP, key=key))
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert window.keys() == ["q", "space", "escape", "escape"]
    assert window.keys() == []


def test_window_closes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window = Window()
    window.show(halves())
    window.close()
    window.close()


def test_missing_pygame_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ConfigError, match=r"pip install 'mien\[live\]', or use --headless"):
        Window()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a screen")
def test_missing_screen_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"no screen.*use --headless"):
        Window()
    monkeypatch.setenv("DISPLAY", ":9999")  # nothing answers there
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
    with pytest.raises(ConfigError, match=r"no screen.*use --headless"):
        Window()
    monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    with pytest.raises(ConfigError, match=r"no screen.*use --headless"):
        Window()


def framebuffer(path: Path) -> np.ndarray:
    """What the screen of Xvfb shows, BGR (H, W, 3), from its file in the format of xwd."""
    data = path.read_bytes()
    head = struct.unpack(">25I", data[:100])
    width, height, stride, colours = head[4], head[5], head[12], head[19]
    start = head[0] + 12 * colours
    rows = np.frombuffer(data, np.uint8, stride * height, start).reshape(height, stride)
    return rows[:, : 4 * width].reshape(height, width, 4)[..., :3]


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline, "condition was not met"
        time.sleep(0.05)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A display of its own, and the file that holds its pixels."""
    if not which("Xvfb"):
        pytest.skip("Xvfb is not installed")
    ours, theirs = os.pipe()
    words = ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "800x600x24", "-fbdir", str(tmp_path), "-noreset"]
    with subprocess.Popen(words, pass_fds=[theirs], stderr=subprocess.DEVNULL) as server:
        os.close(theirs)
        try:
            with os.fdopen(ours) as answer:
                display = answer.readline().strip()
            assert display, "Xvfb did not start"
            yield f":{display}", tmp_path / "Xvfb_screen0"
        finally:
            server.terminate()


def test_mien_live_shows_a_video_on_a_real_screen(
    screen: tuple[str, Path], film: Callable[..., Path], tmp_path: Path
) -> None:
    path = film(tmp_path / "a.mp4", [k / 10 for k in range(600)])
    display, pixels = screen
    clean = {name: value for name, value in os.environ.items() if name not in ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY")}
    words = [sys.executable, "-m", "mien", "live", str(path), "--csv", str(tmp_path / "a.csv")]
    with subprocess.Popen(words, env=clean | {"DISPLAY": display}, stderr=subprocess.PIPE, text=True) as program:
        try:
            # 160 x 96 in the middle of the screen; "h  help" covers its upper left corner
            until(lambda: bool(framebuffer(pixels)[252:348, 320:480].any()) or program.poll() is not None)
            until(lambda: bool((framebuffer(pixels)[300, 320:480] > 200).any()) or program.poll() is not None)
            outside = framebuffer(pixels)[:250].any()
            program.send_signal(signal.SIGINT)
            message = program.communicate(timeout=120)[1]
        finally:
            program.kill()
    assert program.returncode == 0, message
    assert not outside
    assert len((tmp_path / "a.csv").read_text().splitlines()) > 1, "the table is finished"
