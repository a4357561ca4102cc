"""The JSON of requests and answers, and the examples of the OpenAPI description."""

from __future__ import annotations

from typing import Any

from fastapi import Query
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

_PGM = "P2\n4 4\n255\n0 85 170 255 0 85 170 255 0 85 170 255 0 85 170 255\n"  # an image that JSON can hold as text
_BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVQIHWOsZ2CsZwAAA4gBAaTVtyAAAAAASUVORK5CYII="

CROPS = Query(
    description="Each image is one cropped face: no detector runs, and the box is the whole image. Best is a square as "
    "wide as the face with level eyes; the network sees 48 x 48 gray pixels."
)


class UploadItem(BaseModel):
    """An image as text."""

    model_config = ConfigDict(extra="forbid")
    data: str = Field(
        description="base64 of an image file (JPEG, PNG, WebP, ...), or a data: URL",
        json_schema_extra={"contentEncoding": "base64"},
    )
    name: str = Field(default="", description="returned in the answer")


class Upload(BaseModel):
    """Images as text. `pictures` is the key of older clients."""

    model_config = ConfigDict(extra="forbid")
    images: list[UploadItem] = Field(max_length=1000, validation_alias=AliasChoices("images", "pictures"))


class Problem(BaseModel):
    """Every answer other than a success."""

    detail: str = Field(description="what was wrong and what to do")


class FaceResult(BaseModel):
    """A face: mien.types.Face.to_dict()."""

    id: int | None = Field(default=None, description="number of the person within a stream; null for images")
    box: list[float] = Field(description="x1, y1, x2, y2 in pixels; may extend beyond the image")
    score: float = Field(description="the detector's confidence, 0..1")
    landmarks: list[list[float]] = Field(description="five (x, y): eyes, nose, corners of the mouth; or none")
    emotion: str
    confidence: float = Field(description="probability of `emotion`, 0..1")
    uncertain: bool = Field(description="whether the top probability is too low to rely on")
    probabilities: dict[str, float] = Field(description="of each emotion; they sum to 1")
    quality: dict[str, float | None] | None = Field(
        default=None,
        description="size in pixels; sharpness; brightness 0..255; yaw, pitch, roll in degrees; inside 0..1",
    )
    weaknesses: list[str] = Field(default=[], description="what of the quality makes the face uncertain")


class ImagePrediction(BaseModel):
    """The faces of an image, or the reason why it cannot be read."""

    name: str
    index: int = Field(description="number in the request, from 0")
    width: int = 0
    height: int = 0
    faces: list[FaceResult] = Field(default=[], description="the largest first")
    left_out: int = Field(default=0, description="number of faces beyond the limit")
    error: str | None = None


class Prediction(BaseModel):
    """The answer to a request."""

    model: str = Field(description="name of the model")
    results: list[ImagePrediction] = Field(
        description="one for each image, or page of a TIFF, in the order of the request"
    )


class ModelInfo(BaseModel):
    """The model behind the answers."""

    name: str
    version: str
    sha256: str = Field(description="of the model file; empty when the model is not a file")
    labels: list[str]
    uncertain_below: float = Field(
        ge=0, lt=2, description="top probability below which a face is uncertain, 0..1; above 1 every face is uncertain"
    )
    input: dict[str, Any] = {"name": "crops", "dtype": "uint8", "shape": ["N", 48, 48]}
    detector: str
    limits: dict[str, int] = Field(description="body_bytes, frame_bytes, pixels, images, faces")


_FACE = {
    "id": None,
    "box": [153.2, 57.9, 291.0, 246.4],
    "score": 0.93,
    "landmarks": [[192.4, 130.1], [257.8, 131.7], [226.0, 171.3], [195.9, 201.2], [252.3, 203.0]],
    "emotion": "happy",
    "confidence": 0.97,
    "uncertain": False,
    "probabilities": {"angry": 0.01, "happy": 0.97, "sad": 0.01, "surprise": 0.004, "neutral": 0.006},
    "quality": {
        "size": 188.5,
        "sharpness": 0.62,
        "brightness": 146.4,
        "yaw": -2.3,
        "pitch": -4.2,
        "roll": 3.6,
        "inside": 1.0,
    },
    "weaknesses": [],
}

PREDICTION: dict[str, Any] = {
    "model": "mien-s",
    "results": [
        {"name": "face.jpg", "index": 0, "width": 512, "height": 512, "faces": [_FACE], "left_out": 0, "error": None},
        {"name": "notes.txt", "index": 1, "width": 0, "height": 0, "faces": [], "left_out": 0,
         "error": "notes.txt: not an image that mien can read; use a JPEG, PNG, GIF, WebP, BMP or TIFF file"},
    ],
}  # fmt: skip


def request_body(many: bool) -> dict[str, Any]:
    """Return the OpenAPI description of a request's body: one image or many."""
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    most = {} if many else {"maxItems": 1}

    def content(items: dict[str, Any], about: str, example: Any) -> dict[str, Any]:
        images = {"type": "array", "items": items, "minItems": 1, "description": about, **most}
        schema = {"type": "object", "required": ["images"], "properties": {"images": images}}
        return {"schema": schema, "example": {"images": [example]}}

    form = content(file, "image files; any field name will do, text fields are ignored", _PGM)
    text = content(UploadItem.model_json_schema(), "images as text", {"name": "dot.png", "data": _BASE64})
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form, "application/json": text}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the answers other than a success."""
    reasons = {
        400: "Malformed HTTP, or a Host header that does not name this server (as plain text).",
        401: "Missing or wrong token.",
        403: "A web page of another origin.",
        404: "No such file.",
        408: "The body came too slowly.",
        413: "Too many bytes, images or fields.",
        415: "Neither multipart/form-data nor application/json.",
        422: "Malformed, or none of the images can be read.",
        429: "Too many requests; see Retry-After.",
        503: "The queue is full or the work takes too long; see Retry-After.",
    }
    return {status: {"model": Problem, "description": reasons[status]} for status in statuses}
