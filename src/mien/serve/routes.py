"""create_app: the routes.

    curl -F pictures=@face.jpg -F pictures=@group.png http://127.0.0.1:8000/v1/predict
    curl -F pictures=@face.jpg http://127.0.0.1:8000/v1/annotate?format=png -o drawn.png
    curl -H "Content-Type: application/json" http://127.0.0.1:8000/v1/predict \
         -d "{\"pictures\": [{\"name\": \"face.jpg\", \"data\": \"$(base64 -w0 face.jpg)\"}]}"
    curl -F pictures=@cut_out.png http://127.0.0.1:8000/v1/predict?crops=true
    curl -H "Authorization: Bearer $MIEN_TOKEN" https://mien.example.org/v1/model

No picture is written to a disk or a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Request, Response, WebSocket
from fastapi.responses import FileResponse
from fastapi.security import HTTPBearer

from mien.errors import SourceError
from mien.faces.classifier import OnnxClassifier
from mien.serve import schemas, websocket
from mien.serve.engine import EncodedImage, Engine
from mien.serve.limits import Limits
from mien.serve.metrics import Metrics
from mien.serve.uploads import Uploads, shortened

_REFUSALS = (401, 403, 408, 413, 415, 421, 422, 429, 503)  # what a request with pictures may be answered with
RETRY = {"Retry-After": "1"}
# For the description; AccessMiddleware is what asks for it.
_TOKEN = [Depends(HTTPBearer(auto_error=False, description="needed when the server was started with a token"))]
T = TypeVar("T")
router = APIRouter()


@dataclass(frozen=True, slots=True)
class Serving:
    """What the routes share."""

    engine: Engine
    uploads: Uploads
    telemetry: Metrics
    limits: Limits
    models: dict[str, Path]  # by name, for the page


@router.post(
    "/v1/predict",
    dependencies=_TOKEN,
    openapi_extra=schemas.body(many=True),
    responses={200: {"content": {"application/json": {"example": schemas.PREDICTION}}}, **schemas.problems(*_REFUSALS)},
)
async def predict(request: Request, crops: Annotated[bool, schemas.CROPS] = False) -> schemas.Prediction:
    """Find the faces of one picture or many, and how each looks. One that cannot be read does not stop the others."""
    serving: Serving = request.app.state.serving
    async with serving.uploads.images(request) as images:
        with serving.engine.admit(len(images)):
            results = await _in_time(
                serving, asyncio.gather(*(_record(serving, image, k, crops) for k, image in enumerate(images)))
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
    serving: Serving = request.app.state.serving
    async with serving.uploads.images(request) as images:
        if len(images) != 1:
            raise HTTPException(413, f"{len(images)} pictures; send one")
        with serving.engine.admit():
            try:
                drawn = await _in_time(serving, serving.engine.annotate(images[0], f".{format}"))
            except SourceError as error:
                raise HTTPException(422, str(error)) from error
    return Response(drawn, media_type=f"image/{format}")


@router.websocket("/v1/stream")
async def talk(socket: WebSocket) -> None:
    """See mien.serve.stream."""
    serving: Serving = socket.app.state.serving
    await websocket.handle(socket, serving.engine, serving.telemetry)


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
    serving: Serving = request.app.state.serving
    pipeline, limits = serving.engine.pipeline, serving.limits
    classifier = pipeline.classifier
    file = classifier if isinstance(classifier, OnnxClassifier) else None
    return schemas.ModelInfo(
        name=_name(serving),
        version=file.metadata.get("version", "") if file else "",
        sha256=file.sha256 if file else "",
        labels=list(classifier.labels),
        uncertain_below=classifier.confidence_threshold,
        detector=pipeline.detector.name,
        limits={key: getattr(limits, key) for key in ("body_bytes", "frame_bytes", "pixels", "pictures", "faces")},
    )


@router.get("/models/{name}.onnx", response_class=FileResponse, responses=schemas.problems(404, 421, 503))
async def model_file(request: Request, name: str) -> FileResponse:
    """A network of mien, for the page, which runs it in the browser."""
    models = request.app.state.serving.models
    if name not in models:
        raise HTTPException(404, f"no model named {shortened(name)}; there are {', '.join(sorted(models))}")
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
        raise HTTPException(503, engine.state, RETRY)
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


async def _record(serving: Serving, image: EncodedImage, index: int, cropped: bool) -> schemas.SeenPicture:
    """What was found as plain values, so that the pixels are freed before the whole request is done."""
    try:
        seen = await serving.engine.process(image, index, cropped=cropped)
    except SourceError as error:
        return schemas.SeenPicture(name=image.name, index=index, error=str(error))
    return schemas.SeenPicture.model_validate(seen.result.to_dict() | {"left_out": seen.left_out})


async def _in_time(serving: Serving, work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(serving.limits.work_seconds):
            return await work
    except TimeoutError:
        raise HTTPException(503, "it took too long; try again in a moment", RETRY) from None


def _name(serving: Serving) -> str:
    classifier = serving.engine.pipeline.classifier
    return str(getattr(classifier, "name", type(classifier).__name__))
