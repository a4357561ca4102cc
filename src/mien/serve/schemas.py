"""What goes in and out as JSON, and the examples of the OpenAPI description."""

from __future__ import annotations

from typing import Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

_TEXT = (
    "P2\n4 4\n255\n0 85 170 255 0 85 170 255 0 85 170 255 0 85 170 255\n"  # a picture (PGM) that JSON can hold as it is
)
_BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVQIHWOsZ2CsZwAAA4gBAaTVtyAAAAAASUVORK5CYII="
CROPS = Query(
    description="Each picture is one face that you have cut out: no detector runs, its box is the whole picture. Best "
    "is a square as wide as the face, eyes level; 48 x 48 gray pixels are what the network looks at."
)


class UploadItem(BaseModel):
    """A picture as text."""

    model_config = ConfigDict(extra="forbid")
    data: str = Field(description="base64 of a JPEG, PNG, GIF, WebP, BMP or TIFF file, or a data: URL of it")
    name: str = Field(default="", description="shown again in the answer")


class Upload(BaseModel):
    """Pictures as text."""

    model_config = ConfigDict(extra="forbid")
    pictures: list[UploadItem] = Field(max_length=1000)


class Problem(BaseModel):
    """Every answer that is not a success."""

    detail: str = Field(description="what was wrong and what to do")


class SeenFace(BaseModel):
    """A face: mien.types.Face.to_dict()."""

    id: int | None = Field(default=None, description="number of the person within a stream; null for pictures")
    box: list[float] = Field(description="x1, y1, x2, y2 in pixels; may reach over the border of the picture")
    score: float = Field(description="the detector's confidence, 0..1")
    landmarks: list[list[float]] = Field(description="five (x, y): eyes, nose, corners of the mouth; or none")
    emotion: str
    confidence: float = Field(description="probability of `emotion`, 0..1")
    uncertain: bool = Field(description="whether no emotion is probable enough to be relied upon")
    probabilities: dict[str, float] = Field(description="of each emotion; they sum to 1")


class SeenPicture(BaseModel):
    """A picture with its faces, or with the reason why it could not be read."""

    name: str
    index: int = Field(description="number in the request, from 0")
    width: int = 0
    height: int = 0
    faces: list[SeenFace] = Field(default=[], description="the largest first")
    left_out: int = Field(default=0, description="how many more faces there were than the limit")
    error: str | None = None


class Prediction(BaseModel):
    """The answer for a request."""

    model: str = Field(description="name of the model")
    results: list[SeenPicture] = Field(description="one a picture, in the order of the request")


class ModelInput(BaseModel):
    """What the network takes: uint8 gray crops."""

    name: str = "crops"
    dtype: str = "uint8"
    shape: list[str | int] = ["N", 48, 48]


class ModelInfo(BaseModel):
    """What answers."""

    name: str
    version: str
    sha256: str = Field(description="of the model file; empty for one that is no file")
    labels: list[str]
    uncertain_below: float = Field(description="top probability below which a face is uncertain, 0..1")
    input: ModelInput = ModelInput()
    detector: str
    limits: dict[str, int] = Field(description="body_bytes, frame_bytes, pixels, pictures, faces")


_FACE = {
    "id": None,
    "box": [153.2, 57.9, 291.0, 246.4],
    "score": 0.93,
    "landmarks": [[192.4, 130.1], [257.8, 131.7], [226.0, 171.3], [195.9, 201.2], [252.3, 203.0]],
    "emotion": "happy",
    "confidence": 0.97,
    "uncertain": False,
    "probabilities": {"angry": 0.01, "happy": 0.97, "sad": 0.01, "surprise": 0.004, "neutral": 0.006},
}
PREDICTION: dict[str, Any] = {
    "model": "rep",
    "results": [
        {"name": "face.jpg", "index": 0, "width": 512, "height": 512, "faces": [_FACE], "left_out": 0, "error": None},
        {"name": "notes.txt", "index": 1, "width": 0, "height": 0, "faces": [], "left_out": 0,
         "error": "notes.txt: not a picture that mien can read; use a JPEG, PNG, GIF, WebP, BMP or TIFF file"},
    ],
}  # fmt: skip

MODEL: dict[str, Any] = {
    "name": "rep",
    "version": "0.1.0",
    "sha256": "3bc55dd6bf313a51d5e02d3bed20dc721a1726903e109510939d5102902791cc",
    "labels": ["angry", "happy", "sad", "surprise", "neutral"],
    "uncertain_below": 0.6125,
    "input": {"name": "crops", "dtype": "uint8", "shape": ["N", 48, 48]},
    "detector": "yunet",
    "limits": {"body_bytes": 16777216, "frame_bytes": 4194304, "pixels": 25000000, "pictures": 16, "faces": 64},
}


def body(many: bool) -> dict[str, Any]:
    """The OpenAPI description of a request's body: one picture or many."""
    most = {} if many else {"maxItems": 1}
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    item = {
        "type": "object",
        "required": ["data"],
        "additionalProperties": False,
        "properties": {
            "data": {"type": "string", "contentEncoding": "base64", "description": "a picture file, or a data: URL"},
            "name": {"type": "string", "description": "shown again in the answer"},
        },
    }
    forms = {
        "multipart/form-data": {"pictures": {"type": "array", "items": file, "minItems": 1, **most}},
        "application/json": {"pictures": {"type": "array", "items": item, "minItems": 1, **most}},
    }
    content: dict[str, Any] = {
        kind: {"schema": {"type": "object", "required": ["pictures"], "properties": properties}}
        for kind, properties in forms.items()
    }
    content["multipart/form-data"]["example"] = {"pictures": [_TEXT]}
    content["application/json"]["example"] = {"pictures": [{"name": "dot.png", "data": _BASE64}]}
    return {"requestBody": {"required": True, "content": content}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of the answers that are no success."""
    reasons = {
        401: "No or a wrong token.",
        403: "A web page of another origin.",
        404: "There is no such file.",
        408: "The body came too slowly.",
        413: "Too many bytes or pictures.",
        415: "Neither multipart/form-data nor application/json.",
        421: "The Host header does not name this server.",
        422: "Malformed, or none of the pictures can be read.",
        429: "Too many requests; see Retry-After.",
        503: "The queue is full or the work takes too long; see Retry-After.",
    }
    return {status: {"model": Problem, "description": reasons[status]} for status in statuses}
