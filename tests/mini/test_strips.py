"""Quality of a long page that is read in strips."""

from __future__ import annotations

import random
import re

import pytest
from PIL import Image
from rapidfuzz.distance import Levenshtein

from handler.engine.device.model import load_model
from handler.engine.request import EngineRequest
from handler.engine.selection.choice import choose_engine
from handler.postprocess import (
    ConversionOptions,
    PageGeometry,
    StripAnswer,
    convert_page,
    convert_strips,
)
from handler.preprocess import Limits, decode_page, decode_strip
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.settings import EngineSettings
from handler.weights.source import Source, fetch
from mini.build import DEFAULT_OUTPUT
from mini.pages import Domain, render_page
from tests.documents import as_png, spooled

PROFILE = PROFILES["mini"]
DOMAIN = Domain(
    clean=1.0, widths=(520, 520), heights=(640, 640), max_blocks=6, max_characters=200
)
OPTIONS = ConversionOptions("ocr_layout", include_headers_footers=True)


def geometry_of(page):
    return PageGeometry(1, page.width, page.height, PROFILE.bbox_format)


@pytest.fixture(scope="module")
def generate():
    source = Source("folder", str(DEFAULT_OUTPUT))
    weights = fetch(source, EngineSettings(), DEFAULT_OUTPUT / "none")
    engine = choose_engine(load_model(weights, "cpu"), EngineSettings(), "mini").engine
    prompt = load_prompts(PROFILE)["ocr_layout"]

    def generate_text(page):
        engine.submit(EngineRequest("1", "1", page, prompt, PROFILE.max_output_tokens))
        while not (ended := engine.step(lambda: None)):
            pass
        return ended[0].text

    return generate_text


def count_errors(truth, text):
    return Levenshtein.distance(truth, " ".join(text.split()))


@pytest.mark.slow
def test_long_page_is_read_as_well_as_its_parts(generate):
    rng = random.Random(5)
    pages = [render_page(rng, DOMAIN) for _ in range(5)]
    truths = [
        " ".join(re.sub("<[^>]+>", " ", " ".join(b.html for b in p.blocks)).split())
        for p in pages
    ]
    num_characters = sum(map(len, truths))
    long_page = Image.new("RGB", (520, 640 * len(pages)), "white")
    num_errors_of_parts = 0
    for index, (page, truth) in enumerate(zip(pages, truths, strict=True)):
        long_page.paste(page.image, (0, 640 * index))
        with spooled(as_png(page.image)) as document:
            decoded = decode_page(document, "image/png", 1, PROFILE.sizing, Limits())
        text = generate(decoded)
        content = convert_page(text, geometry_of(decoded), OPTIONS)
        num_errors_of_parts += count_errors(truth, content.text)

    with spooled(as_png(long_page)) as document:
        long_page_info = decode_page(document, "image/png", 1, PROFILE.sizing, Limits())
        answers = []
        for index, strip in enumerate(long_page_info.strips):
            decoded_strip = decode_strip(
                document, "image/png", long_page_info, index, PROFILE.sizing, Limits()
            )
            answers.append(StripAnswer(strip, generate(decoded_strip)))
    content = convert_strips(tuple(answers), geometry_of(long_page_info), OPTIONS)

    assert len(answers) > 3
    errors = count_errors(" ".join(truths), content.text)
    assert errors <= num_errors_of_parts + 0.02 * num_characters
