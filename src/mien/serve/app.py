"""create_app: the routes.

    curl -F pictures=@face.jpg -F pictures=@group.png http://127.0.0.1:8000/v1/predict
    curl -F pictures=@face.jpg http://127.0.0.1:8000/v1/annotate?format=png -o drawn.png
    curl -H "Content-Type: application/json" http://127.0.0.1:8000/v1/predict \\
         -d "{\\"pictures\\": [{\\"name\\": \\"face.jpg\\", \\"data\\": \\"$(base64 -w0 face.jpg)\\"}]}"
    curl -F pictures=@cut_out.png http://127.0.0.1:8000/v1/predict?crops=true
    curl -H "Authorization: Bearer $MIEN_TOKEN" https://mien.example.org/v1/model

No picture is written to a disk or a log.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPBearer
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

import mien
from mien.classify import ASSETS, OnnxClassifier
from mien.pipeline import Pipeline
from mien.serve import schemas, stream
from mien.serve.engine import Busy, Engine, Picture, load
from mien.serve.intake import Intake, shown
from mien.serve.limits import Limits, RateLimit
from mien.serve.security import Guard, Hardened
from mien.serve.telemetry import Counted, Telemetry
from mien.types import SourceError

STATIC = Path(__file__).parent / "static"
_REFUSALS = (401, 403, 408, 413, 415, 421, 422, 429, 503)  # what a request with pictures may be answered with
_KINDS = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
_RETRY = {"Retry-After": "1"}
# For the description; Guard is what asks for it.
_TOKEN = [Depends(HTTPBearer(auto_error=False, description="needed when the server was started with a token"))]
_ABOUT = """Finds faces and says how each looks, with probabilities.

Besides the routes below there is a WebSocket at `/v1/stream`: picture files as binary messages in, JSON out, with ids
and smoothing over time."""

T = TypeVar("T")
router = APIRouter()


@dataclass(frozen=True, slots=True)
class _Serving:
    """What the routes share."""

    engine: Engine
    intake: Intake
    telemetry: Telemetry
    limits: Limits
    models: dict[str, Path]  # by name, for the page


def create_app(
    pipeline: Pipeline | None = None,
    *,
    token: str | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    limits: Limits | None = None,
    static: Path = STATIC,
) -> FastAPI:
    """The server as an ASGI application, for `mien serve` or any ASGI server.

    Args:
        pipeline: what looks at the pictures; None for the default one.
        token: that /v1/ and /metrics ask for, or None for none: only for a server that other machines cannot reach.
        hosts: names under which it is reached, besides localhost and addresses.
        origins: of web pages that may use it besides its own (CORS), such as "https://example.org".
        limits: None for the defaults.
        static: folder of the page, served at / when it exists.

    Raises:
        ModelError: the default model is missing or damaged.
    """
    limits = limits or Limits()
    telemetry = Telemetry()
    engine = Engine(pipeline or load(), limits, telemetry.faces.observe, telemetry.batch.observe)
    telemetry.queue.set_function(lambda: engine.inside)
    telemetry.streams.set_function(lambda: engine.streams)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await engine.warm()
        yield
        await engine.close()

    # FastAPI's own pages for the description load scripts from elsewhere, which the CSP forbids.
    app = FastAPI(
        title="mien", description=_ABOUT, version=mien.__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    # The page's own files come first: its detector takes pictures of any size.
    models = {path.stem: path for folder in (ASSETS, static / "models") for path in folder.glob("*.onnx")}
    app.state.serving = _Serving(engine, Intake(limits), telemetry, limits, models)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Busy, _busy)
    # The last one added is the outermost.
    app.add_middleware(Guard, token=token, hosts=hosts, origins=origins, rate=RateLimit(limits.rate, limits.burst))
    if origins:
        allowed = ["Authorization", "Content-Type"]
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=allowed)
    app.add_middleware(Counted, telemetry=telemetry)
    app.add_middleware(Hardened)
    app.include_router(router)
    if static.is_dir():
        # The system's own table may be wrong, and browsers run no script or module of another type.
        for suffix, kind in _KINDS.items():
            mimetypes.add_type(kind, suffix)
        app.mount("/", _Page(directory=static, html=True), name="page")
    return app


class _Page(StaticFiles):
    """The files of the page; a WebSocket to one of them is refused."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await super().__call__(scope, receive, send)


