"""Turn what the model wrote into what the caller asked for."""

from handler.postprocess.content import page_content
from handler.postprocess.negotiate import ACCEPTED, choose_media_type
from handler.postprocess.render import end_line, page_line, render

__all__ = [
    "ACCEPTED",
    "choose_media_type",
    "end_line",
    "page_content",
    "page_line",
    "render",
]
