"""The command `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import mien
from mien.cli import options
from mien.cli.console import count, echo, start, warn


def explain(
    image: Path,
    *,
    out: Annotated[Path, options.out("a PNG or HTML file; HTML needs mien[report]")] = Path("explanation.png"),
    detector: options.Detector = "yunet",
    model: options.Model = None,
    min_face: options.MinFace = None,
    min_score: options.MinScore = None,
    quiet: options.Quiet = False,
) -> int:
    """Show which parts of each face the prediction rests on: what its probability loses where they are hidden.

    Parameters
    ----------
    image
        An image file.
    """
    from mien.evaluation.explain import occlusion_map, write_explanation
    from mien.media.output_paths import OutputPaths

    clock = start(quiet)
    inputs = OutputPaths([image, model])
    inputs.file(out, what="an explanation", suffixes=(".png", ".html", ".htm"))
    pipeline = mien.load(model=model, detector=detector, min_face=min_face, min_score=min_score)
    result = pipeline(image)
    if not result.faces:
        warn(f"{image}: no face found, nothing to explain")
        clock.summary(count(1, "image"), count(0, "face"))
        return 1
    write_explanation(result, [occlusion_map(pipeline.classifier, crop) for crop in result.crops], out)
    echo(f"wrote {out}")
    clock.summary(count(1, "image"), count(len(result.faces), "face"))
    return 0
