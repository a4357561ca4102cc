"""Results as a Parquet table."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

from mien.errors import ConfigError
from mien.media.output_paths import Output, OutputPaths
from mien.media.targets import writing
from mien.sinks.base import COLUMNS, FileSink, encodable, rows
from mien.types import EMOTIONS, Failure, Result


class Parquet(FileSink):
    """The table of `Csv` with typed columns (`uncertain` is a boolean, empty cells are null); needs PyArrow.

    A Parquet file cannot be read before its end is written. So rows go to numbered files in a folder, the draft, and
    `close` joins them, a row group each, with no more than one in memory.
    """

    reads_pixels = False
    _options: ClassVar = {
        "what": "a Parquet table", "suffixes": (".parquet", ".pq"), "draft_folder": True, "keep": True, "stream": False,
    }  # fmt: skip

    def __init__(
        self, path: str | Path | Output, labels: Sequence[str] | None = None, seconds: float = 5.0, rows: int = 20_000
    ) -> None:
        """Check the path; rows are written every `seconds`, which a crash can lose, or when there are `rows`."""
        super().__init__(path)
        self.labels = labels
        self._seconds, self._most = seconds, rows
        self._rows: list[dict[str, Any]] = []
        self._files = 0
        self._saved = 0.0

    @classmethod
    def ask(cls, outputs: OutputPaths, path: str | Path) -> Output:
        if importlib.util.find_spec("pyarrow") is None:
            raise ConfigError("Parquet needs PyArrow; pip install 'mien[parquet]', or write CSV")
        return super().ask(outputs, path)

    def write(self, result: Result) -> None:
        self.start()
        self._add(rows(result, self._labels))

    def fail(self, failure: Failure) -> None:
        self.start()
        self._add(rows(failure, self._labels))

    def _add(self, rows: list[dict[str, Any]]) -> None:
        self._is_empty = False
        self._rows += rows
        if len(self._rows) >= self._most or monotonic() - self._saved >= self._seconds:
            with writing(self.path):
                self._save()

    @property
    def _draft(self) -> Path:
        assert self.file.draft
        return self.file.draft

    def _begin(self) -> bool:
        import pyarrow as pa

        self._labels = tuple(self.labels or EMOTIONS)
        kinds = dict.fromkeys(("shot", "face", "id"), pa.int32())
        kinds |= dict.fromkeys(("name", "emotion", "error"), pa.string())
        kinds |= {"index": pa.int64(), "time": pa.float64(), "uncertain": pa.bool_()}
        columns = (*COLUMNS, *self._labels, "error")
        self._schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in columns])
        super()._begin()
        with writing(self.path):  # what a dead run left
            for path in self._draft.iterdir():
                if re.fullmatch(r"\d{6}\.parquet|\.\d{6}|\.whole", path.name):
                    path.unlink()
        self._saved = monotonic()
        return False

    def _save(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        draft = self._draft / f".{self._files:06d}"  # readers of folders skip this name
        pq.write_table(pa.Table.from_pylist(list(map(encodable, self._rows)), self._schema), draft)
        draft.rename(self._draft / f"{self._files:06d}.parquet")
        self._files += 1
        self._rows.clear()
        self._saved = monotonic()

    def _stop(self) -> None:
        if self._rows or self._files == 0:
            self._save()

    def _finish(self) -> None:
        import pyarrow.parquet as pq

        self._stop()
        self.file.complete = self._draft / ".whole"
        with pq.ParquetWriter(self.file.complete, self._schema) as writer:
            for k in range(self._files):
                writer.write_table(pq.read_table(self._draft / f"{k:06d}.parquet"))
