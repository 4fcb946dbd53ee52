"""Conversion of the model's output to the formats that callers ask for."""

from handler.postprocess.blocks.collector import PageGeometry
from handler.postprocess.blocks.join import StripAnswer
from handler.postprocess.content import (
    CUSTOM,
    ConversionOptions,
    convert_page,
    convert_strips,
)
from handler.postprocess.negotiate import ACCEPTED, choose_media_type
from handler.postprocess.pictures import illustrate
from handler.postprocess.render import end_line, page_line, render

__all__ = [
    "ACCEPTED",
    "CUSTOM",
    "ConversionOptions",
    "PageGeometry",
    "StripAnswer",
    "choose_media_type",
    "convert_page",
    "convert_strips",
    "end_line",
    "illustrate",
    "page_line",
    "render",
]
