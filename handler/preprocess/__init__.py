"""Documents become pages: decoded, upright, on white, the size the model wants.

Everything here meets bytes of strangers, so it runs in a child process that may
crash, hang or run out of memory without harm. Each call stands alone: it takes an
open file, which its caller closes, and returns values that `sandbox.wire` can write.

No torch: pages become tensors in the engine.
"""

from __future__ import annotations

from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.document import (
    crops_at,
    inspect_document,
    page_at,
    strip_at,
)
from handler.preprocess.image import decode
from handler.preprocess.limits import Limits
from handler.preprocess.media import MEDIA_TYPES, media_type_of
from handler.preprocess.pdf.fonts import missing_scripts, preload_fonts
from handler.preprocess.pdf.scripts import INSTALL_ADVICE
from handler.preprocess.ranges import page_numbers
from handler.preprocess.sizing import pdf_render_size, target_size

__all__ = [
    "INSTALL_ADVICE",
    "MEDIA_TYPES",
    "DecodeOptions",
    "Limits",
    "crops_at",
    "import_all",
    "inspect_document",
    "media_type_of",
    "missing_scripts",
    "page_at",
    "page_numbers",
    "pdf_render_size",
    "strip_at",
    "target_size",
]


def import_all() -> None:
    """Load what is otherwise loaded on demand, for a process that can open no file."""
    decode.import_all()
    preload_fonts()
