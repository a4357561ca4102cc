"""Puts together the web page: runtime from npm, models from the assets; then a folder that any server can host.

Run `npm ci` in web/ first; `make web` does both. Writes src/mien/serve/static/vendor and models, and dist/web.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import examples
from mien import pipeline
from mien.faces import onnx
from mien.faces.models import DEFAULT, load_classifier

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "src/mien/serve/static"
PACKAGES = ROOT / "web/node_modules"
ASSETS = onnx.ASSETS
DETECTOR = "yunet.onnx"
WASM = "ort-wasm-simd-threaded.wasm"
CLASSIFIERS = (DEFAULT, "mien-xs", "mien-s-7")
"""The models that a person can choose on the page, the default first."""


def main() -> None:
    """Make both folders anew, then copy everything to dist/web."""
    vendor, models = (_empty(STATIC / name) for name in ("vendor", "models"))
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", WASM):
        shutil.copyfile(PACKAGES / "onnxruntime-web/dist" / name, vendor / name)
    # The page loads it when a video is analysed, or to say why a video does not play.
    shutil.copyfile(PACKAGES / "mediabunny/dist/bundles/mediabunny.min.mjs", vendor / "mediabunny.min.mjs")
    for name in (DETECTOR, *(f"{name}.onnx" for name in CLASSIFIERS)):
        shutil.copyfile(ASSETS / name, models / name)
    examples.write_examples(ASSETS / "portrait.jpg", models)
    manifest = {
        "runtime": _part(vendor / WASM) | {"file": f"../vendor/{WASM}"},
        "detector": _part(models / DETECTOR),
        "classifiers": [_classifier(models / f"{name}.onnx") for name in CLASSIFIERS],
        "margin": pipeline.MARGIN,
    }
    (models / "models.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    shutil.rmtree(ROOT / "dist/web", ignore_errors=True)
    shutil.copytree(STATIC, ROOT / "dist/web")


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _classifier(path: Path) -> dict[str, Any]:
    model = load_classifier(path.stem)
    return _part(path) | {
        "name": model.name, "labels": list(model.labels), "uncertain_below": model.confidence_threshold
    }  # fmt: skip


def _part(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"file": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


if __name__ == "__main__":
    main()
