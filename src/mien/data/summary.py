"""A data set in figures: images of each class and split, brightness, leaks."""

from __future__ import annotations

from dataclasses import dataclass

from mien.data import faces, splits

KEPT = "Training without leaks"


@dataclass(frozen=True, slots=True)
class DataSummary:
    """Contents of a data set.

    Attributes:
        counts: split, or KEPT -> label -> number of images.
        mean: of the pixels of KEPT, 0..1; 0 if there are none.
        std: their standard deviation, 0..1.
        leaks: Training images that are pixel-identical to one of another split.
    """

    counts: dict[str, dict[str, int]]
    mean: float
    std: float
    leaks: int

    def remarks(self) -> dict[str, str]:
        """Return the remaining figures in words, by name."""
        kept = self.counts[KEPT].values()
        return {
            "leaks": f"{self.leaks:,} Training images are identical to an image of another split",
            "mean": f"{self.mean:.4f} (pixels of {KEPT}, 0..1)",
            "standard deviation": f"{self.std:.4f}",
            "imbalance": f"{max(kept) / max(1, min(kept)):.2f} (largest class over smallest, {KEPT})",
        }


def summarize(everything: faces.Faces, labels: tuple[str, ...] | None = None) -> DataSummary:
    """Count images, of these classes only if `labels` are given.

    Pass all classes and splits with the leaks: a leak counts whatever the class of its twin is.
    """
    labels = labels or everything.labels
    whole, kept = everything.with_labels(labels), splits.without_leaks(everything).with_labels(labels)
    parts = {name: whole.split(name) for name in faces.SPLITS} | {KEPT: kept.split("Training")}
    counts = {name: part.counts() for name, part in parts.items()}
    mean, std = faces.statistics(parts[KEPT]) if len(parts[KEPT]) else (0.0, 0.0)
    return DataSummary(counts, mean, std, len(parts["Training"]) - len(parts[KEPT]))
