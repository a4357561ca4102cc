"""The types that all of mien shares.

Images are uint8 BGR arrays (H, W, 3), as in OpenCV. Boxes are (x1, y1, x2, y2) in pixels of their image. Probabilities
are floats that sum to 1, in the order of the model's labels. Times are in seconds.
"""

from __future__ import annotations

from mien.types.emotions import CLASSES as CLASSES
from mien.types.emotions import EMOTIONS as EMOTIONS
from mien.types.emotions import EMOTIONS7 as EMOTIONS7
from mien.types.emotions import EMOTIONS8 as EMOTIONS8
from mien.types.emotions import label_columns as label_columns
from mien.types.face import QUALITY as QUALITY
from mien.types.face import Face as Face
from mien.types.face import Quality as Quality
from mien.types.frame import Failure as Failure
from mien.types.frame import Frame as Frame
from mien.types.protocols import Classifier as Classifier
from mien.types.protocols import Detector as Detector
from mien.types.protocols import Floats as Floats
from mien.types.protocols import FrameSource as FrameSource
from mien.types.protocols import Image as Image
from mien.types.protocols import Pixels as Pixels
from mien.types.protocols import ScaledDetector as ScaledDetector
from mien.types.protocols import Sink as Sink
from mien.types.protocols import View as View
from mien.types.result import Result as Result
from mien.types.result import Results as Results
