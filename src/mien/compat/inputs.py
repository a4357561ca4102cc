"""Images as fer and deepface take them: data URLs besides all that a pipeline takes."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from mien.errors import SourceError
from mien.media.image import decode
from mien.media.inputs import read_frame
from mien.types import Frame


def read(image: Any) -> Frame:
    """Read an image; text may be a data URL, `data:image/png;base64,...`."""
    if not isinstance(image, str) or not image.startswith("data:image/"):
        return read_frame(image)
    try:
        data = base64.b64decode(image.partition(",")[2], validate=True)
    except binascii.Error as error:
        raise SourceError("data URL: its base64 text is damaged; encode the file again") from error
    return Frame(decode(data, "data URL"), name="data URL")
