"""Puts together the web page: runtime from npm, models from the assets; then a folder that any server can host.

Run `npm ci` in web/ first; `make web` does both. Writes src/mien/serve/static/vendor and models, and dist/web.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from mien import classify, pipeline

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "src/mien/serve/static"
RUNTIME = ROOT / "web/node_modules/onnxruntime-web"
ASSETS = classify.ASSETS
DETECTOR = "face_detection_yunet_2023mar.onnx"
WASM = "ort-wasm-simd-threaded.wasm"


def main() -> None:
    """Make both folders anew, then copy everything to dist/web."""
    vendor, models = (_empty(STATIC / name) for name in ("vendor", "models"))
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", WASM):
        shutil.copyfile(RUNTIME / "dist" / name, vendor / name)
    shutil.copyfile(ASSETS / DETECTOR, models / DETECTOR)
    model = classify.model()
    shutil.copyfile(ASSETS / f"{classify.DEFAULT}.onnx", models / f"{classify.DEFAULT}.onnx")
    shutil.copyfile(ASSETS / "portrait.jpg", models / "portrait.jpg")
    manifest = {
        "runtime": _part(vendor / WASM) | {"file": f"../vendor/{WASM}"},
        "detector": _part(models / DETECTOR),
        "classifier": _part(models / f"{classify.DEFAULT}.onnx")
        | {"name": model.name, "labels": list(model.labels), "uncertain_below": model.uncertain_below},
        "margin": pipeline.MARGIN,
    }
    (models / "models.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    shutil.rmtree(ROOT / "dist/web", ignore_errors=True)
    shutil.copytree(STATIC, ROOT / "dist/web")


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _part(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"file": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


if __name__ == "__main__":
    main()
