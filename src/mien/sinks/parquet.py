"""Results as a Parquet table."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from mien.errors import ConfigError
from mien.sinks.base import COLUMNS, FileSink, encodable, rows
from mien.types import EMOTIONS, Failure, Result


class Parquet(FileSink):
    """The table of `Csv` with typed columns (`uncertain` is a boolean, empty cells are null); needs PyArrow.

    A Parquet file cannot be read before its end is written. So rows go to numbered files in the folder `<name>.part`,
    and `close` joins them, a row group each, with no more than one in memory.
    """

    def __init__(
        self, path: str | Path, labels: Sequence[str] = EMOTIONS, seconds: float = 5.0, rows: int = 20_000
    ) -> None:
        """Start the draft; rows are written every `seconds`, which a crash can lose, or when there are `rows`."""
        try:
            import pyarrow as pa
        except ModuleNotFoundError as error:
            raise ConfigError("Parquet needs PyArrow; pip install 'mien[parquet]', or write CSV") from error
        super().__init__(path)
        self._labels = tuple(labels)
        kinds = dict.fromkeys(("face", "id"), pa.int32()) | dict.fromkeys(("name", "emotion", "error"), pa.string())
        kinds |= {"index": pa.int64(), "time": pa.float64(), "uncertain": pa.bool_()}
        columns = (*COLUMNS, *self._labels, "error")
        self._schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in columns])
        self._seconds, self._most = seconds, rows
        self._rows: list[dict[str, Any]] = []
        self._files = 0
        self._saved = monotonic()

    def write(self, result: Result) -> None:
        self._add(rows(result, self._labels))

    def fail(self, failure: Failure) -> None:
        self._add(rows(failure, self._labels))

    def _add(self, rows: list[dict[str, Any]]) -> None:
        self._check_open()
        self._rows += rows
        if len(self._rows) >= self._most or monotonic() - self._saved >= self._seconds:
            with self._writing():
                self._save()

    def _open(self) -> None:
        self._part.mkdir(exist_ok=True)
        self._clear()

    def _save(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        draft = self._part / f".{self._files:06d}"  # readers of folders skip this name
        pq.write_table(pa.Table.from_pylist(list(map(encodable, self._rows)), self._schema), draft)
        os.replace(draft, self._part / f"{self._files:06d}.parquet")
        self._files += 1
        self._rows.clear()
        self._saved = monotonic()

    def _stop(self) -> None:
        if self._rows or self._files == 0:
            self._save()

    def _finish(self) -> None:
        import pyarrow.parquet as pq

        whole = self._part / ".whole"
        with pq.ParquetWriter(whole, self._schema) as writer:
            for k in range(self._files):
                writer.write_table(pq.read_table(self._part / f"{k:06d}.parquet"))
        os.replace(whole, self.path)
        self._clear()
        with suppress(OSError):  # foreign files are in it
            self._part.rmdir()

    def _clear(self) -> None:
        for path in self._part.iterdir():
            if re.fullmatch(r"\d{6}\.parquet|\.\d{6}|\.whole", path.name):
                path.unlink()
