"""A data set in figures: how many pictures of each class and split, their brightness, and how many are leaked."""

from __future__ import annotations

from dataclasses import dataclass

from mien.train import data

KEPT = "Training without leaks"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a data set holds.

    Attributes:
        counts: each split, and KEPT -> label -> number of pictures.
        mean: of the pixels of KEPT, 0..1; 0 where there are none.
        std: their standard deviation, 0..1.
        leaks: Training pictures that are pixel-identical to one of another split.
    """

    counts: dict[str, dict[str, int]]
    mean: float
    std: float
    leaks: int

    def remarks(self) -> dict[str, str]:
        """What the counts do not say, in words, by name."""
        kept = self.counts[KEPT].values()
        return {
            "leaks": f"{self.leaks:,} Training pictures are identical to a picture of another split",
            "mean": f"{self.mean:.4f} (pixels of {KEPT}, 0..1)",
            "standard deviation": f"{self.std:.4f}",
            "imbalance": f"{max(kept) / max(1, min(kept)):.2f} (largest class over smallest, {KEPT})",
        }


def facts(everything: data.Faces, labels: tuple[str, ...] | None = None) -> Facts:
    """Count the pictures of a data set.

    Args:
        everything: all splits and classes, leaked pictures included: a leak counts whatever the class of its twin is.
        labels: count only these classes; None: all.
    """
    labels = labels or everything.labels
    whole, kept = everything.with_labels(labels), data.without_leaks(everything).with_labels(labels)
    parts = {name: whole.split(name) for name in data.SPLITS} | {KEPT: kept.split("Training")}
    counts = {
        name: {label: int((part.targets == k).sum()) for k, label in enumerate(labels)} for name, part in parts.items()
    }
    mean, std = data.statistics(parts[KEPT]) if len(parts[KEPT]) else (0.0, 0.0)
    return Facts(counts, mean, std, len(parts["Training"]) - len(parts[KEPT]))
