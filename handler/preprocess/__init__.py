"""Conversion of documents to pages: upright RGB pixels at the model's input size.

The code parses untrusted input, so it runs in a child process that may crash, hang or
run out of memory without harm. Calls share no state: each takes an open file, which
its caller closes, and returns values that `sandbox.wire` can serialise.

The package does not import torch. The engine converts pages to tensors.
"""

from __future__ import annotations

from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.document import (
    crop_images,
    decode_page,
    decode_strip,
    inspect_document,
)
from handler.preprocess.image import decode
from handler.preprocess.limits import Limits
from handler.preprocess.media import MEDIA_TYPES, media_type_of
from handler.preprocess.pdf.fonts.mapper import find_missing_scripts, preload_fonts
from handler.preprocess.pdf.fonts.scripts import INSTALL_ADVICE
from handler.preprocess.ranges import parse_page_ranges
from handler.preprocess.sizing import pdf_render_size, target_size

__all__ = [
    "INSTALL_ADVICE",
    "MEDIA_TYPES",
    "DecodeOptions",
    "Limits",
    "crop_images",
    "decode_page",
    "decode_strip",
    "find_missing_scripts",
    "import_all",
    "inspect_document",
    "media_type_of",
    "parse_page_ranges",
    "pdf_render_size",
    "target_size",
]


def import_all() -> None:
    """Import modules and map fonts that are otherwise loaded on demand.

    Call it before confinement takes away the right to open files.
    """
    decode.import_all()
    preload_fonts()
