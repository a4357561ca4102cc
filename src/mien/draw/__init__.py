"""The overlay: a box, a label and probability bars for each face, and a status line for live views."""

from mien.draw.annotator import Overlay, Status, Style, draw
from mien.draw.palette import COLOURS

__all__ = ["COLOURS", "Overlay", "Status", "Style", "draw"]
