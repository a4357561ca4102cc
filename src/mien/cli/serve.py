"""The commands `serve` and `web`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from mien.cli import options
from mien.cli.console import count, echo, start, warn
from mien.errors import ConfigError
from mien.serve.limits import Limits

_MAKE_WEB = "run `make web` in the checkout; if mien does not run from there, then `pip install -e .`"


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    detector: options.Detector = "yunet",
    model: options.Model = None,
    min_face: options.MinFace = None,
    min_score: options.MinScore = None,
    quick_search: options.QuickSearch = False,
    token: Annotated[str | None, Parameter(env_var="MIEN_TOKEN", show_default=False)] = None,
    allow_host: Annotated[list[str] | None, Parameter(negative=())] = None,
    allow_origin: Annotated[list[str] | None, Parameter(negative=())] = None,
    limits: Annotated[Limits, Parameter(name="*", group="Limits")] = Limits(),  # noqa: B008 (frozen)
    pictures: Annotated[int | None, Parameter(show=False)] = None,
    quiet: options.Quiet = False,
) -> int:
    """Serve predictions over HTTP and WebSocket, and the web page.

    Parameters
    ----------
    host
        Address to listen on; one that other machines can reach needs a token of at least 16 characters.
    port
        0 for any free port.
    token
        Token that clients must send; better in MIEN_TOKEN, since other users can see the command line.
    allow_host
        Another name of the server, for the Host header; may be repeated.
    allow_origin
        Another web page that may use the server, such as https://example.org; may be repeated.
    pictures
        Old name of --images.
    """
    from mien.serve import engine, server
    from mien.serve.app import create_app, has_page

    clock = start(quiet)
    if pictures is not None:
        warn("note: --pictures is now called --images; the old name works in this version only")
        limits = replace(limits, images=pictures)
    # Where other machines reach it, the token keeps web pages out whatever name they use.
    hosts = [host, *(allow_host or ([] if server.is_loopback(host) else ["*"]))]
    with server.bind(host, port, token) as listening:
        pipeline = engine.load(model, detector, min_score, min_face)
        if not has_page():
            warn(f"note: this copy of mien lacks the web page's runtime, so only the API answers; {_MAKE_WEB}")
        app = create_app(
            pipeline, token=token, hosts=hosts, origins=allow_origin or [], limits=limits, quick_search=quick_search
        )
        echo(f"mien serves at {server.url(listening)} (Ctrl-C ends it)")
        server.run(app, listening, limits)
    clock.summary(count(app.state.serving.metrics.answered, "request"))
    return 0


def web(*, port: int = 8000, quiet: options.Quiet = False) -> int:
    """Open the web page: webcam, images and videos, all processed in the browser.

    Parameters
    ----------
    port
        0 for any free port.
    """
    import webbrowser

    from mien.serve import server
    from mien.serve.app import create_app, has_page

    clock = start(quiet)
    if not has_page():
        raise ConfigError(f"this copy of mien lacks the web page's runtime; {_MAKE_WEB}")
    with server.bind("127.0.0.1", port, None) as listening:
        app = create_app()
        echo(f"the page is at {server.url(listening)} (Ctrl-C ends it)")
        webbrowser.open(server.url(listening))
        server.run(app, listening, Limits())
    clock.summary(count(app.state.serving.metrics.answered, "request"))
    return 0
