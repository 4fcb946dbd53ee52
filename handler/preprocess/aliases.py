"""Aliases of media types that browsers, mail programs and scanners send."""

from __future__ import annotations

__all__ = ["canonical_type"]

_ALIASES = {
    "image/png": [
        *("image/x-png", "image/apng", "image/vnd.mozilla.apng", "image/x-citrix-png"),
        *("application/png", "application/x-png"),
    ],
    "image/jpeg": [
        *("image/jpg", "image/jpe", "image/jfif", "image/pjpeg", "image/pjpg"),
        *("image/pipeg", "image/x-jpeg", "image/x-jpg", "image/x-citrix-jpeg"),
        *("image/mpo", "application/jpg", "application/jpeg", "application/x-jpg"),
    ],
    "image/gif": ["image/gi_", "image/x-gif", "image/x-citrix-gif"],
    "image/bmp": [
        *("image/x-bmp", "image/ms-bmp", "image/x-ms-bmp", "image/x-windows-bmp"),
        *("image/x-win-bitmap", "image/x-bitmap"),
        *("application/bmp", "application/x-bmp", "application/x-win-bitmap"),
    ],
    "image/tiff": [
        *("image/tif", "image/x-tif", "image/x-tiff", "image/tiff-fx"),
        *("image/x-citrix-tiff", "application/tif", "application/tiff"),
        *("application/x-tif", "application/x-tiff"),
    ],
    "image/webp": ["image/x-webp"],
    "image/jp2": [
        *("image/x-jp2", "image/jpeg2000", "image/jpeg2000-image", "image/jpx"),
        *("image/x-jpeg2000-image", "image/j2k", "image/x-j2k"),
    ],
    "image/heic": ["image/heif", "image/heic-sequence", "image/heif-sequence"],
    "image/avif": ["image/avif-sequence"],
    "image/vnd.microsoft.icon": ["image/ico", "image/x-icon"],
    "image/x-portable-anymap": [
        *("image/pnm", "image/x-portable-bitmap", "image/x-portable-graymap"),
        *("image/x-portable-pixmap",),
    ],
    "image/x-tga": ["image/targa", "image/tga", "image/x-targa"],
    "application/pdf": [
        *("application/x-pdf", "application/acrobat", "application/x-acrobat"),
        *("application/vnd.pdf", "applications/vnd.pdf", "application/vnd.cups-pdf"),
        *("text/pdf", "text/x-pdf", "image/pdf"),
    ],
    # Generic names for content of any type: the default of S3 uploads, and those of
    # browsers, mail programs and download scripts.
    "application/octet-stream": [
        *("binary/octet-stream", "application/octetstream", "application/octet"),
        *("application/x-octet-stream", "application/binary", "application/x-binary"),
        *("application/download", "application/x-download", "application/unknown"),
        *("application/force-download", "application/x-force-download"),
        *("application/x-unknown", "unknown/unknown", "image/*", "*/*"),
    ],
}
_CANONICAL = {
    alias: media_type for media_type, names in _ALIASES.items() for alias in names
}


def canonical_type(name: str) -> str:
    """Return the registered name for an alias of a media type.

    `name` is in lower case. A name that is not an alias is returned unchanged.
    """
    return _CANONICAL.get(name, name)
