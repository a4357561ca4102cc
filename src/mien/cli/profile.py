"""A person's profile on a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien.cli.console import warn

if TYPE_CHECKING:
    from mien.pipeline import Pipeline


def with_profile(pipeline: Pipeline, path: Path | None) -> Pipeline:
    """Apply a person's profile, if there is one, and print its warning on stderr."""
    if path is None:
        return pipeline
    from mien.personal.prior import PersonalClassifier, personalize

    adapted = personalize(pipeline, path)
    if isinstance(adapted.classifier, PersonalClassifier) and adapted.classifier.warning:
        warn(f"{path}: {adapted.classifier.warning}")
    return adapted
