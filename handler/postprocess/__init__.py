"""Turn what the model wrote into what the caller asked for."""

from handler.postprocess.content import CUSTOM, joined_content, page_content
from handler.postprocess.join import StripAnswer
from handler.postprocess.negotiate import ACCEPTED, choose_media_type
from handler.postprocess.pictures import illustrate
from handler.postprocess.render import end_line, page_line, render

__all__ = [
    "ACCEPTED",
    "CUSTOM",
    "StripAnswer",
    "choose_media_type",
    "end_line",
    "illustrate",
    "joined_content",
    "page_content",
    "page_line",
    "render",
]
