"""The command `explain`."""

from __future__ import annotations

from pathlib import Path

import mien
from mien.cli.console import echo, err


def explain(
    image: Path, *, out: Path = Path("explanation.png"), model: str | None = None, detector: str = "yunet"
) -> int:
    """Draw which parts of each face the answer rests on: what its probability loses where they are hidden.

    Parameters
    ----------
    image
        A picture file.
    out
        PNG file to write.
    model
        Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file.
    detector
        yunet, haar or mtcnn.
    """
    from mien.evaluation.plots import explanation_png
    from mien.train.explain import explain

    pipeline = mien.load(model=model, detector=detector)
    result = pipeline(image)
    if not result.faces:
        err.print(f"{image}: no face found, nothing to explain", highlight=False, markup=False)
        return 1
    explanation_png(result, [explain(pipeline.classifier, crop) for crop in result.crops], out)
    echo(f"wrote {out}")
    return 0
