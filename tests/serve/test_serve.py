"""The routes: images, limits, malformed requests, metrics, the page."""

from __future__ import annotations

import asyncio
import base64
import gc
import io
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
from PIL import Image as Pil

import mien
from mien import Pipeline, draw
from mien.cli import main
from mien.errors import ConfigError
from mien.evaluation.calibration import UNREACHABLE
from mien.faces import crop
from mien.media import image as codec
from mien.media import reduced_jpeg
from mien.media.image import decode
from mien.serve import schemas
from mien.serve.app import create_app
from mien.serve.engine import Engine, load
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
    image = np.zeros((60, width, 3), np.uint8)
    image[:, width // 2 :] = 255
    return image


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A gray PNG that declares this size."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    body = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


IMAGE = encoded(halves())


def small(boxes: list[tuple[float, float, float, float]] | None = None) -> Pipeline:
    return Pipeline(Boxes([RIGHT, LEFT] if boxes is None else boxes), Brightness())


@contextmanager
def client(pipeline: Pipeline | None = None, **settings: Any) -> Iterator[Any]:
    """A client of a server with fakes, with `limits` and other settings of create_app. Errors of the server raise."""
    limits = Limits(**{"threads": 1, "max_wait": 0.0, **settings.pop("limits", {})})
    settings.setdefault("static", Path("/nowhere"))
    with TestClient(create_app(pipeline or small(), limits=limits, **settings), base_url=URL) as api:
        yield api


@asynccontextmanager
async def concurrent(pipeline: Pipeline, **limits: Any) -> AsyncIterator[tuple[Any, Any]]:
    """An asynchronous client and its engine."""
    app = create_app(pipeline, limits=Limits(**limits), static=Path("/nowhere"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as api:
        yield api, app.state.serving.engine
    await app.state.serving.engine.close()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition never held")


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A server for the tests that do not change it."""
    with client() as api:
        yield api


def files(*contents: bytes, name: str = "a.png") -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (name, content)) for content in contents]


def as_json(*contents: bytes) -> dict[str, Any]:
    return {"images": [{"data": base64.b64encode(content).decode()} for content in contents]}


# Images


def test_form_images_are_answered_in_order(server: Any) -> None:
    flipped = encoded(np.ascontiguousarray(halves()[:, ::-1]))
    answer = server.post("/v1/predict", files=[*files(IMAGE, name="a.png"), *files(flipped, name="b.png")])
    assert answer.status_code == 200
    a, b = answer.json()["results"]
    assert [(r["name"], r["index"], r["width"], r["height"], r["error"]) for r in (a, b)] == [
        ("a.png", 0, 120, 60, None),
        ("b.png", 1, 120, 60, None),
    ]
    assert [face["emotion"] for face in a["faces"]] == ["bright", "dark"]
    assert [face["emotion"] for face in b["faces"]] == ["dark", "bright"]


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_json_gives_the_same_answer_as_a_form(server: Any, prefix: str) -> None:
    data = prefix + base64.b64encode(IMAGE).decode()
    by_json = server.post("/v1/predict", json={"images": [{"data": data, "name": "a.png"}]})
    assert by_json.status_code == 200
    assert by_json.json() == server.post("/v1/predict", files=files(IMAGE)).json()


def test_answer_equals_the_pipeline() -> None:
    pipeline = mien.load()
    with client(pipeline) as api:
        (result,) = api.post("/v1/predict", files=files(PORTRAIT.read_bytes())).json()["results"]
    assert result["faces"] == pipeline(PORTRAIT).to_dict()["faces"]
    assert len(result["faces"]) == 1


def test_images_are_searched_quickly_only_on_request() -> None:
    head = cv2.resize(decode(PORTRAIT.read_bytes(), "portrait")[20:230, 115:325], (300, 300))
    image = cv2.copyMakeBorder(head, 30, 30, 90, 90, cv2.BORDER_CONSTANT, value=(127, 127, 127))
    pipeline = mien.load()
    quick = pipeline.detect(image, True)[0].box
    for asked in (False, True):
        with client(pipeline, quick_search=asked) as api:
            (result,) = api.post("/v1/predict", files=files(encoded(image))).json()["results"]
        assert (result["faces"][0]["box"] == pytest.approx(quick, abs=0.01)) is asked


def test_unreadable_image_does_not_affect_the_others(server: Any) -> None:
    answer = server.post("/v1/predict", files=files(IMAGE, b"text", IMAGE))
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [len(r["faces"]) for r in results] == [2, 0, 2]
    assert "that mien can read" in results[1]["error"]


def test_faces_beyond_the_limit_are_counted() -> None:
    with client(limits={"faces": 1}) as api:
        (result,) = api.post("/v1/predict", files=files(IMAGE)).json()["results"]
    assert [face["box"] for face in result["faces"]] == [list(RIGHT)]
    assert result["left_out"] == 1


def test_image_without_faces_is_a_success() -> None:
    pipeline = small([])
    with client(pipeline) as api:
        (result,) = api.post("/v1/predict", files=files(IMAGE)).json()["results"]
    assert (result["faces"], result["error"]) == ([], None)


def test_concurrent_requests_share_one_batch() -> None:
    async def scenario() -> None:
        async with concurrent(Pipeline(Boxes([LEFT]), classifier), max_batch=8, max_wait=3600.0) as (api, _):
            answers = await asyncio.gather(*(api.post("/v1/predict", files=files(IMAGE)) for _ in range(8)))
        assert [answer.status_code for answer in answers] == [200] * 8

    classifier = Brightness()
    asyncio.run(scenario())
    assert classifier.calls == [8]


def test_annotate_equals_draw(server: Any) -> None:
    answer = server.post("/v1/annotate?format=png", files=files(IMAGE))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    drawn = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(drawn, draw.draw(small()(halves())))


def tiff(*images: np.ndarray) -> bytes:
    first, *others = map(Pil.fromarray, images)
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=others)
    return file.getvalue()


def test_each_page_of_a_tiff_is_an_image() -> None:
    pages = tiff(np.zeros((60, 120, 3), np.uint8), np.full((60, 120, 3), 255, np.uint8))
    upload = [("images", ("a.png", IMAGE)), ("images", ("scan", pages)), ("images", ("b.png", IMAGE))]
    with client(small([LEFT]), limits={"images": 4}) as api:
        results = api.post("/v1/predict", files=upload).json()["results"]
        assert [each["name"] for each in results] == ["a.png", "scan", "scan, page 2", "b.png"]
        assert [each["index"] for each in results] == [0, 1, 2, 3]
        assert [each["faces"][0]["emotion"] for each in results[1:3]] == ["dark", "bright"]
        assert api.post("/v1/predict", files=upload + upload[:1]).status_code == 413
        assert api.post("/v1/annotate", files=upload[1:2]).status_code == 413


def test_annotate_drops_metadata(server: Any) -> None:
    exif = b"\xff\xe1\x00\x14Exif\x00\x00secret-place"
    original = encoded(halves(), ".jpg")
    answer = server.post("/v1/annotate", json=as_json(original[:2] + exif + original[2:]))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.content.startswith(b"\xff\xd8")
    assert b"secret-place" not in answer.content
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (60, 120, 3)


def test_annotate_accepts_one_image_and_two_formats(server: Any) -> None:
    assert server.post("/v1/annotate", files=files(IMAGE, IMAGE)).status_code == 413
    answer = server.post("/v1/annotate?format=<script>", files=files(IMAGE))
    assert answer.status_code == 422
    assert answer.json() == {"detail": "query.format: Input should be 'jpeg' or 'png'"}


def test_annotate_refuses_image_too_wide_for_jpeg(server: Any) -> None:
    wide = encoded(np.zeros((2, 66_000, 3), np.uint8))
    answer = server.post("/v1/annotate", files=files(wide))
    assert answer.status_code == 422
    assert "jpeg" in answer.json()["detail"]
    assert server.post("/v1/annotate?format=png", files=files(wide)).status_code == 200


@pytest.mark.parametrize("field", ["images", "files", "pictures", ""])
def test_any_field_name_is_accepted_and_text_fields_are_ignored(server: Any, field: str) -> None:
    answer = server.post(
        "/v1/predict", data={"title": "a holiday", "images": "text"}, files=[(field, ("a.png", IMAGE))]
    )
    assert answer.status_code == 200
    assert [result["name"] for result in answer.json()["results"]] == ["a.png"]


@pytest.mark.parametrize("data", [{str(k): "" for k in range(50)}, {"title": "x" * 100_000}])
def test_too_many_or_too_long_text_fields_are_413(server: Any, data: dict[str, str]) -> None:
    assert server.post("/v1/predict", data=data, files=files(IMAGE)).status_code == 413


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".bmp", ".tiff", ".jpg"])
def test_documented_formats_are_read(server: Any, suffix: str) -> None:
    (result,) = server.post("/v1/predict", files=files(encoded(halves(), suffix))).json()["results"]
    assert [face["emotion"] for face in result["faces"]] == ["bright", "dark"]


# Cropped faces


@pytest.mark.parametrize("size", [(48, 48), (70, 90), (31, 20), (700, 600)])
def test_crop_is_classified_without_detection(size: tuple[int, int]) -> None:
    pipeline = mien.load()
    image = cv2.resize(decode(PORTRAIT.read_bytes(), "portrait")[60:420, 90:450], size)
    with client(Pipeline(Boxes([]), pipeline.classifier)) as api:
        (result,) = api.post("/v1/predict?crops=true", files=files(encoded(image))).json()["results"]
        assert api.post("/v1/predict", files=files(encoded(image))).json()["results"][0]["faces"] == []
    (face,) = result["faces"]
    assert (face["box"], face["score"], face["landmarks"]) == ([0, 0, *size], 1, [])
    expected = pipeline.classifier(crop.to_network_input(image)[None])[0]
    np.testing.assert_allclose(list(face["probabilities"].values()), expected, atol=1e-6)


def test_crops_of_concurrent_requests_share_one_batch() -> None:
    async def scenario() -> None:
        async with concurrent(Pipeline(Boxes([]), classifier), max_batch=8, max_wait=3600.0) as (api, _):
            asked = (api.post("/v1/predict?crops=true", files=files(dark, bright)) for _ in range(4))
            answers = await asyncio.gather(*asked)
        for answer in answers:
            assert [result["faces"][0]["emotion"] for result in answer.json()["results"]] == ["dark", "bright"]

    dark, bright = (encoded(np.full((48, 48, 3), value, np.uint8)) for value in (20, 230))
    classifier = Brightness()
    asyncio.run(scenario())
    assert classifier.calls == [8]


def test_crops_are_answered_in_order_past_unreadable_ones() -> None:
    classifier = Brightness()
    grays = [encoded(np.full((48, 48), 255 * (k % 3 == 0), np.uint8)) for k in range(40)]
    bad = (0, 17, 39)
    contents = [b"text" if k in bad else gray for k, gray in enumerate(grays)]
    with client(Pipeline(Boxes([]), classifier), limits={"images": 40, "queue": 40}) as api:
        classifier.calls.clear()
        results = api.post("/v1/predict?crops=true", files=files(*contents)).json()["results"]
    assert [result["index"] for result in results] == list(range(40))
    assert [k for k, result in enumerate(results) if result["error"]] == list(bad)
    for k, result in enumerate(results):
        expected = [] if k in bad else ["bright" if k % 3 == 0 else "dark"]
        assert [face["emotion"] for face in result["faces"]] == expected
    assert classifier.calls == [37]


@pytest.mark.parametrize("route", ["predict", "predict?crops=true", "annotate", "stream"])
def test_images_are_never_decoded_on_the_event_loop(monkeypatch: pytest.MonkeyPatch, route: str) -> None:
    threads = []

    def decode(*given: Any) -> np.ndarray:
        threads.append(threading.current_thread().name)
        return original(*given)

    original = codec.decode
    for module in (codec, reduced_jpeg):
        monkeypatch.setattr(module, "decode", decode)
    with client() as api:
        if route == "stream":
            with api.websocket_connect(f"ws{URL[4:]}/v1/stream") as socket:
                socket.send_bytes(IMAGE)
                assert len(socket.receive_json()["faces"]) == 2
        else:
            assert api.post(f"/v1/{route}", files=files(IMAGE)).status_code == 200
    assert threads
    assert all(name.startswith("mien-detect") for name in threads)


def test_crops_parameter_is_a_boolean(server: Any) -> None:
    answer = server.post("/v1/predict?crops=perhaps", files=files(IMAGE))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("query.crops: ")


# Malformed requests

JPEG = encoded(halves(), ".jpg")
BAD_IMAGES = {
    "empty": b"",
    "text": b"this is no image",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "zip": b"PK\x03\x04" + bytes(500),
    "cut short": JPEG[: len(JPEG) // 2],
    "cut short in the header": JPEG[:20],
    "cut short png": IMAGE[: len(IMAGE) // 2],
    "damaged": IMAGE[:60] + b"\xff" * 200 + IMAGE[-12:],
    "gif header alone": b"GIF89a\x10\x00\x10\x00",
    "huge by declaration": png(60_000, 60_000),
    "huge in one dimension": png(2**31 - 1, 1),
    "bomb": png(20_000, 20_000, zlib.compress(bytes(10_000_000), 9)),
    "garbage of 10 MB": np.random.default_rng(0).bytes(10_000_000),
    "garbage behind a jpeg marker": b"\xff\xd8" + np.random.default_rng(1).bytes(100_000) + b"\xff\xd9",
    "zero size": png(0, 0),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("route", ["/v1/predict", "/v1/predict?crops=true", "/v1/annotate"])
def test_bad_image_is_422_with_a_reason(server: Any, route: str, kind: str) -> None:
    answer = server.post(route, files=files(BAD_IMAGES[kind], name="x.jpg"))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("x.jpg: ")


def test_format_is_detected_from_content(server: Any) -> None:
    answer = server.post("/v1/predict", files=[("images", ("a.jpg", IMAGE, "text/html"))])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("crops", ["false", "true"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30_000), (30_000, 1), (2, 2), (5, 3000)])
def test_odd_shapes_are_accepted(shape: tuple[int, int], crops: str) -> None:
    with client(mien.load()) as api:
        odd = files(encoded(np.full((*shape, 3), 120, np.uint8)))
        answer = api.post(f"/v1/predict?crops={crops}", files=odd)
    assert answer.status_code == 200
    assert answer.json()["results"][0]["height"] == shape[0]


FORM = "multipart/form-data; boundary=x"
BAD_BODIES = {
    "nothing": (None, b"", 415),
    "another type": ("image/jpeg", JPEG, 415),
    "plain text": ("text/plain", b"{}", 415),
    "urlencoded": ("application/x-www-form-urlencoded", b"images=1", 415),
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
    "field that is no file": (FORM, b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\n1\r\n--x--', 422),
    "form cut short": (FORM, b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n123', 422),
    "endless header": (FORM, b"--x\r\n" + b"A" * 100_000, 422),
    "empty json": ("application/json", b"", 422),
    "no json": ("application/json", b"\xff\xfe{", 422),
    "json of another shape": ("application/json", b"[1, 2]", 422),
    "json without images": ("application/json", b'{"images": []}', 422),
    "json with a number": ("application/json", b'{"images": [{"data": 5}]}', 422),
    "json with more": ("application/json", b'{"images": [{"data": "", "path": "/etc/passwd"}]}', 422),
    "deep json": ("application/json", b"[" * 100_000, 422),
    "malformed base64": ("application/json", b'{"images": [{"data": "a!b"}]}', 422),
    "base64 not padded": ("application/json", b'{"images": [{"data": "abc"}]}', 422),
    "base64 beyond ascii": ("application/json", '{"images": [{"data": "äöü="}]}'.encode(), 422),
    "base64 of nothing": ("application/json", b'{"images": [{"data": ""}]}', 422),
    "unfinished surrogate": ("application/json", b'{"images": [{"data": "", "name": "\\ud800"}]}', 422),
}


@pytest.mark.parametrize("kind", BAD_BODIES)
@pytest.mark.parametrize("route", ["/v1/predict", "/v1/annotate"])
def test_malformed_request_is_refused_with_a_reason(server: Any, route: str, kind: str) -> None:
    content_type, body, status = BAD_BODIES[kind]
    answer = server.post(route, content=body, headers={"Content-Type": content_type} if content_type else {})
    assert answer.status_code == status
    assert 10 < len(answer.json()["detail"]) < 500


def test_json_with_too_many_values_is_refused_before_it_is_parsed(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(schemas.Upload, "model_validate_json", never)
    for body in ("{" + ",".join(f'"k{k}":0' for k in range(600_000)) + "}", '{"images":[' + "0," * 600_000 + "0]}"):
        answer = server.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert "too many values" in answer.json()["detail"]


def test_old_key_of_json_images_is_accepted(server: Any) -> None:
    body = {"pictures": as_json(IMAGE)["images"]}
    assert server.post("/v1/predict", json=body).json() == server.post("/v1/predict", json=as_json(IMAGE)).json()


def test_compressed_body_is_refused(server: Any) -> None:
    bomb = zlib.compress(bytes(5_000_000))
    headers = {"Content-Type": "application/json", "Content-Encoding": "deflate"}
    assert server.post("/v1/predict", content=bomb, headers=headers).status_code == 415


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=400) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps),
    kind=st.sampled_from([FORM, "application/json", "multipart/form-data; boundary=", "multipart/form-data;charset=é"]),
    head=st.sampled_from(
        [b"", b"--x\r\n", b'--x\r\nContent-Disposition: form-data; name="p"; filename="', b'{"images":']
    ),
)
def test_no_body_causes_a_500(server: Any, body: bytes | str, kind: str, head: bytes) -> None:
    content = head + (body if isinstance(body, bytes) else body.encode())
    answer = server.post("/v1/predict", content=content, headers={"Content-Type": kind.encode("latin-1")})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/nothing", "/%00", "/..%2f..%2fetc%2fpasswd", "/" + "a" * 5000])
def test_unknown_paths_and_methods_are_refused(server: Any, path: str) -> None:
    assert server.get(path).status_code in (404, 405)
    assert server.delete(path).status_code in (404, 405)


# Limits


def test_large_body_is_413_with_or_without_content_length() -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(1000)

    with client(limits={"body_bytes": 20_000}) as api:
        assert api.post("/v1/predict", files=files(bytes(20_000))).status_code == 413
        answer = api.post("/v1/predict", content=chunks(), headers={"Content-Type": FORM})
        assert answer.status_code == 413
        assert "20000" in answer.json()["detail"]
        assert api.post("/v1/predict", files=files(IMAGE)).status_code == 200


def test_too_many_images_are_413() -> None:
    with client(limits={"images": 2}) as api:
        assert api.post("/v1/predict", files=files(IMAGE, IMAGE)).status_code == 200
        assert api.post("/v1/predict", files=files(IMAGE, IMAGE, IMAGE)).status_code == 413
        assert api.post("/v1/predict", json=as_json(IMAGE, IMAGE, IMAGE)).status_code == 413


def test_declared_pixels_beyond_the_limit_are_refused() -> None:
    with client(limits={"pixels": 7000}) as api:
        answer = api.post("/v1/predict", files=files(IMAGE))
        assert answer.status_code == 422
        assert "120 x 60 pixels is more than the limit of 7000" in answer.json()["detail"]
        assert api.post("/v1/predict?crops=true", files=files(IMAGE)).json() == answer.json()


def test_full_queue_is_503_and_accepted_images_are_answered() -> None:
    async def scenario() -> None:
        detector = Gated()
        async with concurrent(Pipeline(detector, Brightness()), queue=2, images=2) as (api, engine):
            taken = [asyncio.create_task(api.post("/v1/predict", files=files(IMAGE))) for _ in range(2)]
            await until(lambda: engine.pending == 2)
            for route in ("/v1/predict", "/v1/annotate"):
                refused = await api.post(route, files=files(IMAGE))
                assert refused.status_code == 503
                assert int(refused.headers["retry-after"]) >= 1
            detector.gate.set()
            assert [answer.status_code for answer in await asyncio.gather(*taken)] == [200, 200]
            assert (await api.post("/v1/predict", files=files(IMAGE, IMAGE))).status_code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("query", ["", "?crops=true"])
def test_images_waiting_for_the_classifier_hold_no_pixels(monkeypatch: pytest.MonkeyPatch, query: str) -> None:
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
        async with concurrent(Pipeline(Boxes([LEFT]), classifier), max_wait=0.0) as (api, _):
            asked = [asyncio.create_task(api.post(f"/v1/predict{query}", files=files(IMAGE))) for _ in range(3)]
            await until(lambda: len(decoded) == 3 and all(pixels() is None for pixels in decoded))
            classifier.gate.set()
            for answer in await asyncio.gather(*asked):
                (result,) = answer.json()["results"]
                assert (result["width"], result["height"], len(result["faces"])) == (120, 60, 1)

    original = codec.decode
    for module in (codec, reduced_jpeg):
        monkeypatch.setattr(module, "decode", decode)
    asyncio.run(scenario())


def test_queue_slot_is_taken_until_its_thread_is_free(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        detector = Gated()
        async with concurrent(Pipeline(detector, Brightness()), work_seconds=0.05, threads=1) as (api, engine):
            engine.state = "ready"
            answer = await api.post("/v1/predict", files=files(IMAGE))
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
            assert engine.pending == 1
            for refused in (await api.get("/ready"), await api.post("/v1/predict", files=files(IMAGE))):
                assert refused.status_code == 503
                assert "threads are busy" in refused.json()["detail"]
            detector.gate.set()
            await until(lambda: engine.pending == 0)
            assert (await api.get("/ready")).status_code == 200

    asyncio.run(scenario())
    gc.collect()  # where lost exceptions are logged
    assert "never retrieved" not in caplog.text


def test_disconnected_clients_free_their_queue_slots() -> None:
    async def scenario() -> None:
        detector = Gated()
        leave = asyncio.Event()
        app = create_app(Pipeline(detector, Brightness()), limits=Limits(threads=1), static=Path("/nowhere"))
        engine = app.state.serving.engine
        requests = [asyncio.create_task(leaving(app, leave)) for _ in range(30)]
        await until(lambda: engine.pending == 30)
        leave.set()
        await asyncio.gather(*requests)
        assert engine.pending == 1  # the one in the thread
        detector.gate.set()
        await until(lambda: engine.pending == 0)
        await engine.close()

    async def leaving(app: Any, leave: asyncio.Event) -> None:
        """Post an image, and leave without waiting for the answer."""
        body = httpx.Request("POST", URL, files=files(IMAGE))
        messages = iter([{"type": "http.request", "body": body.read(), "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in messages:
                return message
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError(f"answered a closed connection: {message}")

        scope = {
            "type": "http", "method": "POST", "scheme": "http", "path": "/v1/predict", "query_string": b"",
            "headers": [(name.lower(), value) for name, value in body.headers.raw], "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await app(scope, receive, send)

    asyncio.run(scenario())


def test_slow_body_is_408_and_closes_the_connection() -> None:
    async def scenario() -> None:
        async def slow() -> AsyncIterator[bytes]:
            yield b"--x\r\n"
            await asyncio.sleep(60)

        async with concurrent(small(), read_seconds=0.05) as (api, _):
            answer = await api.post("/v1/predict", content=slow(), headers={"Content-Type": FORM})
            assert answer.status_code == 408
            assert answer.headers["connection"] == "close"

    asyncio.run(scenario())


def test_uploads_beyond_the_memory_limit_are_503() -> None:
    with client(limits={"buffered_bytes": 5000}) as api:
        assert api.post("/v1/predict", files=files(bytes(6000))).status_code == 503
        assert api.app.state.serving.uploads.held == 0
        assert api.post("/v1/predict", files=files(IMAGE)).status_code == 200
        assert api.app.state.serving.uploads.held == 0


def test_rate_limit_is_429() -> None:
    with client(limits={"rate": 0.01, "burst": 2}) as api:
        answers = [api.post("/v1/predict", files=files(IMAGE)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["retry-after"]) > 50
        assert api.get("/health").status_code == 200


def test_each_client_has_a_bucket_that_refills() -> None:
    now = [0.0]
    rate = RateLimit(2.0, 3, lambda: now[0])
    assert [rate.wait("10.0.0.1") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rate.wait("10.0.0.2") == 0
    now[0] = 0.5
    assert [rate.wait("10.0.0.1") for _ in range(2)] == [0, 0.5]
    now[0] = 1000.0
    assert [rate.wait("10.0.0.1") for _ in range(4)] == [0, 0, 0, 0.5]


def test_ipv6_network_is_one_client_and_old_clients_are_forgotten() -> None:
    rate = RateLimit(1.0, 1, lambda: 0.0, clients=2)
    assert [rate.wait(f"2001:db8::{k}") for k in range(2)] == [0, 1]
    assert rate.wait("2001:db8:0:1::1") == 0
    assert rate.wait("192.0.2.1") == 0
    assert rate.wait("2001:db8::9") == 0  # the first was forgotten


def test_ipv4_clients_of_a_dual_stack_socket_have_a_bucket_each() -> None:
    rate = RateLimit(1.0, 1, lambda: 0.0)
    assert [rate.wait(f"::ffff:192.0.2.{k}") for k in (1, 2, 1)] == [0, 0, 1]
    assert rate.wait("192.0.2.1") == 1


@pytest.mark.parametrize("wrong", [{"pixels": 0}, {"rate": -1.0}, {"read_seconds": float("nan")}, {"images": 500}])
def test_invalid_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(mien.ConfigError, match=next(iter(wrong))):
        Limits(**wrong)


# Privacy


def test_images_are_never_written_to_disk(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("a file was api")

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
def test_upload_names_are_sanitized_and_never_used(
    server: Any, given_name: str, shown_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    item = {"name": given_name, "data": base64.b64encode(IMAGE).decode()}
    answer = server.post("/v1/predict", json={"images": [item]})
    assert answer.json()["results"][0]["name"] == shown_name
    server.post("/v1/predict", json={"images": [{"name": given_name, "data": ""}]})
    assert list(tmp_path.iterdir()) == []
    assert shown_name not in caplog.text


def test_unhandled_error_is_a_generic_500(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(Pipeline(Broken([]), Brightness()), static=Path("/nowhere"))
    api = TestClient(app, base_url=URL)  # not started: the warm-up would fail
    answer = api.post("/v1/predict", files=files(IMAGE, name="private.jpg"))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unhandled error on /v1/predict" in caplog.text
    assert "private.jpg" not in caplog.text
    assert api.get("/health").status_code == 200


# Description, health and metrics


def test_model_route_describes_the_model() -> None:
    with client(mien.load()) as api:
        description = api.get("/v1/model").json()
    classifier = mien.load().classifier
    assert description["labels"] == list(classifier.labels)
    assert description["sha256"] == classifier.sha256  # type: ignore[attr-defined]
    assert (description["name"], description["detector"]) == (classifier.name, "yunet")  # type: ignore[attr-defined]
    assert description["version"] == classifier.metadata["version"]  # type: ignore[attr-defined]
    assert description["uncertain_below"] == classifier.confidence_threshold
    assert description["input"] == {"name": "crops", "dtype": "uint8", "shape": ["N", 48, 48]}
    assert description["limits"]["images"] == 16


def test_model_that_is_never_certain_is_described_and_marks_every_face() -> None:
    pipeline = small([LEFT])
    pipeline.classifier.confidence_threshold = UNREACHABLE  # type: ignore[misc]
    with client(pipeline) as api:
        assert api.get("/v1/model").json()["uncertain_below"] == UNREACHABLE > 1
        (result,) = api.post("/v1/predict", files=files(IMAGE)).json()["results"]
        assert [face["uncertain"] for face in result["faces"]] == [True]


def test_ready_only_after_warm_up() -> None:
    classifier = Brightness()
    api = TestClient(create_app(Pipeline(Boxes([]), classifier), static=Path("/nowhere")), base_url=URL)
    assert api.get("/ready").status_code == 503
    assert api.get("/health").json() == {"status": "ok"}
    with api:
        assert api.get("/ready").json() == {"status": "ready"}
        assert classifier.calls == [1]


def test_classifier_threads_do_not_spin() -> None:
    classifier: Any = load("mien-s").classifier
    options = classifier._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_one_detector_thread_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("mien.faces.onnx.cores", lambda: 3)
    assert Engine(small(), Limits())._threads == 3


def test_warm_up_runs_in_every_thread() -> None:
    threads = set()

    class Noting(Boxes):
        def __call__(self, image: np.ndarray) -> list[mien.Face]:
            threads.add(threading.get_ident())
            return []

    with client(Pipeline(Noting([]), Brightness()), limits={"threads": 3}):
        assert len(threads) == 3


def test_shutdown_finishes_accepted_images_only() -> None:
    async def scenario() -> None:
        detector = Gated()
        async with concurrent(Pipeline(detector, Brightness())) as (api, engine):
            taken = asyncio.create_task(api.post("/v1/predict", files=files(IMAGE)))
            await until(lambda: detector.entered == 1)
            ending = asyncio.create_task(engine.close())
            await asyncio.sleep(0)
            refused = await api.post("/v1/predict", files=files(IMAGE))
            assert (refused.status_code, ending.done()) == (503, False)
            assert (await api.get("/ready")).status_code == 503
            detector.gate.set()
            assert (await taken).status_code == 200
            await ending

    asyncio.run(scenario())


def value(api: Any, name: str, **labels: str) -> float:
    return float(api.app.state.serving.metrics.registry.get_sample_value(name, labels) or 0)


def test_metrics_count_requests_by_route_and_status() -> None:
    with client() as api:
        api.post("/v1/predict", files=files(IMAGE, IMAGE))
        api.post("/v1/predict", files=files(b""))
        for k in range(20):
            api.get(f"/nothing/{k}")
        api.request("BREW", "/nothing")
        text = api.get("/metrics").text
        predict = {"route": "/v1/predict", "method": "POST"}
        assert value(api, "mien_requests_total", **predict, status="200") == 1
        assert value(api, "mien_requests_total", **predict, status="422") == 1
        assert value(api, "mien_requests_total", route="other", method="GET", status="404") == 20
        assert value(api, "mien_requests_total", route="other", method="other", status="404") == 1
        assert value(api, "mien_request_seconds_count", route="/v1/predict") == 2
        assert value(api, "mien_batch_crops_sum") == 4
        assert value(api, "mien_image_faces_bucket", le="2.0") == 2
        assert value(api, "mien_queue_images") == 0
    assert 'mien_requests_total{method="POST",route="/v1/predict",status="200"} 1.0' in text
    assert "/nothing" not in text


def test_openapi_examples_are_valid(server: Any) -> None:
    described = server.get("/openapi.json").json()
    assert {"/v1/predict", "/v1/annotate", "/v1/model", "/health", "/ready", "/metrics"} <= described["paths"].keys()
    route = described["paths"]["/v1/predict"]["post"]
    assert [parameter["name"] for parameter in route["parameters"]] == ["crops"]
    example = route["requestBody"]["content"]["application/json"]["example"]
    answer = server.post("/v1/predict", json=example)
    assert answer.status_code == 200
    for path in ("/v1/predict", "/v1/annotate"):
        content = described["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        (image,) = content["example"]["images"]
        assert server.post(path, files=files(image.encode())).status_code == 200
    example = route["responses"]["200"]["content"]["application/json"]["example"]
    # FastAPI leaves out what is null.
    assert schemas.Prediction.model_validate(example).model_dump(exclude_none=True) == example
    assert example["results"][0].keys() | {"error"} == answer.json()["results"][0].keys()
    assert {"413", "415", "422", "429", "503"} <= route["responses"].keys()


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


def test_page_is_served_with_correct_media_types(page: Path) -> None:
    with client(static=page) as api:
        kinds = {name: api.get(f"/{name}").headers["content-type"] for name in ("", "app.mjs", "run.wasm")}
        assert api.get("/").text == "<title>mien</title>"
    assert kinds[""].startswith("text/html")
    assert kinds["app.mjs"].startswith("text/javascript")
    assert kinds["run.wasm"] == "application/wasm"


@pytest.mark.parametrize("path", ["/../private.txt", "/%2e%2e/private.txt", "/..%5cprivate.txt", "/%00", "/a%00b"])
def test_files_outside_the_page_are_not_served(page: Path, path: str) -> None:
    with client(static=page) as api:
        assert api.get(path).status_code == 404


def test_only_models_of_the_assets_are_served(page: Path) -> None:
    with client(static=page) as api:
        answer = api.get("/models/yunet.onnx")
        assert answer.content == (PORTRAIT.parent / "yunet.onnx").read_bytes()
        assert api.get("/models/own.onnx").content == b"own"
        assert api.get("/models/portrait.jpg").status_code == 404
        assert api.get("/models/..%2fprivate.onnx").status_code == 404


def test_commands_say_that_the_page_was_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mien.serve.app.STATIC", tmp_path)
    monkeypatch.setattr("mien.serve.engine.load", lambda *_: small())
    monkeypatch.setattr("mien.serve.server.run", lambda *_: None)
    assert main.app(["serve", "--port", "0"], result_action="return_value") == 0
    assert "lacks the web page's runtime, so only the API answers; run `make web`" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"`make web` .* `pip install -e \.`"):
        main.app(["web", "--port", "0"], result_action="return_value")
    for name in ("models/models.json", "vendor/ort.wasm.min.mjs"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert main.app(["serve", "--port", "0"], result_action="return_value") == 0
    assert capsys.readouterr().err == ""


def test_api_works_without_the_page(server: Any) -> None:
    assert server.get("/").status_code == 404
    assert server.get("/health").status_code == 200
