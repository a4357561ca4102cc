"""What the routes answer: pictures, limits, nonsense, figures, the page. Who may ask is in test_security."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import tempfile
import threading
import weakref
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx2 as httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mien
from mien import Pipeline, draw, image
from mien.serve import engine, schemas
from mien.serve.app import create_app
from mien.serve.limits import Limits, RateLimit
from test_pipeline import PORTRAIT, Boxes, Brightness

URL = "http://127.0.0.1:8000"
LEFT, RIGHT = (10.0, 10.0, 50.0, 50.0), (70.0, 10.0, 110.0, 50.0)


@dataclass
class Gated(Boxes):
    """A detector that waits until its gate is open."""

    boxes: list[tuple[float, float, float, float]] = field(default_factory=lambda: [LEFT])
    gate: threading.Event = field(default_factory=threading.Event)
    entered: int = 0

    def __call__(self, image: np.ndarray) -> list[mien.Face]:
        self.entered += 1
        assert self.gate.wait(10)
        return super().__call__(image)


class Broken(Boxes):
    def __call__(self, image: np.ndarray) -> list[mien.Face]:
        raise RuntimeError("/secret/path")


def halves(width: int = 120) -> np.ndarray:
    """Black on the left, white on the right."""
    picture = np.zeros((60, width, 3), np.uint8)
    picture[:, width // 2 :] = 255
    return picture


def encoded(picture: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A gray PNG that declares this size."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    body = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


PICTURE = encoded(halves())


def small(boxes: list[tuple[float, float, float, float]] | None = None) -> Pipeline:
    return Pipeline(Boxes([RIGHT, LEFT] if boxes is None else boxes), Brightness())


@contextmanager
def client(pipeline: Pipeline | None = None, **settings: Any) -> Iterator[Any]:
    """A client of a server with fakes; `limits` and what else create_app takes. Errors of the server raise."""
    limits = Limits(**{"threads": 1, "max_wait": 0.0, **settings.pop("limits", {})})
    settings.setdefault("static", Path("/nowhere"))
    with TestClient(create_app(pipeline or small(), limits=limits, **settings), base_url=URL) as made:
        yield made


@asynccontextmanager
async def concurrent(pipeline: Pipeline, **limits: Any) -> AsyncIterator[tuple[Any, Any]]:
    """An asynchronous client and the engine behind it."""
    app = create_app(pipeline, limits=Limits(**limits), static=Path("/nowhere"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as made:
        yield made, app.state.serving.engine
    await app.state.serving.engine.close()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """One server for all tests that change nothing in it."""
    with client() as made:
        yield made


def files(*contents: bytes, name: str = "a.png") -> list[tuple[str, tuple[str, bytes]]]:
    return [("pictures", (name, content)) for content in contents]


def as_json(*contents: bytes) -> dict[str, Any]:
    return {"pictures": [{"data": base64.b64encode(content).decode()} for content in contents]}


# Pictures


def test_pictures_of_a_form_are_answered_in_their_order(server: Any) -> None:
    flipped = encoded(np.ascontiguousarray(halves()[:, ::-1]))
    answer = server.post("/v1/predict", files=[*files(PICTURE, name="a.png"), *files(flipped, name="b.png")])
    assert answer.status_code == 200
    a, b = answer.json()["results"]
    assert [(r["name"], r["index"], r["width"], r["height"], r["error"]) for r in (a, b)] == [
        ("a.png", 0, 120, 60, None),
        ("b.png", 1, 120, 60, None),
    ]
    assert [face["emotion"] for face in a["faces"]] == ["bright", "dark"]
    assert [face["emotion"] for face in b["faces"]] == ["dark", "bright"]


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_json_gives_what_a_form_gives(server: Any, prefix: str) -> None:
    data = prefix + base64.b64encode(PICTURE).decode()
    by_json = server.post("/v1/predict", json={"pictures": [{"data": data, "name": "a.png"}]})
    assert by_json.status_code == 200
    assert by_json.json() == server.post("/v1/predict", files=files(PICTURE)).json()


def test_the_answer_is_the_pipeline_s() -> None:
    pipeline = mien.load()
    with client(pipeline) as made:
        (result,) = made.post("/v1/predict", files=files(PORTRAIT.read_bytes())).json()["results"]
    assert result["faces"] == pipeline(PORTRAIT).to_dict()["faces"]
    assert len(result["faces"]) == 1


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(server: Any) -> None:
    answer = server.post("/v1/predict", files=files(PICTURE, b"text", PICTURE))
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [len(r["faces"]) for r in results] == [2, 0, 2]
    assert "not a picture" in results[1]["error"]


def test_faces_over_the_limit_are_left_out_and_counted() -> None:
    with client(limits={"faces": 1}) as made:
        (result,) = made.post("/v1/predict", files=files(PICTURE)).json()["results"]
    assert [face["box"] for face in result["faces"]] == [list(RIGHT)]
    assert result["left_out"] == 1


def test_a_picture_without_a_face_is_a_success() -> None:
    pipeline = small([])
    with client(pipeline) as made:
        (result,) = made.post("/v1/predict", files=files(PICTURE)).json()["results"]
    assert (result["faces"], result["error"]) == ([], None)


def test_concurrent_requests_share_one_call_of_the_network() -> None:
    async def scenario() -> None:
        async with concurrent(Pipeline(Boxes([LEFT]), classifier), max_batch=8, max_wait=3600.0) as (made, _):
            answers = await asyncio.gather(*(made.post("/v1/predict", files=files(PICTURE)) for _ in range(8)))
        assert [answer.status_code for answer in answers] == [200] * 8

    classifier = Brightness()
    asyncio.run(scenario())
    assert classifier.calls == [8]


def test_annotate_draws_what_draw_draws(server: Any) -> None:
    answer = server.post("/v1/annotate?format=png", files=files(PICTURE))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    drawn = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(drawn, draw.draw(small()(halves())))


def test_annotate_gives_a_jpeg_without_the_metadata_of_the_original(server: Any) -> None:
    exif = b"\xff\xe1\x00\x14Exif\x00\x00secret-place"
    original = encoded(halves(), ".jpg")
    answer = server.post("/v1/annotate", json=as_json(original[:2] + exif + original[2:]))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.content.startswith(b"\xff\xd8")
    assert b"secret-place" not in answer.content
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (60, 120, 3)


def test_annotate_takes_one_picture_and_two_formats(server: Any) -> None:
    assert server.post("/v1/annotate", files=files(PICTURE, PICTURE)).status_code == 413
    answer = server.post("/v1/annotate?format=<script>", files=files(PICTURE))
    assert answer.status_code == 422
    assert answer.json() == {"detail": "query.format: Input should be 'jpeg' or 'png'"}


def test_a_picture_too_wide_for_a_jpeg_is_refused(server: Any) -> None:
    wide = encoded(np.zeros((2, 66_000, 3), np.uint8))
    answer = server.post("/v1/annotate", files=files(wide))
    assert answer.status_code == 422
    assert "jpeg" in answer.json()["detail"]
    assert server.post("/v1/annotate?format=png", files=files(wide)).status_code == 200


# Faces that were cut out by somebody else


@pytest.mark.parametrize("size", [(48, 48), (70, 90), (31, 20), (700, 600)])
def test_a_crop_is_one_face_whatever_the_detector_says(size: tuple[int, int]) -> None:
    pipeline = mien.load()
    picture = cv2.resize(image.decode(PORTRAIT.read_bytes(), "portrait")[60:420, 90:450], size)
    with client(Pipeline(Boxes([]), pipeline.classifier)) as made:
        (result,) = made.post("/v1/predict?crops=true", files=files(encoded(picture))).json()["results"]
        assert made.post("/v1/predict", files=files(encoded(picture))).json()["results"][0]["faces"] == []
    (face,) = result["faces"]
    assert (face["box"], face["score"], face["landmarks"]) == ([0, 0, *size], 1, [])
    expected = pipeline.classifier(image.gray48(picture)[None])[0]
    np.testing.assert_allclose(list(face["probabilities"].values()), expected, atol=1e-6)


def test_crops_of_concurrent_requests_share_one_call_of_the_network() -> None:
    async def scenario() -> None:
        async with concurrent(Pipeline(Boxes([]), classifier), max_batch=8, max_wait=3600.0) as (made, _):
            asked = (made.post("/v1/predict?crops=true", files=files(dark, bright)) for _ in range(4))
            answers = await asyncio.gather(*asked)
        for answer in answers:
            assert [result["faces"][0]["emotion"] for result in answer.json()["results"]] == ["dark", "bright"]

    dark, bright = (encoded(np.full((48, 48, 3), value, np.uint8)) for value in (20, 230))
    classifier = Brightness()
    asyncio.run(scenario())
    assert classifier.calls == [8]


def test_a_small_crop_waits_for_no_thread_and_a_large_one_does() -> None:
    async def scenario() -> None:
        detector = Gated()
        async with concurrent(Pipeline(detector, Brightness()), threads=1, max_wait=0.0) as (made, _):
            held = asyncio.create_task(made.post("/v1/predict", files=files(PICTURE)))
            await until(lambda: detector.entered == 1)
            large = asyncio.create_task(made.post("/v1/predict?crops=1", files=files(encoded(halves(1000)))))
            assert (await made.post("/v1/predict?crops=1", files=files(PICTURE))).status_code == 200
            assert not large.done()
            detector.gate.set()
            assert [(await each).status_code for each in (held, large)] == [200, 200]

    asyncio.run(scenario())


def test_whether_pictures_are_crops_is_a_yes_or_no(server: Any) -> None:
    answer = server.post("/v1/predict?crops=perhaps", files=files(PICTURE))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("query.crops: ")


# Nonsense

JPEG = encoded(halves(), ".jpg")
BAD_PICTURES = {
    "empty": b"",
    "text": b"this is no picture",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "zip": b"PK\x03\x04" + bytes(500),
    "cut short": JPEG[: len(JPEG) // 2],
    "cut short in the header": JPEG[:20],
    "cut short png": PICTURE[: len(PICTURE) // 2],
    "damaged": PICTURE[:60] + b"\xff" * 200 + PICTURE[-12:],
    "gif header alone": b"GIF89a\x10\x00\x10\x00",
    "huge by declaration": png(60_000, 60_000),
    "huge in one dimension": png(2**31 - 1, 1),
    "bomb": png(20_000, 20_000, zlib.compress(bytes(10_000_000), 9)),
    "garbage of 10 MB": np.random.default_rng(0).bytes(10_000_000),
    "garbage behind a jpeg marker": b"\xff\xd8" + np.random.default_rng(1).bytes(100_000) + b"\xff\xd9",
    "zero size": png(0, 0),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
@pytest.mark.parametrize("route", ["/v1/predict", "/v1/predict?crops=true", "/v1/annotate"])
def test_a_bad_picture_is_422_and_says_why(server: Any, route: str, kind: str) -> None:
    answer = server.post(route, files=files(BAD_PICTURES[kind], name="x.jpg"))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("x.jpg: ")


def test_a_mislabelled_picture_is_read_by_its_content(server: Any) -> None:
    answer = server.post("/v1/predict", files=[("pictures", ("a.jpg", PICTURE, "text/html"))])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("crops", ["false", "true"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30_000), (30_000, 1), (2, 2), (5, 3000)])
def test_odd_shapes_go_through_the_real_detector_and_as_crops(shape: tuple[int, int], crops: str) -> None:
    with client(mien.load()) as made:
        odd = files(encoded(np.full((*shape, 3), 120, np.uint8)))
        answer = made.post(f"/v1/predict?crops={crops}", files=odd)
    assert answer.status_code == 200
    assert answer.json()["results"][0]["height"] == shape[0]


FORM = "multipart/form-data; boundary=x"
BAD_BODIES = {
    "nothing": (None, b"", 415),
    "another type": ("image/jpeg", JPEG, 415),
    "plain text": ("text/plain", b"{}", 415),
    "urlencoded": ("application/x-www-form-urlencoded", b"pictures=1", 415),
    "no boundary": ("multipart/form-data", b"--x\r\n", 422),
    "empty form": (FORM, b"", 422),
    "form without parts": (FORM, b"--x--\r\n", 422),
    "form of garbage": (FORM, bytes(range(256)) * 100, 422),
    "form with another boundary": (
        FORM,
        b'--y\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n1',
        422,
    ),
    "part without a name": (FORM, b"--x\r\nContent-Type: image/png\r\n\r\n1\r\n--x--\r\n", 422),
    "field that is no file": (FORM, b'--x\r\nContent-Disposition: form-data; name="pictures"\r\n\r\n1\r\n--x--', 422),
    "form cut short": (FORM, b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n123', 422),
    "endless header": (FORM, b"--x\r\n" + b"A" * 100_000, 422),
    "empty json": ("application/json", b"", 422),
    "no json": ("application/json", b"\xff\xfe{", 422),
    "json of another shape": ("application/json", b"[1, 2]", 422),
    "json without pictures": ("application/json", b'{"pictures": []}', 422),
    "json with a number": ("application/json", b'{"pictures": [{"data": 5}]}', 422),
    "json with more": ("application/json", b'{"pictures": [{"data": "", "path": "/etc/passwd"}]}', 422),
    "deep json": ("application/json", b"[" * 100_000, 422),
    "malformed base64": ("application/json", b'{"pictures": [{"data": "a!b"}]}', 422),
    "base64 not padded": ("application/json", b'{"pictures": [{"data": "abc"}]}', 422),
    "base64 beyond ascii": ("application/json", '{"pictures": [{"data": "äöü="}]}'.encode(), 422),
    "base64 of nothing": ("application/json", b'{"pictures": [{"data": ""}]}', 422),
    "unfinished surrogate": ("application/json", b'{"pictures": [{"data": "", "name": "\\ud800"}]}', 422),
}


@pytest.mark.parametrize("kind", BAD_BODIES)
@pytest.mark.parametrize("route", ["/v1/predict", "/v1/annotate"])
def test_a_malformed_request_is_refused_with_a_reason(server: Any, route: str, kind: str) -> None:
    content_type, body, status = BAD_BODIES[kind]
    answer = server.post(route, content=body, headers={"Content-Type": content_type} if content_type else {})
    assert answer.status_code == status
    assert 10 < len(answer.json()["detail"]) < 500


def test_a_compressed_body_is_refused_not_unpacked(server: Any) -> None:
    bomb = zlib.compress(bytes(5_000_000))
    headers = {"Content-Type": "application/json", "Content-Encoding": "deflate"}
    assert server.post("/v1/predict", content=bomb, headers=headers).status_code == 415


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=400) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps),
    kind=st.sampled_from([FORM, "application/json", "multipart/form-data; boundary=", "multipart/form-data;charset=é"]),
    head=st.sampled_from(
        [b"", b"--x\r\n", b'--x\r\nContent-Disposition: form-data; name="p"; filename="', b'{"pictures":']
    ),
)
def test_no_body_leads_to_a_500(server: Any, body: bytes | str, kind: str, head: bytes) -> None:
    content = head + (body if isinstance(body, bytes) else body.encode())
    answer = server.post("/v1/predict", content=content, headers={"Content-Type": kind.encode("latin-1")})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/nothing", "/%00", "/..%2f..%2fetc%2fpasswd", "/" + "a" * 5000])
def test_other_paths_and_methods_are_refused(server: Any, path: str) -> None:
    assert server.get(path).status_code in (404, 405)
    assert server.delete(path).status_code in (404, 405)


# Limits


def test_a_body_over_the_limit_is_413_whether_it_says_so_or_not() -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(1000)

    with client(limits={"body_bytes": 20_000}) as made:
        assert made.post("/v1/predict", files=files(bytes(20_000))).status_code == 413
        answer = made.post("/v1/predict", content=chunks(), headers={"Content-Type": FORM})
        assert answer.status_code == 413
        assert "20000" in answer.json()["detail"]
        assert made.post("/v1/predict", files=files(PICTURE)).status_code == 200


def test_too_many_pictures_are_413() -> None:
    with client(limits={"pictures": 2}) as made:
        assert made.post("/v1/predict", files=files(PICTURE, PICTURE)).status_code == 200
        assert made.post("/v1/predict", files=files(PICTURE, PICTURE, PICTURE)).status_code == 413
        assert made.post("/v1/predict", json=as_json(PICTURE, PICTURE, PICTURE)).status_code == 413


def test_pixels_over_the_limit_are_refused_by_declaration() -> None:
    with client(limits={"pixels": 7000}) as made:
        answer = made.post("/v1/predict", files=files(PICTURE))
        assert answer.status_code == 422
        assert "120 x 60 pixels is more than the limit of 7000" in answer.json()["detail"]
        assert made.post("/v1/predict?crops=true", files=files(PICTURE)).json() == answer.json()


def test_a_full_queue_is_503_and_what_was_taken_is_answered() -> None:
    async def scenario() -> None:
        detector = Gated()
        async with concurrent(Pipeline(detector, Brightness()), queue=2, pictures=2) as (made, engine):
            taken = [asyncio.create_task(made.post("/v1/predict", files=files(PICTURE))) for _ in range(2)]
            await until(lambda: engine.inside == 2)
            for route in ("/v1/predict", "/v1/annotate"):
                refused = await made.post(route, files=files(PICTURE))
                assert refused.status_code == 503
                assert int(refused.headers["retry-after"]) >= 1
            detector.gate.set()
            assert [answer.status_code for answer in await asyncio.gather(*taken)] == [200, 200]
            assert (await made.post("/v1/predict", files=files(PICTURE, PICTURE))).status_code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("query", ["", "?crops=true"])
def test_pictures_that_wait_for_the_classifier_hold_no_pixels(monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    class Waiting(Brightness):
        gate = threading.Event()

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            assert self.gate.wait(10)
            return super().__call__(crops)

    decoded: list[weakref.ref[np.ndarray]] = []

    def decode(*given: Any) -> np.ndarray:
        pixels = original(*given)
        decoded.append(weakref.ref(pixels))
        return pixels

    async def scenario() -> None:
        classifier = Waiting()
        async with concurrent(Pipeline(Boxes([LEFT]), classifier), max_wait=0.0) as (made, _):
            asked = [asyncio.create_task(made.post(f"/v1/predict{query}", files=files(PICTURE))) for _ in range(3)]
            await until(lambda: len(decoded) == 3 and all(pixels() is None for pixels in decoded))
            classifier.gate.set()
            for answer in await asyncio.gather(*asked):
                (result,) = answer.json()["results"]
                assert (result["width"], result["height"], len(result["faces"])) == (120, 60, 1)

    original = image.decode
    monkeypatch.setattr(image, "decode", decode)
    asyncio.run(scenario())


def test_work_that_takes_too_long_is_503() -> None:
    async def scenario() -> None:
        detector = Gated()
        async with concurrent(Pipeline(detector, Brightness()), work_seconds=0.05) as (made, engine):
            answer = await made.post("/v1/predict", files=files(PICTURE))
            assert (answer.status_code, engine.inside) == (503, 0)
            assert "retry-after" in answer.headers
            detector.gate.set()

    asyncio.run(scenario())


def test_a_body_that_comes_too_slowly_is_408_and_the_connection_is_closed() -> None:
    async def scenario() -> None:
        async def slow() -> AsyncIterator[bytes]:
            yield b"--x\r\n"
            await asyncio.sleep(60)

        async with concurrent(small(), read_seconds=0.05) as (made, _):
            answer = await made.post("/v1/predict", content=slow(), headers={"Content-Type": FORM})
            assert answer.status_code == 408
            assert answer.headers["connection"] == "close"

    asyncio.run(scenario())


def test_uploads_over_the_memory_limit_are_503_and_give_it_back() -> None:
    with client(limits={"buffered_bytes": 5000}) as made:
        assert made.post("/v1/predict", files=files(bytes(6000))).status_code == 503
        assert made.app.state.serving.intake.held == 0
        assert made.post("/v1/predict", files=files(PICTURE)).status_code == 200
        assert made.app.state.serving.intake.held == 0


def test_a_client_that_asks_too_often_is_429() -> None:
    with client(limits={"rate": 0.01, "burst": 2}) as made:
        answers = [made.post("/v1/predict", files=files(PICTURE)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["retry-after"]) > 50
        assert made.get("/health").status_code == 200


def test_a_bucket_fills_again_and_each_client_has_its_own() -> None:
    now = [0.0]
    rate = RateLimit(2.0, 3, lambda: now[0])
    assert [rate.wait("10.0.0.1") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rate.wait("10.0.0.2") == 0
    now[0] = 0.5
    assert [rate.wait("10.0.0.1") for _ in range(2)] == [0, 0.5]
    now[0] = 1000.0
    assert [rate.wait("10.0.0.1") for _ in range(4)] == [0, 0, 0, 0.5]


def test_one_ipv6_network_is_one_client_and_few_clients_are_remembered() -> None:
    rate = RateLimit(1.0, 1, lambda: 0.0, clients=2)
    assert [rate.wait(f"2001:db8::{k}") for k in range(2)] == [0, 1]
    assert rate.wait("2001:db8:0:1::1") == 0
    assert rate.wait("192.0.2.1") == 0
    assert rate.wait("2001:db8::9") == 0  # the first was forgotten


@pytest.mark.parametrize("wrong", [{"pixels": 0}, {"rate": -1.0}, {"read_seconds": float("nan")}, {"pictures": 500}])
def test_impossible_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(mien.ConfigError, match=next(iter(wrong))):
        Limits(**wrong)


# Privacy


def test_no_picture_touches_the_disk(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", never)
    monkeypatch.setattr(tempfile, "TemporaryFile", never)
    large = encoded(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8))
    assert len(large) > 2 * 1024 * 1024
    assert server.post("/v1/predict", files=files(large)).status_code == 200


@pytest.mark.parametrize(
    ("given_name", "shown_name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\me.jpg", "me.jpg"),
        ("a\u202egpj.exe", "a?gpj.exe"),
        ("line\nbreak\x00\x1b[31m", "line?break??[31m"),
        ("n" * 5000, "n" * 100),
        ("\ud83d\ude00 ä.jpg".encode("utf-16", "surrogatepass").decode("utf-16"), "😀 ä.jpg"),
    ],
)
def test_names_of_uploads_are_shown_harmless_and_never_used(
    server: Any, given_name: str, shown_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    item = {"name": given_name, "data": base64.b64encode(PICTURE).decode()}
    answer = server.post("/v1/predict", json={"pictures": [item]})
    assert answer.json()["results"][0]["name"] == shown_name
    server.post("/v1/predict", json={"pictures": [{"name": given_name, "data": ""}]})
    assert list(tmp_path.iterdir()) == []
    assert shown_name not in caplog.text


def test_an_unforeseen_error_tells_nothing_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(Pipeline(Broken([]), Brightness()), static=Path("/nowhere"))
    made = TestClient(app, base_url=URL)  # not started, since the warm-up would fail
    answer = made.post("/v1/predict", files=files(PICTURE, name="private.jpg"))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unforeseen error on /v1/predict" in caplog.text
    assert "private.jpg" not in caplog.text
    assert made.get("/health").status_code == 200


# What the server tells about itself


def test_model_tells_what_answers() -> None:
    with client(mien.load()) as made:
        told = made.get("/v1/model").json()
    classifier = mien.load().classifier
    assert told["labels"] == list(classifier.labels)
    assert told["sha256"] == classifier.sha256  # type: ignore[attr-defined]
    assert (told["name"], told["detector"]) == (classifier.name, "yunet")  # type: ignore[attr-defined]
    assert told["version"] == classifier.metadata["version"]  # type: ignore[attr-defined]
    assert told["uncertain_below"] == classifier.uncertain_below
    assert told["input"] == {"name": "crops", "dtype": "uint8", "shape": ["N", 48, 48]}
    assert told["limits"]["pictures"] == 16


def test_ready_is_told_after_the_warm_up_alone() -> None:
    classifier = Brightness()
    made = TestClient(create_app(Pipeline(Boxes([]), classifier), static=Path("/nowhere")), base_url=URL)
    assert made.get("/ready").status_code == 503
    assert made.get("/health").json() == {"status": "ok"}
    with made:
        assert made.get("/ready").json() == {"status": "ready"}
        assert classifier.calls == [1]


def test_a_server_s_networks_do_not_spin_between_calls() -> None:
    classifier: Any = engine.load("rep").classifier
    options = classifier._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_as_many_pictures_are_searched_at_once_as_the_process_has_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("mien.runtime.cores", lambda: 3)
    assert engine.Engine(small(), Limits())._threads == 3


def test_warm_up_reaches_every_thread() -> None:
    threads = set()

    class Noting(Boxes):
        def __call__(self, image: np.ndarray) -> list[mien.Face]:
            threads.add(threading.get_ident())
            return []

    with client(Pipeline(Noting([]), Brightness()), limits={"threads": 3}):
        assert len(threads) == 3


def test_shutdown_takes_nothing_more_and_finishes_what_it_took() -> None:
    async def scenario() -> None:
        detector = Gated()
        async with concurrent(Pipeline(detector, Brightness())) as (made, engine):
            taken = asyncio.create_task(made.post("/v1/predict", files=files(PICTURE)))
            await until(lambda: detector.entered == 1)
            ending = asyncio.create_task(engine.close())
            await asyncio.sleep(0)
            refused = await made.post("/v1/predict", files=files(PICTURE))
            assert (refused.status_code, ending.done()) == (503, False)
            assert (await made.get("/ready")).status_code == 503
            detector.gate.set()
            assert (await taken).status_code == 200
            await ending

    asyncio.run(scenario())


def value(made: Any, name: str, **labels: str) -> float:
    return float(made.app.state.serving.telemetry.registry.get_sample_value(name, labels) or 0)


def test_metrics_count_requests_by_route_and_status() -> None:
    with client() as made:
        made.post("/v1/predict", files=files(PICTURE, PICTURE))
        made.post("/v1/predict", files=files(b""))
        for k in range(20):
            made.get(f"/nothing/{k}")
        made.request("BREW", "/nothing")
        text = made.get("/metrics").text
        predict = {"route": "/v1/predict", "method": "POST"}
        assert value(made, "mien_requests_total", **predict, status="200") == 1
        assert value(made, "mien_requests_total", **predict, status="422") == 1
        assert value(made, "mien_requests_total", route="other", method="GET", status="404") == 20
        assert value(made, "mien_requests_total", route="other", method="other", status="404") == 1
        assert value(made, "mien_request_seconds_count", route="/v1/predict") == 2
        assert value(made, "mien_batch_crops_sum") == 4
        assert value(made, "mien_picture_faces_bucket", le="2.0") == 2
        assert value(made, "mien_queue_pictures") == 0
    assert 'mien_requests_total{method="POST",route="/v1/predict",status="200"} 1.0' in text
    assert "/nothing" not in text


def test_the_description_s_examples_are_true(server: Any) -> None:
    described = server.get("/openapi.json").json()
    assert {"/v1/predict", "/v1/annotate", "/v1/model", "/health", "/ready", "/metrics"} <= described["paths"].keys()
    route = described["paths"]["/v1/predict"]["post"]
    assert [each["name"] for each in route["parameters"]] == ["crops"]
    example = route["requestBody"]["content"]["application/json"]["example"]
    answer = server.post("/v1/predict", json=example)
    assert answer.status_code == 200
    for path in ("/v1/predict", "/v1/annotate"):
        content = described["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        (picture,) = content["example"]["pictures"]
        assert server.post(path, files=files(picture.encode())).status_code == 200
    example = route["responses"]["200"]["content"]["application/json"]["example"]
    # FastAPI leaves out what is null.
    assert schemas.Prediction.model_validate(example).model_dump(exclude_none=True) == example
    assert example["results"][0].keys() | {"error"} == answer.json()["results"][0].keys()
    assert {"413", "415", "422", "429", "503"} <= route["responses"].keys()
    example = described["paths"]["/v1/model"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    assert schemas.ModelInfo.model_validate(example).model_dump() == example
    assert example.keys() == server.get("/v1/model").json().keys()
    assert example["labels"] == list(mien.EMOTIONS)


# The page


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "models").mkdir(parents=True)
    (folder / "index.html").write_text("<title>mien</title>")
    (folder / "app.mjs").write_text("export {}")
    (folder / "run.wasm").write_bytes(b"\0asm")
    (folder / "models" / "own.onnx").write_bytes(b"own")
    (tmp_path / "private.txt").write_text("private")
    return folder


def test_the_page_is_served_with_types_that_browsers_run(page: Path) -> None:
    with client(static=page) as made:
        kinds = {name: made.get(f"/{name}").headers["content-type"] for name in ("", "app.mjs", "run.wasm")}
        assert made.get("/").text == "<title>mien</title>"
    assert kinds[""].startswith("text/html")
    assert kinds["app.mjs"].startswith("text/javascript")
    assert kinds["run.wasm"] == "application/wasm"


@pytest.mark.parametrize("path", ["/../private.txt", "/%2e%2e/private.txt", "/..%5cprivate.txt", "/%00", "/a%00b"])
def test_nothing_beside_the_page_is_served(page: Path, path: str) -> None:
    with client(static=page) as made:
        assert made.get(path).status_code == 404


def test_networks_are_served_and_nothing_else_of_the_assets(page: Path) -> None:
    with client(static=page) as made:
        answer = made.get("/models/face_detection_yunet_2023mar.onnx")
        assert answer.content == (PORTRAIT.parent / "face_detection_yunet_2023mar.onnx").read_bytes()
        assert made.get("/models/own.onnx").content == b"own"
        assert made.get("/models/portrait.jpg").status_code == 404
        assert made.get("/models/..%2fprivate.onnx").status_code == 404


def test_without_a_page_the_api_still_answers(server: Any) -> None:
    assert server.get("/").status_code == 404
    assert server.get("/health").status_code == 200
