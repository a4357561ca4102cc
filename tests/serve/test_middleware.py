"""Access: Host, Origin, token and rate, over HTTP and WebSocket; and the headers of every answer."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import WebSocketDenialResponse
from test_serve import IMAGE, URL, client, files
from test_serve import page as page  # a fixture
from test_serve import server as server  # a fixture

from mien import ConfigError
from mien.cli import main
from mien.serve import middleware
from mien.serve import server as server_module
from mien.serve.server import bind, url

STREAM = URL.replace("http", "ws") + "/v1/stream"
TOKEN = "a-token/with+signs=ä"
BEARER = {"Authorization": f"Bearer {TOKEN}".encode()}


def handshake(api: Any, address: str = STREAM, **more: Any) -> int:
    """Return the status of a WebSocket handshake."""
    try:
        with api.websocket_connect(address, **more):
            return 101
    except WebSocketDenialResponse as refusal:
        return refusal.status_code


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]", "[::1]:8000"])
def test_host_of_this_server_is_accepted(server: Any, host: str) -> None:
    assert server.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example",
     "evil.example@127.0.0.1", "localhost/evil", "", "[::1", "2130706433", "localhost#", "localhost?", "localhost\\x"],
)  # fmt: skip
def test_other_hosts_are_refused_on_every_route(server: Any, host: str) -> None:
    for path in ("/health", "/", "/v1/model", "/openapi.json"):
        assert server.get(path, headers={"Host": host}).status_code == 400
    assert server.post("/v1/predict", headers={"Host": host}, files=files(IMAGE)).status_code == 400
    assert handshake(server, headers={"Host": host}) == 400


def test_allowed_host_is_accepted() -> None:
    with client(hosts=["Mien.example"]) as api:
        assert api.get("/health", headers={"Host": "mien.example:443"}).status_code == 200
        assert api.get("/health", headers={"Host": "evil.example"}).status_code == 400


FOREIGN = [
    "https://evil.example",
    "null",
    "http://127.0.0.1:9000",
    "https://127.0.0.1:8000",
    "http://localhost:8000",
    "",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_page_of_another_origin_cannot_post_or_stream(server: Any, origin: str) -> None:
    for route in ("/v1/predict", "/v1/annotate", "/nothing"):
        assert server.post(route, files=files(IMAGE), headers={"Origin": origin}).status_code == 403
    assert handshake(server, headers={"Origin": origin}) == 403


def test_own_page_and_programs_can_post_and_stream(server: Any) -> None:
    for headers in ({"Origin": URL}, {}):
        assert server.post("/v1/predict", files=files(IMAGE), headers=headers).status_code == 200
        assert handshake(server, headers=headers) == 101


def test_no_cors_headers_by_default(server: Any) -> None:
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (server.options("/v1/predict", headers=asking), server.get("/v1/model", headers=asking)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_allowed_origin_is_accepted_and_others_are_not() -> None:
    with client(origins=["https://page.example"], token=TOKEN) as api:
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        answer = api.options("/v1/predict", headers=asking | {"Origin": "https://page.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://page.example")
        answer = api.options("/v1/predict", headers=asking | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        for origin, status in (("https://page.example", 200), ("https://evil.example", 403)):
            answer = api.post("/v1/predict", files=files(IMAGE), headers=BEARER | {"Origin": origin})
            assert answer.status_code == status
            assert handshake(api, headers=BEARER | {"Origin": origin}) == (101 if status == 200 else 403)


@pytest.mark.parametrize(
    "given",
    [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}, {"Authorization": b"Basic " + TOKEN.encode()},
     {"Authorization": TOKEN.encode()}, {"Authorization": f"Bearer {TOKEN}x".encode()}],
)  # fmt: skip
def test_private_routes_need_the_token(given: dict[str, Any]) -> None:
    with client(token=TOKEN) as api:
        for method, path in (
            ("GET", "/v1/model"),
            ("GET", "/metrics"),
            ("POST", "/v1/predict"),
            ("POST", "/v1/annotate"),
        ):
            answer = api.request(method, path, headers=given)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert api.get("/v1/predict?token=" + TOKEN, headers=given).status_code == 401  # addresses end up in logs
        assert handshake(api, headers=given) == 401
        assert handshake(api, STREAM + "?token=wrong", headers=given) == 401
        assert handshake(api, subprotocols=["mien", "bearer.!", "bearer.d3Jvbmc"], headers=given) == 401


def test_token_opens_all_routes() -> None:
    with client(token=TOKEN) as api:
        assert api.get("/v1/model", headers=BEARER).status_code == 200
        assert api.get("/metrics", headers={"Authorization": f"bearer {TOKEN}".encode()}).status_code == 200
        assert api.post("/v1/predict", files=files(IMAGE), headers=BEARER).status_code == 200
        assert handshake(api, headers=BEARER) == 101


def test_stream_accepts_the_token_in_query_and_subprotocol() -> None:
    coded = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    with client(token=TOKEN) as api:
        assert handshake(api, STREAM + "?token=a-token%2Fwith%2Bsigns%3D%C3%A4") == 101
        with api.websocket_connect(STREAM, subprotocols=["mien", f"bearer.{coded}"]) as socket:
            assert socket.accepted_subprotocol == "mien"  # never the token


def test_public_routes_need_no_token(page: Path) -> None:
    with client(token=TOKEN, static=page) as api:
        for path in ("/health", "/ready", "/openapi.json", "/", "/models/own.onnx"):
            assert api.get(path).status_code == 200


def test_proxy_prefix_does_not_bypass_the_token() -> None:
    with client(token=TOKEN) as api:
        api.app.root_path = "/faces"
        assert api.get("/faces/v1/model").status_code == 401
        assert api.get("/v1/model").status_code == 401
        assert api.get("/faces/v1/model", headers=BEARER).status_code == 200


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def noting(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(middleware, "hmac", type("Hmac", (), {"compare_digest": staticmethod(noting)}))
    with client(token="right") as api:
        assert api.get("/v1/model", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert compared == [(b"wrong", b"right")]


WRONG = ["wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "", "x" * 60_000, "\0", f" {TOKEN} ", '"><script>']


def test_answers_to_wrong_tokens_are_identical(caplog: pytest.LogCaptureFixture) -> None:
    answers = set()
    with client(token=TOKEN) as api:
        for wrong in WRONG:
            headers = {"Authorization": b"Bearer x" + wrong.encode()}
            for path in ("/v1/model", "/metrics", "/v1/nothing"):
                answer = api.get(path, headers=headers)
                answers.add((answer.status_code, answer.text, tuple(answer.headers.items())))
            assert handshake(api, STREAM + f"?token=x{quote(wrong)}") == 401
        assert api.get("/v1/model", headers=BEARER).status_code == 200  # wrong tokens lock nobody out
    ((status, text, headers),) = answers
    assert status == 401
    assert not any(secret in str((text, headers)) + caplog.text for secret in ("a-token", "<script", "wrong"))


def test_rate_limit_applies_to_streams() -> None:
    with client(limits={"rate": 0.01, "burst": 1}) as api:
        assert [handshake(api) for _ in range(2)] == [101, 429]


def test_every_answer_has_security_headers(page: Path) -> None:
    with client(token=TOKEN, static=page) as api:
        answers = {
            200: api.get("/"),
            401: api.get("/v1/model"),
            403: api.post("/", headers={"Origin": "null"}),
            404: api.get("/nothing"),
            400: api.get("/", headers={"Host": "evil.example"}),
            422: api.post("/v1/predict", headers=BEARER | {"Content-Type": "application/json"}),
        }
    for status, answer in answers.items():
        assert answer.status_code == status
        policy = {part.split()[0]: part.split()[1:] for part in answer.headers["content-security-policy"].split("; ")}
        assert policy["default-src"] == policy["connect-src"] == ["'self'"]
        assert policy["script-src"] == ["'self'", "'wasm-unsafe-eval'"]
        assert policy["worker-src"] == policy["media-src"] == ["'self'", "blob:"]
        assert policy["img-src"] == ["'self'", "data:", "blob:"]
        assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "camera=(self)" in answer.headers["permissions-policy"]
    assert answers[200].headers["cache-control"] == "no-cache"
    assert answers[401].headers["cache-control"] == "no-store"


@pytest.mark.parametrize("command", [["serve"], ["web"]])
def test_listens_on_loopback_by_default(command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard: list[str] = []
    monkeypatch.setattr(server_module, "run", lambda api, listening, limits: heard.append(listening.getsockname()[0]))
    monkeypatch.setattr("webbrowser.open", lambda address: None)
    monkeypatch.setattr("mien.serve.app.STATIC", tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/models.json").write_text("{}")
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor/ort.wasm.min.mjs").touch()
    monkeypatch.setenv("MIEN_TOKEN", TOKEN)  # with it any address would do
    assert main.app([*command, "--port", "0"], result_action="return_value") == 0
    assert heard == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.org", "127.0.0.1.example"])
@pytest.mark.parametrize("token", [None, "", "short", "x" * 15])
def test_other_addresses_need_a_long_token(host: str, token: str | None) -> None:
    with pytest.raises(ConfigError, match="MIEN_TOKEN"):
        bind(host, 0, token)


def test_bind_opens_a_port_once() -> None:
    for host, token in (("127.0.0.1", None), ("127.0.0.1", "short"), ("localhost", None), ("0.0.0.0", TOKEN)):
        with bind(host, 0, token) as listening:
            port = listening.getsockname()[1]
            assert url(listening) == f"http://127.0.0.1:{port}/"
            with pytest.raises(ConfigError, match="--port"):
                bind(host, port, token)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("192.0.2.1", 0)])
def test_unusable_address_is_a_config_error(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        bind(host, port, TOKEN)
