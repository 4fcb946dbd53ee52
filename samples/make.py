"""Script that renders the demo's documents `page.png` and `report.pdf`.

The script writes both into its own folder. They are reports of a fictional weather
station, and their text and numbers are our own.
"""

from __future__ import annotations

from pathlib import Path

import reportlab
from PIL import Image, ImageDraw, ImageFont
from reportlab.graphics.shapes import Drawing, Rect
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A5
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    ListFlowable,
    ListItem,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

FOLDER = Path(__file__).parent

# Bitstream Vera ships with reportlab, so every machine renders identical letters.
FONTS = Path(reportlab.__file__).with_name("fonts")

TEXT_COLOR = "#1c2430"
MUTED_COLOR = "#5b6675"
HEADING_COLOR = "#1f5f8b"
LINE_COLOR = "#c3ccd6"
HEADER_COLOR = "#eef3f7"


# The image


PAGE_SIZE = (544, 672)
MARGIN = 40
# Sizes in pixels for which the model in the repository was trained: mini/README.md.
FONT_SIZE = 22
LINE_HEIGHT = 33
PARAGRAPH_GAP = 24

TITLE = "Harrow Point Station"
SUBTITLE = "Monthly report, October 2024"
PARAGRAPHS = (
    "October was mild and wet. The mean was 11.3 degrees, and rain fell on 19 days.",
    "One storm crossed the coast on the 19th. The mast was not damaged.",
)
LIST_TITLE = "Work on the station"
LIST_ITEMS = (
    "The rain gauge was cleaned.",
    "A second thermometer was installed.",
)
TABLE_TITLE = "Readings by week"
TABLE = (
    ("Week", "Mean", "Rain", "Gust"),
    ("40", "13.1", "22.4", "48"),
    ("41", "12.0", "31.8", "57"),
)
FOOTER = "Page 1 of 1"


