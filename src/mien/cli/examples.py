"""Examples for each command's --help; a test parses them."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": ("mien predict photo.jpg", "mien video talk.mp4 --save annotated.mp4", "mien live"),
    "predict": (
        "mien predict photo.jpg --save annotated.jpg",
        "mien predict holiday/ 'scans/*.png' --csv faces.csv --crops crops",
        "mien predict holiday/ --jsonl faces.jsonl --resume",
        "mien predict photo.jpg --jsonl -",
    ),
    "video": (
        "mien video talk.mp4 --save annotated.mp4 --csv faces.csv",
        "mien video recordings/ --save annotated --timeline people.png",
        "mien video frames/ --min-face 80 --detect-every 3",
    ),
    "live": (
        "mien live",
        "mien live 1 --save recording.mp4",
        "mien live rtsp://camera/stream --headless --csv faces.csv",
    ),
    "personalize": (
        "mien personalize --out me.json",
        "mien live --profile me.json",
    ),
    "batch": (
        "mien batch photos/ --out results",
        "mien batch s3://bucket/photos --out s3://bucket/results --workers 32",
        "mien batch crops/ --out results --cropped",
    ),
    "serve": (
        "mien serve",
        "MIEN_TOKEN=a-long-secret-token mien serve --host 0.0.0.0 --port 8080 --model mien-xs",
    ),
    "web": ("mien web", "mien web --port 0"),
    "train": (
        "mien train --data mine/ --out runs/mine",
        "mien train --data fer2013.zip --recipe recipes/mien-s.yaml --out runs/s --resume",
        "mien train --data fer2013.zip --data photographs:press.zip --recipe recipe.yaml --log tensorboard",
    ),
    "evaluate": (
        "mien evaluate --data fer2013.zip --votes ferplus.csv",
        "mien evaluate --data mine/ --model runs/mine/mine.onnx --compare mien-s --json figures.json",
    ),
    "report": ("mien report --data fer2013.zip --model mien-s --out report.html",),
    "explain": ("mien explain photo.jpg --out explanation.png",),
    "doctor": ("mien doctor",),
    "data": ("mien data info mine/",),
    "data info": ("mien data info mine/", "mien data info fer2013.zip --classes 7"),
    "data audit": ("mien data audit fer2013.zip --votes ferplus.csv --html audit.html",),
    "data montage": ("mien data montage mine/ --out montage.png",),
    "data soft-labels": (
        "mien data soft-labels fer2013.zip --model mien-m --model runs/a/best.safetensors --out soft_labels.npz",
    ),
}
"""Command -> lines that a user types."""


def epilogue(command: str) -> str:
    """Return the examples of a command in Markdown."""
    return "\n".join(("**Examples**", "", "```", *EXAMPLES[command], "```"))
