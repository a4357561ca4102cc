"""Who may ask: Host, Origin, token and rate, on HTTP and WebSocket; and the headers of every answer."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import WebSocketDenialResponse

from mien import ConfigError, cli
from mien.serve import security
from mien.serve import server as server_module
from mien.serve.server import bind, url
from test_serve import PICTURE, URL, client, files
from test_serve import page as page  # a fixture
from test_serve import server as server  # a fixture

STREAM = URL.replace("http", "ws") + "/v1/stream"
TOKEN = "a-token/with+signs=ä"
BEARER = {"Authorization": f"Bearer {TOKEN}".encode()}


def knock(made: Any, address: str = STREAM, **more: Any) -> int:
    """The status of a WebSocket's handshake."""
    try:
        with made.websocket_connect(address, **more):
            return 101
    except WebSocketDenialResponse as refusal:
        return refusal.status_code


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:8000", "localhost.", "[::1]:8000", "10.1.2.3:80"]
)
def test_a_host_that_names_this_server_is_served(server: Any, host: str) -> None:
    assert server.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example",
     "evil.example@127.0.0.1", "localhost/evil", "", "[::1", "2130706433", "localhost#", "localhost?", "localhost\\x"],
)  # fmt: skip
def test_dns_rebinding_is_refused_on_every_route(server: Any, host: str) -> None:
    for path in ("/health", "/", "/v1/model", "/openapi.json"):
        assert server.get(path, headers={"Host": host}).status_code == 421
    assert server.post("/v1/predict", headers={"Host": host}, files=files(PICTURE)).status_code == 421
    assert knock(server, headers={"Host": host}) == 421


def test_two_host_headers_are_refused(server: Any) -> None:
    assert server.get("/health", headers=[("Host", "127.0.0.1"), ("Host", "evil.example")]).status_code == 421


def test_a_name_can_be_allowed() -> None:
    with client(hosts=["Mien.example"]) as made:
        assert made.get("/health", headers={"Host": "mien.example:443"}).status_code == 200
        assert made.get("/health", headers={"Host": "evil.example"}).status_code == 421