def render_page_image(path: Path) -> None:
    """Draw the printed page and write it as a PNG file."""
    image = Image.new("RGB", PAGE_SIZE, "white")
    draw = ImageDraw.Draw(image)
    right = PAGE_SIZE[0] - MARGIN

    y = 24
    draw.text((MARGIN, y), TITLE, font=_load_font(28, bold=True), fill=TEXT_COLOR)
    y += 44
    draw.text((MARGIN, y), SUBTITLE, font=_load_font(FONT_SIZE), fill=MUTED_COLOR)
    y += 56
    for paragraph in PARAGRAPHS:
        y = (
            _draw_text(draw, paragraph, x=MARGIN, y=y, width=right - MARGIN)
            + PARAGRAPH_GAP
            - 8
        )

    y = _draw_heading(draw, LIST_TITLE, y=y + 4)
    for bullet in LIST_ITEMS:
        draw.text((MARGIN, y), "•", font=_load_font(FONT_SIZE), fill=TEXT_COLOR)
        y = _draw_text(draw, bullet, x=MARGIN + 36, y=y, width=right - MARGIN - 36)

    y = _draw_heading(draw, TABLE_TITLE, y=y + PARAGRAPH_GAP - 8)
    _draw_table(draw, y=y + 2, right=right)

    y = PAGE_SIZE[1] - 36
    draw.text(
        (PAGE_SIZE[0] // 2, y),
        FOOTER,
        font=_load_font(FONT_SIZE),
        fill=MUTED_COLOR,
        anchor="ma",
    )
    image.save(path, optimize=True)


def _load_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "VeraBd.ttf" if bold else "Vera.ttf"
    # Basic layout, because Raqm is not in every Pillow and kerns differently.
    return ImageFont.truetype(FONTS / name, size, layout_engine=ImageFont.Layout.BASIC)


def _draw_heading(draw: ImageDraw.ImageDraw, text: str, *, y: int) -> int:
    """Draw a heading, and return the y position of the text below."""
    draw.text((MARGIN, y), text, font=_load_font(25, bold=True), fill=HEADING_COLOR)
    return y + 25 + PARAGRAPH_GAP


def _draw_text(
    draw: ImageDraw.ImageDraw, text: str, *, x: int, y: int, width: int
) -> int:
    """Draw text wrapped at a width, and return the y position of the next line."""
    font = _load_font(FONT_SIZE)
    line = ""
    for word in [*text.split(), ""]:
        wider = f"{line} {word}".strip()
        if word and font.getlength(wider) <= width:
            line = wider
            continue
        draw.text((x, y), line, font=font, fill=TEXT_COLOR)
        line = word
        y += LINE_HEIGHT
    return y


def _draw_table(draw: ImageDraw.ImageDraw, *, y: int, right: int) -> int:
    """Draw the table of readings, and return the y position of its end."""
    row_height = 36
    column_width = (right - MARGIN) // len(TABLE[0])
    draw.rectangle((MARGIN, y, right, y + row_height), fill=HEADER_COLOR)
    for index, row in enumerate(TABLE):
        font = _load_font(FONT_SIZE, bold=index == 0)
        for column, cell in enumerate(row):
            middle = y + row_height // 2
            if column == 0:
                draw.text(
                    (MARGIN + 10, middle), cell, font=font, fill=TEXT_COLOR, anchor="lm"
                )
            else:
                edge = MARGIN + (column + 1) * column_width - 10
                draw.text((edge, middle), cell, font=font, fill=TEXT_COLOR, anchor="rm")
        y += row_height
        draw.line((MARGIN, y, right, y), fill=LINE_COLOR)
    return y


# The PDF


SIDE_MARGIN = 12 * mm
TEXT_WIDTH = A5[0] - 2 * SIDE_MARGIN
# The model sees the page at a height of 672 pixels, where letters have 22 pixels.
FONT_POINTS = 19.5

SERIES = "Harrow Point Station"
REPORT_TITLE = "Annual Report 2024"
RAINFALL = (96.2, 71.5, 64.0, 48.3, 52.7, 39.8, 33.1, 45.6, 68.9, 126.0, 104.4, 88.7)
SEASONS = (
    ("Season", "Mean", "Rain, mm"),
    ("Winter", "5.1", "256.4"),
    ("Spring", "9.4", "165.0"),
    ("Summer", "16.8", "118.5"),
    ("Autumn", "11.2", "299.3"),
)
INSTRUMENTS = (
    ("Instrument", "Height", "Readings"),
    ("Thermometer", "2 m", "99.8 %"),
    ("Rain gauge", "1 m", "99.1 %"),
    ("Wind sensor", "10 m", "97.4 %"),
)


def render_report(path: Path) -> None:
    """Write the report of three pages as a PDF file; equal on every call."""
    _register_fonts()
    document = BaseDocTemplate(
        str(path),
        pagesize=A5,
        title=f"{SERIES}: {REPORT_TITLE}",
        author=SERIES,
        # Without this, the creation date and the document id would differ each time.
        invariant=True,
    )
    frame = Frame(SIDE_MARGIN, 19 * mm, TEXT_WIDTH, A5[1] - 40 * mm, 0, 0, 0, 0)
    document.addPageTemplates(
        PageTemplate(frames=[frame], onPage=_draw_header_and_footer)
    )
    document.build(_report_content())


def _register_fonts() -> None:
    """Register the Vera fonts with reportlab, under the name that styles use."""
    for name, file in (("Vera", "Vera.ttf"), ("Vera-Bold", "VeraBd.ttf")):
        pdfmetrics.registerFont(TTFont(name, FONTS / file))
    pdfmetrics.registerFontFamily("Vera", normal="Vera", bold="Vera-Bold")


def _draw_header_and_footer(canvas: Canvas, document: BaseDocTemplate) -> None:
    left, top = SIDE_MARGIN, A5[1] - 13 * mm
    canvas.setFont("Vera", FONT_POINTS)
    canvas.setFillColor(HexColor(MUTED_COLOR))
    canvas.drawString(left, top, SERIES)
    canvas.drawCentredString(A5[0] / 2, 10 * mm, f"Page {document.page} of 3")


def _report_content() -> list[Flowable]:
    body = ParagraphStyle(
        "body",
        fontName="Vera",
        fontSize=FONT_POINTS,
        leading=30,
        spaceAfter=20,
        textColor=HexColor(TEXT_COLOR),
    )
    title = ParagraphStyle(
        "title", body, fontName="Vera-Bold", fontSize=26, leading=32, spaceAfter=20
    )
    heading = ParagraphStyle(
        "heading",
        body,
        fontName="Vera-Bold",
        fontSize=22,
        leading=28,
        spaceBefore=8,
        spaceAfter=18,
        textColor=HexColor(HEADING_COLOR),
        keepWithNext=True,
    )

    def item(text: str) -> ListItem:
        return ListItem(Paragraph(text, ParagraphStyle("item", body, spaceAfter=3)))

    return [
        Paragraph(REPORT_TITLE, title),
        Paragraph("1. The year in brief", heading),
        Paragraph(
            "The year was the third warmest since 1987. The mean temperature was "
            "10.6 degrees.",
            body,
        ),
        Paragraph(
            "Rain amounted to 839.2 mm.",
            body,
        ),
        Paragraph("What was new", heading),
        ListFlowable(
            [
                item("A second thermometer was added."),
                item("Readings are sent every ten minutes."),
                item("The fence was replaced."),
            ],
            bulletType="bullet",
            start="•",
            bulletColor=HexColor(TEXT_COLOR),
            bulletFontSize=FONT_POINTS,
            leftIndent=26,
        ),
        PageBreak(),
        Paragraph("2. Temperature and rain", heading),
        Paragraph("Winter was free of long frosts.", body),
        _make_table(SEASONS),
        Spacer(0, 20),
        Paragraph("The chart shows how unevenly the rain was spread.", body),
        _draw_rainfall_chart(),
        PageBreak(),
        Paragraph("3. Instruments", heading),
        Paragraph("All instruments were checked in April and in October.", body),
        _make_table(INSTRUMENTS),
        Spacer(0, 20),
        Paragraph("4. Outlook", heading),
        Paragraph(
            "In 2025 the station will begin to measure sunshine. The old mast will "
            "be moved by six metres.",
            body,
        ),
        Paragraph("We thank all volunteers.", body),
    ]


def _make_table(rows: tuple[tuple[str, ...], ...]) -> Table:
    widths = [TEXT_WIDTH / len(rows[0])] * len(rows[0])
    table = Table(rows, colWidths=widths, rowHeights=31)
    table.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, 0), "Vera-Bold", FONT_POINTS),
                ("FONT", (0, 1), (-1, -1), "Vera", FONT_POINTS),
                ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(TEXT_COLOR)),
                ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("BACKGROUND", (0, 0), (-1, 0), HexColor(HEADER_COLOR)),
                ("LINEBELOW", (0, 0), (-1, -1), 0.5, HexColor(LINE_COLOR)),
            ]
        )
    )
    return table


def _draw_rainfall_chart() -> Drawing:
    width, height = TEXT_WIDTH, 44 * mm
    drawing = Drawing(width, height)
    drawing.add(
        Rect(0, 0, width, height, strokeColor=HexColor(TEXT_COLOR), fillColor=None)
    )
    step = width / len(RAINFALL)
    for month, rain in enumerate(RAINFALL):
        bar = Rect((month + 0.2) * step, 0, 0.6 * step, height * rain / 140)
        bar.fillColor, bar.strokeColor = HexColor(HEADING_COLOR), None
        drawing.add(bar)
    return drawing


if __name__ == "__main__":
    render_page_image(FOLDER / "page.png")
    render_report(FOLDER / "report.pdf")
