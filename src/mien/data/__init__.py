"""Data sets of faces: read, split, summarised and audited. Needs no torch."""

from mien.data.audit import Audit, audit, audit_source
from mien.data.faces import SPLITS, Faces
from mien.data.registry import KINDS, load_any
from mien.data.summary import DataSummary, summarize

__all__ = ["KINDS", "SPLITS", "Audit", "DataSummary", "Faces", "audit", "audit_source", "load_any", "summarize"]
