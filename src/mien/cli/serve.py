"""The commands `serve` and `web`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mien.cli.console import out
from mien.errors import ConfigError
from mien.serve.limits import Limits


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str | None = None,
    detector: str = "yunet",
    token: Annotated[str | None, Parameter(env_var="MIEN_TOKEN", show_default=False)] = None,
    allow_host: Annotated[list[str] | None, Parameter(negative=())] = None,
    allow_origin: Annotated[list[str] | None, Parameter(negative=())] = None,
    limits: Annotated[Limits, Parameter(name="*", group="Limits")] = Limits(),  # noqa: B008 (frozen)
) -> int:
    """Serve predictions over HTTP and WebSocket, and the web page.

    Parameters
    ----------
    host
        Address to listen on; where other machines can reach it, it needs a token of 16 characters or more.
    port
        0 for any free one.
    model
        Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file.
    detector
        yunet, haar or mtcnn.
    token
        What clients must send; better in MIEN_TOKEN, since others on this machine can see what was typed here.
    allow_host
        Another name under which the server is reached; may be repeated.
    allow_origin
        Another web page that may use it, such as https://example.org; may be repeated.
    """
    from mien.serve import engine, server
    from mien.serve.app import create_app

    hosts = [host, *(allow_host or [])]
    with server.bind(host, port, token) as listening:
        pipeline = engine.load(model, detector)
        made = create_app(pipeline, token=token, hosts=hosts, origins=allow_origin or [], limits=limits)
        out.print(f"mien serves at {server.url(listening)} (Ctrl-C ends it)", highlight=False, markup=False)
        server.run(made, listening, limits)
    return 0


def web(*, port: int = 8000) -> int:
    """Open the web page: webcam, pictures and videos, all of which stay in the browser.

    Parameters
    ----------
    port
        0 for any free one.
    """
    import webbrowser

    from mien.serve import server
    from mien.serve.app import STATIC, create_app

    if not (STATIC / "models" / "models.json").is_file():
        raise ConfigError("this copy of mien is without the web page's runtime; run `make web` in a checkout first")
    with server.bind("127.0.0.1", port, None) as listening:
        made = create_app()
        out.print(f"the page is at {server.url(listening)} (Ctrl-C ends it)", highlight=False, markup=False)
        webbrowser.open(server.url(listening))
        server.run(made, listening, Limits())
    return 0
