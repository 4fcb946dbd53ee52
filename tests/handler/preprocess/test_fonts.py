"""Tests of the fonts for text whose font is not embedded."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import pypdfium2
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from fontTools.ttLib.ttCollection import TTCollection
from PIL import Image, ImageChops

from handler.preprocess.pdf.fonts import wingdings
from handler.preprocess.pdf.fonts.collection import FontCollection
from handler.preprocess.pdf.fonts.files import find_faces, normalize_family
from handler.preprocess.pdf.fonts.mapper import FontMapper, get_installed_mapper
from handler.preprocess.pdf.fonts.page_fonts import find_font_requirements
from handler.preprocess.pdf.visible_text import count_undrawn_characters
from tests.documents import pdf, pdf_of_objects
from tests.handler.preprocess.reading import decode_content

DEJAVU = Path(matplotlib.get_data_path(), "fonts", "ttf")
ROW_DISTANCE = 40


@pytest.fixture
def install_mapper():
    """Return a function that installs a mapper for the fonts in given folders.

    The default mapper is installed again after the test.
    """

    def install(*folders: Path) -> FontMapper:
        mapper = FontMapper(FontCollection(folders))
        mapper.install()
        installed_mappers.append(mapper)
        return mapper

    installed_mappers: list[FontMapper] = []
    yield install
    get_installed_mapper().install()


def write_square_font(path: Path, family: str, characters: str) -> Path:
    """Write a font whose glyphs are black squares, and return its path."""
    names = [f"glyph{index}" for index in range(len(characters))]
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 700), (900, 700), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap(dict(zip(map(ord, characters), names, strict=True)))
    empty = TTGlyphPen(None).glyph()
    builder.setupGlyf({".notdef": empty} | dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names], (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def font_of_glyph_names(
    base: str, names: str, kind: str = "TrueType", flags: int = 32
) -> bytes:
    """Return a font that is not embedded, with glyph names for codes from 65."""
    widths = " ".join(["600"] * 224)
    return (
        f"<</Type/Font/Subtype/{kind}/BaseFont/{base}/FirstChar 32/LastChar 255"
        f"/Widths[{widths}]/Encoding<</BaseEncoding/WinAnsiEncoding"
        f"/Differences[65{names}]>>/FontDescriptor<</Type/FontDescriptor"
        f"/FontName/{base}/Flags {flags}/ItalicAngle 0/Ascent 900/Descent -200"
        "/CapHeight 700/StemV 80/FontBBox[0 -200 1000 900]>>>>"
    ).encode()


def symbol_font(base: str) -> bytes:
    """Return a symbolic font that is not embedded."""
    return (
        f"<</Type/Font/Subtype/TrueType/BaseFont/{base}/FontDescriptor"
        f"<</Type/FontDescriptor/FontName/{base}/Flags 4/ItalicAngle 0/Ascent 900"
        "/Descent -200/CapHeight 700/StemV 80/FontBBox[0 -200 1000 900]>>>>"
    ).encode()


def composite_font(base: str, ordering: str, encoding: bytes) -> bytes:
    """Return a font for Chinese, Japanese or Korean that is not embedded."""
    return (
        f"<</Type/Font/Subtype/Type0/BaseFont/{base}/Encoding/{encoding.decode()}"
        f"/DescendantFonts[<</Type/Font/Subtype/CIDFontType0/BaseFont/{base}"
        f"/CIDSystemInfo<</Registry(Adobe)/Ordering({ordering})/Supplement 2>>/DW 1000"
        f"/FontDescriptor<</Type/FontDescriptor/FontName/{base}/Flags 4/ItalicAngle 0"
        "/Ascent 880/Descent -120/CapHeight 700/StemV 80/FontBBox[0 -200 1000 900]"
        ">>>>]>>"
    ).encode()


def pdf_of_rows(*rows: tuple[bytes, bytes], operators: bytes = b"") -> bytes:
    """Return a page of 300 x 300 points with one row per font and string.

    `operators` precede the text in the content stream.
    """
    fonts = b"".join(b"/F%d %s" % (each, font) for each, (font, _) in enumerate(rows))
    body = operators + b"".join(
        b"BT /F%d 24 Tf 20 %d Td %s Tj ET\n" % (each, 260 - ROW_DISTANCE * each, text)
        for each, (_, text) in enumerate(rows)
    )
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R"
        b"/Resources<</Font<<%s>>>>>>" % fonts,
        b"<</Length %d>>\nstream\n%s\nendstream" % (len(body), body),
    )


def add_annotations(content: bytes, *annotations: bytes) -> bytes:
    """Return the PDF with a link and further annotations on its page."""
    link = b"<</Type/Annot/Subtype/Link/Rect[0 0 9 9]/Border[0 0 0]>>"
    entry = b"/Annots[%s]/MediaBox" % b"".join((link, *annotations))
    return content.replace(b"/MediaBox", entry)


def render_page(content: bytes, mapper: FontMapper) -> tuple[Image.Image, int]:
    """Render the page; return its image and the number of missing characters."""
    requirements = None
    for _ in range(2):
        mapper.set_requirements(requirements)
        document = pypdfium2.PdfDocument(content)
        page = document[0]
        requirements = (
            find_font_requirements(page, mapper)
            if requirements is None
            else requirements
        )
        mapper.request_fallback_fonts(page)
        image = page.render(scale=2).to_pil().convert("L")
        letters = mapper.list_families_drawn_as_letters()
        num = count_undrawn_characters(page, page.get_textpage(), image, letters)
        document.close()
    return image, num


def crop_row(image: Image.Image, number: int) -> Image.Image:
    """Crop a row of a page of `pdf_of_rows` that is rendered at 2 pixels per point."""
    top = 600 - 2 * (260 - ROW_DISTANCE * number) - 50
    return image.crop((30, top, 590, top + 70))


def has_ink(image: Image.Image) -> bool:
    return min(image.tobytes()) < 128


GLYPH_NAMES = {
    "cyrillic": "/afii10017/afii10018/afii10019/afii10020",
    "greek": "/Alpha/Beta/Gamma/Sigma",
    "polish": "/aogonek/zdotaccent/sacute/eogonek",
    "arabic": "/afii57415/afii57416/afii57417/afii57418",
    "hebrew": "/afii57664/afii57665/afii57666/afii57667",
}


@pytest.mark.parametrize("kind", ["TrueType", "Type1"])
@pytest.mark.parametrize("script", GLYPH_NAMES)
def test_non_latin_letters_of_arial_are_rendered(install_mapper, script, kind):
    content = pdf_of_rows(
        (font_of_glyph_names("ArialMT", GLYPH_NAMES[script], kind), b"(ABCD)")
    )

    image, num_not_drawn = render_page(content, install_mapper(DEJAVU))

    assert has_ink(crop_row(image, 0))
    assert num_not_drawn == 0


def test_characters_without_a_font_are_counted(install_mapper, tmp_path):
    content = pdf_of_rows(
        (font_of_glyph_names("ArialMT", GLYPH_NAMES["cyrillic"]), b"(ABCD)")
    )

    image, num_not_drawn = render_page(content, install_mapper(tmp_path))

    assert not has_ink(image)
    assert num_not_drawn == 4


def test_latin_text_keeps_the_fonts_of_pdfium(install_mapper, tmp_path):
    latin = (font_of_glyph_names("ArialMT", ""), b"(Total 212)")
    cyrillic = (font_of_glyph_names("ArialMT", GLYPH_NAMES["cyrillic"]), b"(ABCD)")

    without, _ = render_page(pdf_of_rows(latin, cyrillic), install_mapper(tmp_path))
    image, _ = render_page(pdf_of_rows(latin, cyrillic), install_mapper(DEJAVU))

    assert (
        ImageChops.difference(crop_row(without, 0), crop_row(image, 0)).getbbox()
        is None
    )
    assert has_ink(crop_row(image, 1))


@pytest.mark.parametrize(
    ("text", "names"),
    [("กขค", "/uni0E01/uni0E02/uni0E04"), ("अआक", "/uni0905/uni0906/uni0915")],
)
def test_thai_and_devanagari_are_rendered(install_mapper, tmp_path, text, names):
    write_square_font(tmp_path / "font.ttf", "Squares", text)
    content = pdf_of_rows((font_of_glyph_names("Calibri", names), b"(ABC)"))

    image, num_not_drawn = render_page(content, install_mapper(tmp_path))

    assert has_ink(crop_row(image, 0))
    assert num_not_drawn == 0


@pytest.mark.parametrize("encoding", [b"UniJIS-UCS2-H", b"UniJIS-UCS2-V"])
def test_japanese_is_rendered_in_rows_and_columns(install_mapper, tmp_path, encoding):
    write_square_font(
        tmp_path / "font.ttf", "Squares", "港の記録あいうアイウ日本語録広"
    )
    text = b"<" + "港の".encode("utf-16-be").hex().encode() + b">"
    font = composite_font("HeiseiMin-W3", "Japan1", encoding)

    image, num_not_drawn = render_page(
        pdf_of_rows((font, text)), install_mapper(tmp_path)
    )

    assert has_ink(image)
    assert num_not_drawn == 0


def test_fonts_in_collections_are_used(install_mapper, tmp_path):
    faces = [
        TTFont(write_square_font(tmp_path / "one.ttf", "One", "ab")),
        TTFont(write_square_font(tmp_path / "two.ttf", "Two", "가나다한국어기록")),
    ]
    folder = tmp_path / "collection"
    folder.mkdir()
    collection = TTCollection()
    collection.fonts = faces
    collection.save(folder / "both.ttc")
    text = b"<" + "한국".encode("utf-16-be").hex().encode() + b">"
    font = composite_font("HYSMyeongJo-Medium", "Korea1", b"UniKS-UCS2-H")

    image, num_not_drawn = render_page(
        pdf_of_rows((font, text)), install_mapper(folder)
    )

    assert has_ink(crop_row(image, 0))
    assert num_not_drawn == 0


def test_wingdings_are_rendered_as_symbols(install_mapper):
    """The code of a check mark is ü in Latin-1."""
    letters = pdf_of_rows((font_of_glyph_names("Helvetica", ""), b"(\xfc)"))
    signs = pdf_of_rows((symbol_font("Wingdings"), b"(\xfc)"))
    fonts = install_mapper(DEJAVU)

    as_letter, _ = render_page(letters, fonts)
    as_sign, num_not_drawn = render_page(signs, fonts)

    assert has_ink(crop_row(as_sign, 0))
    assert ImageChops.difference(as_letter, as_sign).getbbox() is not None
    assert num_not_drawn == 0


PRIVATE_GLYPH_NAME = "/uniF8D3"
SYMBOL_CODES = b"(\xfe\xa8\xfc)"
FREE_TEXT = (
    b"<</Type/Annot/Subtype/FreeText/Rect[20 20 280 60]/F 4/DA(/Helv 24 Tf 0 g)"
    b"/Contents(aou\344\366\374)>>"
)


def symbol_font_with_letter_flag(base: str = "Wingdings") -> bytes:
    """Return a symbol font without an encoding whose flags say it has letters."""
    font = symbol_font(base).replace(b"/Flags 4", b"/Flags 32")
    widths = b"/FirstChar 32/LastChar 255/Widths[%s]" % b" ".join([b"556"] * 224)
    return font.replace(b"/FontDescriptor", widths + b"/FontDescriptor", 1)


def test_other_content_does_not_change_wingdings(install_mapper):
    fonts = install_mapper(DEJAVU)
    signs = (symbol_font_with_letter_flag(), SYMBOL_CODES)
    letters = (font_of_glyph_names("Helvetica", ""), SYMBOL_CODES)
    private = (font_of_glyph_names("ArialMT", PRIVATE_GLYPH_NAME), b"(A)")
    cyrillic = (font_of_glyph_names("ArialMT", GLYPH_NAMES["cyrillic"]), b"(ABCD)")

    expected, _ = render_page(
        pdf_of_rows((symbol_font("Wingdings"), SYMBOL_CODES)), fonts
    )
    as_letters, _ = render_page(pdf_of_rows(letters), fonts)
    alone, _ = render_page(pdf_of_rows(signs), fonts)
    linked, _ = render_page(add_annotations(pdf_of_rows(signs)), fonts)
    mixed, num_not_drawn = render_page(pdf_of_rows(signs, private, cyrillic), fonts)

    different = ImageChops.difference(crop_row(alone, 0), crop_row(as_letters, 0))
    assert different.getbbox() is not None
    assert has_ink(crop_row(expected, 0))
    for image in (linked, mixed):
        assert (
            ImageChops.difference(crop_row(alone, 0), crop_row(image, 0)).getbbox()
            is None
        )
    assert has_ink(crop_row(mixed, 2))
    assert num_not_drawn <= 1


def test_annotations_beside_wingdings_keep_their_font(install_mapper):
    fonts = install_mapper(DEJAVU)
    text = (font_of_glyph_names("Helvetica", ""), b"(abc)")

    plain, _ = render_page(add_annotations(pdf_of_rows(text), FREE_TEXT), fonts)
    beside, _ = render_page(
        add_annotations(
            pdf_of_rows((symbol_font_with_letter_flag(), SYMBOL_CODES)), FREE_TEXT
        ),
        fonts,
    )

    note = (0, 460, 600, 600)
    assert has_ink(plain.crop(note))
    changed = ImageChops.difference(plain.crop(note), beside.crop(note))
    assert changed.getbbox() is None


@pytest.mark.parametrize("base", ["Wingdings2", "Wingdings 3", "Webdings"])
def test_symbols_rendered_as_letters_are_counted(install_mapper, base):
    font = symbol_font_with_letter_flag(base.replace(" ", "#20"))
    text = (font_of_glyph_names("Helvetica", ""), b"(PRS)")

    _, num_not_drawn = render_page(
        pdf_of_rows((font, b"(P S)"), text), install_mapper(DEJAVU)
    )

    assert num_not_drawn == 2


@pytest.mark.parametrize(
    "font", [symbol_font_with_letter_flag(), symbol_font("Wingdings")]
)
def test_wingdings_without_a_font_are_counted(install_mapper, tmp_path, font):
    _, num_not_drawn = render_page(
        pdf_of_rows((font, SYMBOL_CODES)), install_mapper(tmp_path)
    )

    assert num_not_drawn == 3


def test_substitute_font_maps_wingdings_codes_to_symbols():
    [face] = [
        face
        for face in find_faces([DEJAVU])
        if (face.family, face.is_bold, face.is_italic) == ("dejavusans", False, False)
    ]

    font = TTFont(io.BytesIO(wingdings.build_wingdings_font(face, face.read_file())))

    symbols = font["cmap"].getcmap(3, 0).cmap
    plain = TTFont(face.path).getBestCmap()
    for code, sign in ((0xFC, "✓"), (0x6E, "■"), (0xFE, "☑"), (0x46, "☞")):
        assert symbols[0xF000 + code] == plain[ord(sign)]


def test_character_maps_are_read_like_fonttools():
    for name in ("DejaVuSans.ttf", "DejaVuSansMono.ttf"):
        [face] = [face for face in find_faces([DEJAVU]) if face.path.name == name]
        font = TTFont(face.path)
        expected = {
            key: font.getGlyphID(name) for key, name in font.getBestCmap().items()
        }
        glyphs = {key: face.characters.find_glyph(key) for key in expected}
        assert glyphs == expected
        assert face.characters.find_glyph(0x10FFFF) == expected.get(0x10FFFF, 0)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("ABCDEF+Calibri-Bold", "calibri"),
        ("Arial,BoldItalic", "helvetica"),
        ("TimesNewRomanPS-BoldItalicMT", "times"),
        ("Times-Roman", "times"),
        ("MS-Gothic", "msgothic"),
    ],
)
def test_family_names_are_normalized_without_styles(name, family):
    assert normalize_family(name) == family


def test_files_that_are_not_fonts_are_ignored(tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0\xff\xff")
    (tmp_path / "text.otf").write_text("not a font")
    good = write_square_font(tmp_path / "good.ttf", "Good", "ab")
    (tmp_path / "cut.ttf").write_bytes(good.read_bytes()[:200])

    assert [face.family for face in find_faces([tmp_path])] == ["good"]


def test_missing_scripts_are_named(tmp_path):
    assert "Wingdings" in FontCollection([tmp_path]).find_missing_scripts()
    assert "Thai" in FontCollection([DEJAVU]).find_missing_scripts()
    assert not {"Cyrillic", "Wingdings"} & set(
        FontCollection([DEJAVU]).find_missing_scripts()
    )


def test_preloaded_fonts_work_without_their_files(install_mapper, tmp_path):
    path = tmp_path / "font.ttf"
    path.write_bytes((DEJAVU / "DejaVuSans.ttf").read_bytes())
    fonts = install_mapper(tmp_path)
    content = pdf_of_rows(
        (font_of_glyph_names("ArialMT", GLYPH_NAMES["greek"]), b"(ABCD)")
    )

    fonts.fonts.preload()
    path.unlink()
    image, _ = render_page(content, fonts)

    assert has_ink(crop_row(image, 0))


@pytest.mark.parametrize(
    "operators",
    [b"3 Tr ", b"1 g ", b"1 0 0 1 900 0 cm "],
    ids=["invisible", "white", "outside"],
)
def test_hidden_text_is_not_counted(install_mapper, tmp_path, operators):
    font = font_of_glyph_names("ArialMT", GLYPH_NAMES["cyrillic"])
    content = pdf_of_rows((font, b"(ABCD)"), operators=operators)

    _, num_not_drawn = render_page(content, install_mapper(tmp_path))

    assert num_not_drawn == 0


def test_clipped_text_is_not_counted(install_mapper, tmp_path):
    content = pdf_of_rows(
        (font_of_glyph_names("ArialMT", ""), b"(ABCD)"), operators=b"0 0 1 1 re W n "
    )

    image, num_not_drawn = render_page(content, install_mapper(tmp_path))

    assert not has_ink(image)
    assert num_not_drawn == 0


def test_missing_characters_cause_a_warning():
    """The characters are of Unicode's private use area, so no font has them."""
    names = "/uniF8D3/uniF8D4/uniF8D5"

    page = decode_content(
        pdf_of_rows((font_of_glyph_names("ArialMT", names), b"(ABC)"))
    )

    [warning, blank] = page.warnings
    assert warning.code == "not_drawn"
    assert warning.detail.startswith("3 characters")
    assert blank.code == "blank_page"


def test_rendered_text_has_no_warning():
    page = decode_content(pdf())

    assert page.warnings == ()
    assert "Invoice" in page.text_layer
