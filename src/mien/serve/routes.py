"""The routes. No image is written to the disk or the log."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Request, Response, WebSocket
from fastapi.responses import FileResponse
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect

from mien.errors import SourceError
from mien.faces.classifier import OnnxClassifier
from mien.serve import schemas, websocket
from mien.serve.engine import EncodedImage, Engine
from mien.serve.limits import Limits
from mien.serve.metrics import Metrics
from mien.serve.uploads import Uploads, shortened
from mien.types import Result

_REFUSALS = (400, 401, 403, 408, 413, 415, 422, 429, 503)  # of a request with images
RETRY = {"Retry-After": "1"}
# For the API description; AccessMiddleware checks the token.
_TOKEN = [Depends(HTTPBearer(auto_error=False, description="needed when the server was started with a token"))]
T = TypeVar("T")
router = APIRouter()


@dataclass(frozen=True, slots=True)
class Serving:
    """What the routes share."""

    engine: Engine
    uploads: Uploads
    metrics: Metrics
    limits: Limits
    models: dict[str, Path]  # model files for the web page, by name


@router.post(
    "/v1/predict",
    dependencies=_TOKEN,
    openapi_extra=schemas.request_body(many=True),
    response_model=schemas.Prediction,
    responses={200: {"content": {"application/json": {"example": schemas.PREDICTION}}}, **schemas.problems(*_REFUSALS)},
)
async def predict(request: Request, crops: Annotated[bool, schemas.CROPS] = False) -> Response:
    """Find and classify the faces of one or more images. An unreadable image does not affect the others."""
    serving: Serving = request.app.state.serving
    async with serving.uploads.images(request) as images:
        with serving.engine.admit(len(images)):
            results = await _while_connected(request, _predict_all(serving, images, crops))
    if all(result.error for result in results):
        raise HTTPException(422, "; ".join(result.error or "" for result in results[:3]))
    prediction = schemas.Prediction(model=_model_name(serving), results=results)
    # FastAPI would check the answer a second time, and write it with Python's slower JSON.
    return Response(prediction.model_dump_json(), media_type="application/json")


@router.post(
    "/v1/annotate",
    dependencies=_TOKEN,
    openapi_extra=schemas.request_body(many=False),
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}, "image/png": {}}}, **schemas.problems(*_REFUSALS)},
)
async def annotate(request: Request, format: Literal["jpeg", "png"] = "jpeg") -> Response:
    """Draw the faces of an image: box, emotion and probabilities. The original's metadata is dropped."""
    serving: Serving = request.app.state.serving
    async with serving.uploads.images(request) as images:
        if len(images) != 1:
            raise HTTPException(413, f"{len(images)} images; send one")
        with serving.engine.admit():
            try:
                drawn = await _while_connected(request, serving.engine.annotate(images[0], f".{format}"))
            except SourceError as error:
                raise HTTPException(422, str(error)) from error
    return Response(drawn, media_type=f"image/{format}")


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    serving: Serving = socket.app.state.serving
    await websocket.handle(socket, serving.engine, serving.metrics)


@router.get("/v1/model", dependencies=_TOKEN, responses=schemas.problems(400, 401, 429, 503))
async def model(request: Request) -> schemas.ModelInfo:
    """Describe the model, its classes and the limits of a request."""
    serving: Serving = request.app.state.serving
    pipeline, limits = serving.engine.pipeline, serving.limits
    classifier = pipeline.classifier
    file = classifier if isinstance(classifier, OnnxClassifier) else None
    return schemas.ModelInfo(
        name=_model_name(serving),
        version=file.metadata.get("version", "") if file else "",
        sha256=file.sha256 if file else "",
        labels=list(classifier.labels),
        uncertain_below=classifier.confidence_threshold,
        detector=pipeline.detector.name,
        limits={key: getattr(limits, key) for key in ("body_bytes", "frame_bytes", "pixels", "images", "faces")},
    )


@router.get("/models/{name}.onnx", response_class=FileResponse, responses=schemas.problems(400, 404, 503))
async def model_file(request: Request, name: str) -> FileResponse:
    """Return a model file, for the web page, which runs it in the browser."""
    models = request.app.state.serving.models
    if name not in models:
        raise HTTPException(404, f"no model named {shortened(name)}; there are {', '.join(sorted(models))}")
    return FileResponse(models[name], media_type="application/octet-stream")


@router.get("/health", responses=schemas.problems(400))
async def health() -> dict[str, str]:
    """Tell that the process is alive."""
    return {"status": "ok"}


@router.get("/ready", responses=schemas.problems(400, 503))
async def ready(request: Request) -> dict[str, str]:
    """Tell whether a request would be accepted now."""
    engine = request.app.state.serving.engine
    if engine.state != "ready":
        raise HTTPException(503, engine.state, RETRY)
    with engine.admit():
        return {"status": "ready"}


@router.get(
    "/metrics",
    dependencies=_TOKEN,
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **schemas.problems(400, 401, 503)},
)
async def metrics(request: Request) -> Response:
    """Return metrics for Prometheus: requests, latency, batches, the queue, faces, streams, memory."""
    return Response(request.app.state.serving.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _predict_all(serving: Serving, images: list[EncodedImage], cropped: bool) -> list[schemas.ImagePrediction]:
    if cropped:
        found = await serving.engine.process_crops(images)
        return [_prediction(image, k, result) for k, (image, result) in enumerate(zip(images, found, strict=True))]
    return await asyncio.gather(*(_predict(serving, image, k) for k, image in enumerate(images)))


async def _predict(serving: Serving, image: EncodedImage, index: int) -> schemas.ImagePrediction:
    try:
        return _prediction(image, index, *await serving.engine.process(image, index))
    except SourceError as error:
        return _prediction(image, index, error)


def _prediction(
    image: EncodedImage, index: int, result: Result | SourceError, left_out: int = 0
) -> schemas.ImagePrediction:
    if isinstance(result, SourceError):
        return schemas.ImagePrediction(name=image.name, index=index, error=str(result))
    return schemas.ImagePrediction.model_validate(result.to_dict() | {"left_out": left_out})


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work until it is done, its time is up or the client has left."""
    task, gone = asyncio.create_task(work), asyncio.create_task(_disconnect(request))
    try:
        seconds = request.app.state.serving.limits.work_seconds
        await asyncio.wait((task, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientDisconnect
        raise HTTPException(503, "it took too long; try again in a moment", RETRY)
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.wait((task, gone))


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _model_name(serving: Serving) -> str:
    classifier = serving.engine.pipeline.classifier
    return str(getattr(classifier, "name", type(classifier).__name__))