@router.post(
    "/v1/predict",
    dependencies=_TOKEN,
    openapi_extra=schemas.body(many=True),
    responses={200: {"content": {"application/json": {"example": schemas.PREDICTION}}}, **schemas.problems(*_REFUSALS)},
)
async def predict(request: Request, crops: Annotated[bool, schemas.CROPS] = False) -> schemas.Prediction:
    """Find the faces of one picture or many, and how each looks. One that cannot be read does not stop the others."""
    serving: _Serving = request.app.state.serving
    async with serving.intake.pictures(request) as pictures:
        with serving.engine.admit(len(pictures)):
            results = await _in_time(
                serving, asyncio.gather(*(_record(serving, picture, k, crops) for k, picture in enumerate(pictures)))
            )
    if all(result.error for result in results):
        raise HTTPException(422, "; ".join(result.error or "" for result in results[:3]))
    return schemas.Prediction(model=_name(serving), results=results)


@router.post(
    "/v1/annotate",
    dependencies=_TOKEN,
    openapi_extra=schemas.body(many=False),
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}, "image/png": {}}}, **schemas.problems(*_REFUSALS)},
)
async def annotate(request: Request, format: Literal["jpeg", "png"] = "jpeg") -> Response:
    """The picture with its faces drawn: box, emotion and probabilities. Nothing of the original's metadata is kept."""
    serving: _Serving = request.app.state.serving
    async with serving.intake.pictures(request) as pictures:
        if len(pictures) != 1:
            raise HTTPException(413, f"{len(pictures)} pictures; send one")
        with serving.engine.admit():
            try:
                drawn = await _in_time(serving, serving.engine.annotate(pictures[0], f".{format}"))
            except SourceError as error:
                raise HTTPException(422, str(error)) from error
    return Response(drawn, media_type=f"image/{format}")


@router.websocket("/v1/stream")
async def talk(socket: WebSocket) -> None:
    """See mien.serve.stream."""
    serving: _Serving = socket.app.state.serving
    await stream.talk(socket, serving.engine, serving.telemetry)


@router.get(
    "/v1/model",
    dependencies=_TOKEN,
    responses={
        200: {"content": {"application/json": {"example": schemas.MODEL}}},
        **schemas.problems(401, 421, 429, 503),
    },
)
async def model(request: Request) -> schemas.ModelInfo:
    """What answers: the network, its classes and the limits of a request."""
    serving: _Serving = request.app.state.serving
    pipeline, limits = serving.engine.pipeline, serving.limits
    classifier = pipeline.classifier
    file = classifier if isinstance(classifier, OnnxClassifier) else None
    return schemas.ModelInfo(
        name=_name(serving),
        version=file.metadata.get("version", "") if file else "",
        sha256=file.sha256 if file else "",
        labels=list(classifier.labels),
        uncertain_below=classifier.uncertain_below,
        detector=pipeline.detector.name,
        limits={key: getattr(limits, key) for key in ("body_bytes", "frame_bytes", "pixels", "pictures", "faces")},
    )


@router.get("/models/{name}.onnx", response_class=FileResponse, responses=schemas.problems(404, 421, 503))
async def model_file(request: Request, name: str) -> FileResponse:
    """A network of mien, for the page, which runs it in the browser."""
    models = request.app.state.serving.models
    if name not in models:
        raise HTTPException(404, f"no model named {shown(name)}; there are {', '.join(sorted(models))}")
    return FileResponse(models[name], media_type="application/octet-stream")


@router.get("/health", responses=schemas.problems(421))
async def health() -> dict[str, str]:
    """Whether the process lives."""
    return {"status": "ok"}


@router.get("/ready", responses=schemas.problems(421, 503))
async def ready(request: Request) -> dict[str, str]:
    """Whether a request would be taken now."""
    engine = request.app.state.serving.engine
    if engine.state != "ready":
        raise HTTPException(503, engine.state, _RETRY)
    with engine.admit():
        return {"status": "ready"}


@router.get(
    "/metrics",
    dependencies=_TOKEN,
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **schemas.problems(401, 421, 503)},
)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus: requests, latency, batches, the queue, faces, streams, memory."""
    return Response(request.app.state.serving.telemetry.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _record(serving: _Serving, picture: Picture, index: int, cropped: bool) -> schemas.SeenPicture:
    """What was found as plain values, so that the pixels are freed before the whole request is done."""
    try:
        seen = await serving.engine.process(picture, index, cropped=cropped)
    except SourceError as error:
        return schemas.SeenPicture(name=picture.name, index=index, error=str(error))
    return schemas.SeenPicture.model_validate(seen.result.to_dict() | {"left_out": seen.left_out})


async def _in_time(serving: _Serving, work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(serving.limits.work_seconds):
            return await work
    except TimeoutError:
        raise HTTPException(503, "it took too long; try again in a moment", _RETRY) from None


def _name(serving: _Serving) -> str:
    classifier = serving.engine.pipeline.classifier
    return str(getattr(classifier, "name", type(classifier).__name__))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """A parameter that is not as described; FastAPI's own answer would repeat what was sent."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"detail": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)


async def _busy(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, _RETRY)
