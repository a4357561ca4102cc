"""The command `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import mien
from mien.cli import options
from mien.cli.console import count, echo, start, warn


def explain(
    image: Path,
    *,
    label: Annotated[
        list[str] | None,
        Parameter(negative=(), help="Map of this emotion in place of the most probable one; may be repeated."),
    ] = None,
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
    from mien.types import label_columns

    clock = start(quiet)
    inputs = OutputPaths([image, model])
    inputs.file(out, what="an explanation", suffixes=(".png", ".html", ".htm"))
    pipeline = mien.load(model=model, detector=detector, min_face=min_face, min_score=min_score)
    label_columns(pipeline.classifier.labels, label or ())
    result = pipeline(image)
    if not result.faces:
        warn(f"{image}: no face found, nothing to explain")
        clock.summary(count(1, "image"), count(0, "face"))
        return 1
    maps = [
        {
            name: occlusion_map(pipeline.classifier, crop, name)
            for name in label or [max(face.probabilities, key=face.probabilities.__getitem__)]
        }
        for face, crop in zip(result.faces, result.crops, strict=True)
    ]
    write_explanation(result, maps, out)
    echo(f"wrote {out}")
    clock.summary(count(1, "image"), count(len(result.faces), "face"))
    return 0
