"""Results: the list that a pipeline returns for several images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mien.types import Result

if TYPE_CHECKING:
    import pandas


class Results(list[Result]):
    """A list of results, in the order of the images; in a notebook it shows their annotated images."""

    def to_dict(self) -> list[dict[str, Any]]:
        """Return `Result.to_dict` of each."""
        return [result.to_dict() for result in self]

    def to_json(self, indent: int | None = None) -> str:
        """Return a JSON list."""
        from mien import conversions

        return conversions.to_json(self, indent)

    def to_pandas(self) -> pandas.DataFrame:
        """Return one table with a row a face of all images, see `Result.to_pandas`."""
        from mien import conversions

        return conversions.to_pandas(self)

    def __repr__(self) -> str:
        lines = [repr(result) for result in self[:20]] + [f"... and {len(self) - 20} more"] * (len(self) > 20)
        text = ",\n ".join(lines)
        return f"[{text}]"

    def _repr_html_(self) -> str:
        from mien import rendering

        return rendering.html_list(self)
