"""Documents of the demo, `page.png` and `report.pdf`: `python samples/make.py`.

Both describe a fictitious weather station; their text and numbers are our own.
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

# Bitstream Vera comes with reportlab, so every machine draws the same letters.
FONTS = Path(reportlab.__file__).with_name("fonts")

INK = "#1c2430"
QUIET = "#5b6675"
ACCENT = "#1f5f8b"
RULE = "#c3ccd6"
BAND = "#eef3f7"


# The image


PAGE_SIZE = (544, 672)
MARGIN = 40
# What the embedded model was trained on: see mini/README.md.
LETTERS = 22
LEADING = 33
GAP = 24

TITLE = "Harrow Point Station"
SUBTITLE = "Monthly report, October 2024"
PARAGRAPHS = (
    "October was mild and wet. The mean was 11.3 degrees, and rain fell on 19 days.",
    "One storm crossed the coast on the 19th. The mast was not damaged.",
)
LIST_TITLE = "Work on the station"
BULLETS = (
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


def make_page(path: Path) -> None:
    image = Image.new("RGB", PAGE_SIZE, "white")
    draw = ImageDraw.Draw(image)
    right = PAGE_SIZE[0] - MARGIN

    y = 24
    draw.text((MARGIN, y), TITLE, font=_font(28, bold=True), fill=INK)
    y += 44
    draw.text((MARGIN, y), SUBTITLE, font=_font(LETTERS), fill=QUIET)
    y += 56
    for paragraph in PARAGRAPHS:
        y = _draw_text(draw, paragraph, x=MARGIN, y=y, width=right - MARGIN) + GAP - 8

    y = _draw_heading(draw, LIST_TITLE, y=y + 4)
    for bullet in BULLETS:
        draw.text((MARGIN, y), "•", font=_font(LETTERS), fill=INK)
        y = _draw_text(draw, bullet, x=MARGIN + 36, y=y, width=right - MARGIN - 36)

    y = _draw_heading(draw, TABLE_TITLE, y=y + GAP - 8)
    _draw_table(draw, y=y + 2, right=right)

    y = PAGE_SIZE[1] - 36
    draw.text(
        (PAGE_SIZE[0] // 2, y), FOOTER, font=_font(LETTERS), fill=QUIET, anchor="ma"
    )
    image.save(path, optimize=True)


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "VeraBd.ttf" if bold else "Vera.ttf"
    # Basic layout, because not every Pillow has Raqm, whose kerning differs.
    return ImageFont.truetype(FONTS / name, size, layout_engine=ImageFont.Layout.BASIC)


def _draw_heading(draw: ImageDraw.ImageDraw, text: str, *, y: int) -> int:
    draw.text((MARGIN, y), text, font=_font(25, bold=True), fill=ACCENT)
    return y + 25 + GAP


def _draw_text(
    draw: ImageDraw.ImageDraw, text: str, *, x: int, y: int, width: int
) -> int:
    """Draw wrapped text, and return the y of the next line."""
    font = _font(LETTERS)
    line = ""
    for word in [*text.split(), ""]:
        wider = f"{line} {word}".strip()
        if word and font.getlength(wider) <= width:
            line = wider
            continue
        draw.text((x, y), line, font=font, fill=INK)
        line = word
        y += LEADING
    return y


def _draw_table(draw: ImageDraw.ImageDraw, *, y: int, right: int) -> int:
    """Draw the readings, and return the y of the table's end."""
    row_height = 36
    column_width = (right - MARGIN) // len(TABLE[0])
    draw.rectangle((MARGIN, y, right, y + row_height), fill=BAND)
    for index, row in enumerate(TABLE):
        font = _font(LETTERS, bold=index == 0)
        for column, cell in enumerate(row):
            middle = y + row_height // 2
            if column == 0:
                draw.text((MARGIN + 10, middle), cell, font=font, fill=INK, anchor="lm")
            else:
                edge = MARGIN + (column + 1) * column_width - 10
                draw.text((edge, middle), cell, font=font, fill=INK, anchor="rm")
        y += row_height
        draw.line((MARGIN, y, right, y), fill=RULE)
    return y


