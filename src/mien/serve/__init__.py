"""The server: REST, WebSocket, metrics and the page. The only package that may import fastapi."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.serve.app import create_app
    from mien.serve.limits import Limits

_MODULES = {
    "Limits": "mien.serve.limits",
    "create_app": "mien.serve.app",
}

__all__ = ["Limits", "create_app"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
