"""The command `explain`."""

from __future__ import annotations

from pathlib import Path

import mien
from mien.cli.console import echo, warn
from mien.cli.options import Detector, MinScore, Model


def explain(
    image: Path,
    *,
    out: Path = Path("explanation.png"),
    model: Model = None,
    detector: Detector = "yunet",
    min_score: MinScore = None,
) -> int:
    """Show which parts of each face the prediction rests on: what its probability loses where they are hidden.

    Parameters
    ----------
    image
        An image file.
    out
        PNG or HTML file to write; HTML needs mien[report].
    """
    from mien.evaluation.explain import occlusion_map, write_explanation
    from mien.media.output_paths import OutputPaths

    inputs = OutputPaths([image, model])
    inputs.file(out, what="an explanation", suffixes=(".png", ".html", ".htm"))
    pipeline = mien.load(model=model, detector=detector, min_score=min_score)
    result = pipeline(image)
    if not result.faces:
        warn(f"{image}: no face found, nothing to explain")
        return 1
    write_explanation(result, [occlusion_map(pipeline.classifier, crop) for crop in result.crops], out)
    echo(f"wrote {out}")
    return 0