FOREIGN = [
    "https://evil.example",
    "null",
    "http://127.0.0.1:9000",
    "https://127.0.0.1:8000",
    "http://localhost:8000",
    "",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_elsewhere_can_neither_post_nor_stream(server: Any, origin: str) -> None:
    for route in ("/v1/predict", "/v1/annotate", "/nothing"):
        assert server.post(route, files=files(PICTURE), headers={"Origin": origin}).status_code == 403
    assert knock(server, headers={"Origin": origin}) == 403


def test_the_own_page_and_programs_may_post_and_stream(server: Any) -> None:
    for headers in ({"Origin": URL}, {}):
        assert server.post("/v1/predict", files=files(PICTURE), headers=headers).status_code == 200
        assert knock(server, headers=headers) == 101


def test_cors_is_off(server: Any) -> None:
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (server.options("/v1/predict", headers=asking), server.get("/v1/model", headers=asking)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_allowed_origin_may_and_others_still_may_not() -> None:
    with client(origins=["https://page.example"], token=TOKEN) as made:
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        answer = made.options("/v1/predict", headers=asking | {"Origin": "https://page.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://page.example")
        answer = made.options("/v1/predict", headers=asking | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        for origin, status in (("https://page.example", 200), ("https://evil.example", 403)):
            answer = made.post("/v1/predict", files=files(PICTURE), headers=BEARER | {"Origin": origin})
            assert answer.status_code == status
            assert knock(made, headers=BEARER | {"Origin": origin}) == (101 if status == 200 else 403)


@pytest.mark.parametrize(
    "given",
    [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}, {"Authorization": b"Basic " + TOKEN.encode()},
     {"Authorization": TOKEN.encode()}, {"Authorization": f"Bearer {TOKEN}x".encode()}],
)  # fmt: skip
def test_without_the_token_nothing_private_is_told(given: dict[str, Any]) -> None:
    with client(token=TOKEN) as made:
        for method, path in (
            ("GET", "/v1/model"),
            ("GET", "/metrics"),
            ("POST", "/v1/predict"),
            ("POST", "/v1/annotate"),
        ):
            answer = made.request(method, path, headers=given)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert made.get("/v1/predict?token=" + TOKEN, headers=given).status_code == 401  # addresses end up in logs
        assert knock(made, headers=given) == 401
        assert knock(made, STREAM + "?token=wrong", headers=given) == 401
        assert knock(made, subprotocols=["mien", "bearer.!", "bearer.d3Jvbmc"], headers=given) == 401


def test_with_the_token_everything_is_answered() -> None:
    with client(token=TOKEN) as made:
        assert made.get("/v1/model", headers=BEARER).status_code == 200
        assert made.get("/metrics", headers={"Authorization": f"bearer {TOKEN}".encode()}).status_code == 200
        assert made.post("/v1/predict", files=files(PICTURE), headers=BEARER).status_code == 200
        assert knock(made, headers=BEARER) == 101


def test_a_page_can_give_the_token_to_the_stream() -> None:
    coded = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    with client(token=TOKEN) as made:
        assert knock(made, STREAM + "?token=a-token%2Fwith%2Bsigns%3D%C3%A4") == 101
        with made.websocket_connect(STREAM, subprotocols=["mien", f"bearer.{coded}"]) as socket:
            assert socket.accepted_subprotocol == "mien"  # never the token


def test_health_description_and_page_need_no_token(page: Path) -> None:
    with client(token=TOKEN, static=page) as made:
        for path in ("/health", "/ready", "/openapi.json", "/", "/models/own.onnx"):
            assert made.get(path).status_code == 200


def test_a_prefix_given_by_a_proxy_does_not_open_the_door() -> None:
    with client(token=TOKEN) as made:
        made.app.root_path = "/faces"
        assert made.get("/faces/v1/model").status_code == 401
        assert made.get("/v1/model").status_code == 401
        assert made.get("/faces/v1/model", headers=BEARER).status_code == 200


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def noting(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(security, "hmac", type("Hmac", (), {"compare_digest": staticmethod(noting)}))
    with client(token="right") as made:
        assert made.get("/v1/model", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert compared == [(b"wrong", b"right")]


WRONG = ["wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "", "x" * 60_000, "\0", f" {TOKEN} ", '"><script>']


def test_a_refused_token_learns_nothing_from_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    answers = set()
    with client(token=TOKEN) as made:
        for wrong in WRONG:
            headers = {"Authorization": b"Bearer x" + wrong.encode()}
            for path in ("/v1/model", "/metrics", "/v1/nothing"):
                answer = made.get(path, headers=headers)
                answers.add((answer.status_code, answer.text, tuple(answer.headers.items())))
            assert knock(made, STREAM + f"?token=x{quote(wrong)}") == 401
        assert made.get("/v1/model", headers=BEARER).status_code == 200  # who has the token is not locked out by others
    ((status, text, headers),) = answers
    assert status == 401
    assert not any(secret in str((text, headers)) + caplog.text for secret in ("a-token", "<script", "wrong"))


def test_the_rate_counts_for_streams_too() -> None:
    with client(limits={"rate": 0.01, "burst": 1}) as made:
        assert [knock(made) for _ in range(2)] == [101, 429]


def test_every_answer_has_the_security_headers(page: Path) -> None:
    with client(token=TOKEN, static=page) as made:
        answers = {
            200: made.get("/"),
            401: made.get("/v1/model"),
            403: made.post("/", headers={"Origin": "null"}),
            404: made.get("/nothing"),
            421: made.get("/", headers={"Host": "evil.example"}),
            422: made.post("/v1/predict", headers=BEARER | {"Content-Type": "application/json"}),
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
def test_by_default_it_listens_on_this_machine_alone(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(server_module, "run", lambda made, listening, limits: heard.append(listening.getsockname()[0]))
    monkeypatch.setattr("webbrowser.open", lambda address: None)
    monkeypatch.setattr("mien.serve.app.STATIC", tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/models.json").write_text("{}")
    monkeypatch.setenv("MIEN_TOKEN", TOKEN)  # with it any address would do
    assert cli.app([*command, "--port", "0"], result_action="return_value") == 0
    assert heard == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.org", "127.0.0.1.example"])
@pytest.mark.parametrize("token", [None, "", "short", "x" * 15])
def test_without_a_token_that_is_hard_to_guess_it_listens_on_this_machine_alone(host: str, token: str | None) -> None:
    with pytest.raises(ConfigError, match="MIEN_TOKEN"):
        bind(host, 0, token)


def test_it_listens_on_loopback_without_and_elsewhere_with_a_token() -> None:
    for host, token in (("127.0.0.1", None), ("127.0.0.1", "short"), ("localhost", None), ("0.0.0.0", TOKEN)):
        with bind(host, 0, token) as listening:
            port = listening.getsockname()[1]
            assert url(listening) == f"http://127.0.0.1:{port}/"
            with pytest.raises(ConfigError, match="--port"):
                bind(host, port, token)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("192.0.2.1", 0)])
def test_a_place_where_it_cannot_listen_is_a_config_error(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        bind(host, port, TOKEN)
