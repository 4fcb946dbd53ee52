"""Formats of results: their names on the command line, and their media types."""

from __future__ import annotations

__all__ = ["ACCEPT", "FORMATS", "MEDIA_TYPES", "SUFFIXES"]

MEDIA_TYPES = {
    "md": "text/markdown",
    "html": "text/html",
    "text": "text/plain",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "report": "application/json",
}
"""Media type to request from the service, by the name of the format."""
ACCEPT = {name: MEDIA_TYPES[name] for name in ("md", "html", "json")}
"""Media types of the formats that a result can be converted to."""
FORMATS = {media_type: name for name, media_type in ACCEPT.items()}
"""Names of the formats in ACCEPT, by media type."""
SUFFIXES = FORMATS | {"text/plain": "txt"}
"""Suffix of a file with a result, by its media type."""
