"""The errors that mien raises on purpose.

Error                 root of all; the message says what was wrong and what to do
+-- SourceError       an image, video or camera that cannot be read
|   +-- VideoError    a video that cannot be read, or not to its end
+-- ModelError        a model file that is missing, damaged or not one of ours
+-- DataError         a data set that is missing, truncated or in another layout
+-- ConfigError       a setting that does not exist or has an impossible value
"""

from __future__ import annotations


class Error(Exception):
    """Root of all errors that mien raises on purpose; the message says what was wrong and what to do."""


class SourceError(Error):
    """A picture, video or camera that cannot be read."""


class VideoError(SourceError):
    """A video that cannot be read, or not to its end."""


class ModelError(Error):
    """A model file that is missing, damaged or not one of ours."""


class DataError(Error):
    """A data set that is missing, truncated or in another layout."""


class ConfigError(Error):
    """A setting that does not exist or has an impossible value."""