# The PDF


SIDE = 12 * mm
TEXT_WIDTH = A5[0] - 2 * SIDE
# The page is seen 672 pixels high, so this is 22 of them.
POINTS = 19.5

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


def make_report(path: Path) -> None:
    _register_fonts()
    document = BaseDocTemplate(
        str(path),
        pagesize=A5,
        title=f"{SERIES}: {REPORT_TITLE}",
        author=SERIES,
        # Without this, the creation date and the document id would differ each time.
        invariant=True,
    )
    frame = Frame(SIDE, 19 * mm, TEXT_WIDTH, A5[1] - 40 * mm, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame], onPage=_draw_margins))
    document.build(_story())


def _register_fonts() -> None:
    for name, file in (("Vera", "Vera.ttf"), ("Vera-Bold", "VeraBd.ttf")):
        pdfmetrics.registerFont(TTFont(name, FONTS / file))
    pdfmetrics.registerFontFamily("Vera", normal="Vera", bold="Vera-Bold")


def _draw_margins(canvas: Canvas, document: BaseDocTemplate) -> None:
    left, top = SIDE, A5[1] - 13 * mm
    canvas.setFont("Vera", POINTS)
    canvas.setFillColor(HexColor(QUIET))
    canvas.drawString(left, top, SERIES)
    canvas.drawCentredString(A5[0] / 2, 10 * mm, f"Page {document.page} of 3")


def _story() -> list[Flowable]:
    body = ParagraphStyle(
        "body",
        fontName="Vera",
        fontSize=POINTS,
        leading=30,
        spaceAfter=20,
        textColor=HexColor(INK),
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
        textColor=HexColor(ACCENT),
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
            bulletColor=HexColor(INK),
            bulletFontSize=POINTS,
            leftIndent=26,
        ),
        PageBreak(),
        Paragraph("2. Temperature and rain", heading),
        Paragraph("Winter was free of long frosts.", body),
        _table(SEASONS),
        Spacer(0, 20),
        Paragraph("The chart shows how unevenly the rain was spread.", body),
        _rainfall_chart(),
        PageBreak(),
        Paragraph("3. Instruments", heading),
        Paragraph("All instruments were checked in April and in October.", body),
        _table(INSTRUMENTS),
        Spacer(0, 20),
        Paragraph("4. Outlook", heading),
        Paragraph(
            "In 2025 the station will begin to measure sunshine. The old mast will "
            "be moved by six metres.",
            body,
        ),
        Paragraph("We thank all volunteers.", body),
    ]


def _table(rows: tuple[tuple[str, ...], ...]) -> Table:
    widths = [TEXT_WIDTH / len(rows[0])] * len(rows[0])
    table = Table(rows, colWidths=widths, rowHeights=31)
    table.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, 0), "Vera-Bold", POINTS),
                ("FONT", (0, 1), (-1, -1), "Vera", POINTS),
                ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(INK)),
                ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("BACKGROUND", (0, 0), (-1, 0), HexColor(BAND)),
                ("LINEBELOW", (0, 0), (-1, -1), 0.5, HexColor(RULE)),
            ]
        )
    )
    return table


def _rainfall_chart() -> Drawing:
    width, height = TEXT_WIDTH, 44 * mm
    drawing = Drawing(width, height)
    drawing.add(Rect(0, 0, width, height, strokeColor=HexColor(INK), fillColor=None))
    step = width / len(RAINFALL)
    for month, rain in enumerate(RAINFALL):
        bar = Rect((month + 0.2) * step, 0, 0.6 * step, height * rain / 140)
        bar.fillColor, bar.strokeColor = HexColor(ACCENT), None
        drawing.add(bar)
    return drawing


if __name__ == "__main__":
    make_page(FOLDER / "page.png")
    make_report(FOLDER / "report.pdf")
