"""The errors that mien raises on purpose.

Error
├── SourceError       an image, video or camera cannot be read
│   └── VideoError    a video cannot be read, or not to its end
├── ModelError        a model file is missing, damaged or of another kind
├── DataError         a data set is missing, truncated or in another layout
├── OutputError       an output cannot be written
└── ConfigError       a setting does not exist or has an impossible value

Every message says what was wrong and what to do.
"""

from __future__ import annotations


class Error(Exception):
    """Base class of all errors that mien raises on purpose."""


class SourceError(Error):
    """An image, video or camera cannot be read."""


class VideoError(SourceError):
    """A video cannot be read, or not to its end."""


class ModelError(Error):
    """A model file is missing, damaged or of another kind."""


class DataError(Error):
    """A data set is missing, truncated or in another layout."""


class OutputError(Error):
    """An output cannot be written."""


class ConfigError(Error):
    """A setting does not exist or has an impossible value."""
