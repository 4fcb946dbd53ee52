"""Draw the demo's documents: `page.png` and `report.pdf`.

Both tell of a weather station that does not exist; prose and numbers are ours.
"""

from __future__ import annotations

from pathlib import Path

import reportlab
from PIL import Image, ImageDraw, ImageFont
from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Drawing, Line, String
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
    KeepTogether,
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


PAGE_SIZE = (768, 1024)
MARGIN = 64

TITLE = "Harrow Point Weather Station"
SUBTITLE = "Monthly report, October 2024"
PARAGRAPHS = (
    "October was mild and wet. The mean temperature was 11.3 °C, which is "
    "0.8 °C above the average of the last thirty years, and rain fell on "
    "nineteen days.",
    "The only storm of the month crossed the coast on the night of the 19th. "
    "The mast was not damaged, and no reading was lost.",
)
LIST_TITLE = "Work on the station"
BULLETS = (
    "The rain gauge was cleaned and levelled on 3 October.",
    "A second thermometer was installed at a height of 2 m.",
    "The battery of the wind sensor will be replaced in November.",
)
TABLE_TITLE = "Readings by week"
TABLE = (
    ("Week", "Mean, °C", "Rain, mm", "Gust, km/h"),
    ("40", "13.1", "22.4", "48"),
    ("41", "12.0", "31.8", "57"),
    ("42", "10.9", "54.6", "94"),
    ("43", "9.2", "17.2", "41"),
)
OUTLOOK_TITLE = "Outlook"
OUTLOOK = (
    "November usually brings more wind and less rain. The next report appears "
    "on 5 December and will include the first readings of sunshine."
)
FOOTER = ("Harrow Point Weather Station", "Page 1 of 1")


def make_page(path: Path) -> None:
    image = Image.new("RGB", PAGE_SIZE, "white")
    draw = ImageDraw.Draw(image)
    right = PAGE_SIZE[0] - MARGIN

    y = 60
    draw.text((MARGIN, y), TITLE, font=_font(30, bold=True), fill=INK)
    y += 46
    draw.text((MARGIN, y), SUBTITLE, font=_font(18), fill=QUIET)
    y += 38
    draw.line((MARGIN, y, right, y), fill=ACCENT, width=3)
    y += 28
    for paragraph in PARAGRAPHS:
        y = _draw_text(draw, paragraph, x=MARGIN, y=y, width=right - MARGIN) + 16

    y = _draw_heading(draw, LIST_TITLE, y=y + 10)
    for bullet in BULLETS:
        draw.ellipse((MARGIN + 8, y + 8, MARGIN + 15, y + 15), fill=ACCENT)
        y = _draw_text(draw, bullet, x=MARGIN + 30, y=y, width=right - MARGIN - 30) + 6

    y = _draw_heading(draw, TABLE_TITLE, y=y + 20)
    y = _draw_table(draw, y=y + 4, right=right)

    y = _draw_heading(draw, OUTLOOK_TITLE, y=y + 30)
    _draw_text(draw, OUTLOOK, x=MARGIN, y=y, width=right - MARGIN)

    y = PAGE_SIZE[1] - 62
    draw.line((MARGIN, y, right, y), fill=RULE)
    draw.text((MARGIN, y + 14), FOOTER[0], font=_font(14), fill=QUIET)
    draw.text((right, y + 14), FOOTER[1], font=_font(14), fill=QUIET, anchor="ra")
    image.save(path, optimize=True)


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "VeraBd.ttf" if bold else "Vera.ttf"
    # Basic layout, because Raqm is not in every Pillow and kerns differently.
    return ImageFont.truetype(FONTS / name, size, layout_engine=ImageFont.Layout.BASIC)


def _draw_heading(draw: ImageDraw.ImageDraw, text: str, *, y: int) -> int:
    draw.text((MARGIN, y), text, font=_font(22, bold=True), fill=ACCENT)
    return y + 40


def _draw_text(
    draw: ImageDraw.ImageDraw, text: str, *, x: int, y: int, width: int
) -> int:
    """Draw wrapped text; where the next line would start."""
    font = _font(18)
    line = ""
    for word in [*text.split(), ""]:
        wider = f"{line} {word}".strip()
        if word and font.getlength(wider) <= width:
            line = wider
            continue
        draw.text((x, y), line, font=font, fill=INK)
        line = word
        y += 28
    return y


def _draw_table(draw: ImageDraw.ImageDraw, *, y: int, right: int) -> int:
    """Draw the readings; where the table ends."""
    row_height = 36
    column_width = (right - MARGIN) // len(TABLE[0])
    draw.rectangle((MARGIN, y, right, y + row_height), fill=BAND)
    for index, row in enumerate(TABLE):
        font = _font(17, bold=index == 0)
        for column, cell in enumerate(row):
            middle = y + row_height // 2
            if column == 0:
                draw.text((MARGIN + 16, middle), cell, font=font, fill=INK, anchor="lm")
            else:
                edge = MARGIN + (column + 1) * column_width - 16
                draw.text((edge, middle), cell, font=font, fill=INK, anchor="rm")
        y += row_height
        draw.line((MARGIN, y, right, y), fill=RULE)
    return y


# The PDF


SERIES = "Harrow Point Weather Station"
REPORT_TITLE = "Annual Report 2024"
MONTHS = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
RAINFALL = (96.2, 71.5, 64.0, 48.3, 52.7, 39.8, 33.1, 45.6, 68.9, 126.0, 104.4, 88.7)
SEASONS = (
    ("Season", "Mean, °C", "Lowest, °C", "Highest, °C", "Rain, mm"),
    ("Winter", "5.1", "-4.2", "12.6", "256.4"),
    ("Spring", "9.4", "-0.8", "21.3", "165.0"),
    ("Summer", "16.8", "8.9", "28.7", "118.5"),
    ("Autumn", "11.2", "1.4", "22.0", "299.3"),
)
INSTRUMENTS = (
    ("Instrument", "Height", "Interval", "Readings"),
    ("Thermometer", "2 m", "1 min", "99.8 %"),
    ("Rain gauge", "1 m", "10 min", "99.1 %"),
    ("Wind sensor", "10 m", "10 s", "97.4 %"),
    ("Barometer", "2 m", "1 min", "100.0 %"),
)


def make_report(path: Path) -> None:
    _register_fonts()
    document = BaseDocTemplate(
        str(path),
        pagesize=A5,
        title=f"{SERIES}: {REPORT_TITLE}",
        author=SERIES,
        # The date of making and the document's id would differ each time.
        invariant=True,
    )
    frame = Frame(17 * mm, 19 * mm, A5[0] - 34 * mm, A5[1] - 40 * mm, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame], onPage=_draw_margins))
    document.build(_story())


def _register_fonts() -> None:
    for name, file in (("Vera", "Vera.ttf"), ("Vera-Bold", "VeraBd.ttf")):
        pdfmetrics.registerFont(TTFont(name, FONTS / file))
    pdfmetrics.registerFontFamily("Vera", normal="Vera", bold="Vera-Bold")


def _draw_margins(canvas: Canvas, document: BaseDocTemplate) -> None:
    left, right, top = 17 * mm, A5[0] - 17 * mm, A5[1] - 12 * mm
    canvas.setFont("Vera", 7)
    canvas.setFillColor(HexColor(QUIET))
    canvas.setStrokeColor(HexColor(RULE))
    canvas.setLineWidth(0.5)
    canvas.drawString(left, top, SERIES)
    canvas.drawRightString(right, top, REPORT_TITLE)
    canvas.line(left, top - 5, right, top - 5)
    canvas.drawCentredString(A5[0] / 2, 10 * mm, f"Page {document.page} of 3")


def _story() -> list[Flowable]:
    body = ParagraphStyle(
        "body",
        fontName="Vera",
        fontSize=9.5,
        leading=15,
        spaceAfter=7,
        textColor=HexColor(INK),
    )
    title = ParagraphStyle(
        "title", body, fontName="Vera-Bold", fontSize=19, leading=24, spaceAfter=3
    )
    subtitle = ParagraphStyle(
        "subtitle", body, fontSize=9.5, textColor=HexColor(QUIET), spaceAfter=16
    )
    heading = ParagraphStyle(
        "heading",
        body,
        fontName="Vera-Bold",
        fontSize=12,
        leading=16,
        spaceBefore=10,
        spaceAfter=6,
        textColor=HexColor(ACCENT),
        keepWithNext=True,
    )
    caption = ParagraphStyle(
        "caption",
        body,
        fontSize=7.5,
        leading=10,
        textColor=HexColor(QUIET),
        spaceBefore=5,
    )

    def item(text: str) -> ListItem:
        return ListItem(Paragraph(text, ParagraphStyle("item", body, spaceAfter=3)))

    return [
        Paragraph(REPORT_TITLE, title),
        Paragraph("Temperature, rain and wind at the end of the peninsula", subtitle),
        Paragraph("1. The year in brief", heading),
        Paragraph(
            "The year was the third warmest since readings began in 1987. The mean "
            "temperature was <b>10.6 °C</b>, and every season but spring was warmer "
            "than the average of the last thirty years.",
            body,
        ),
        Paragraph(
            "Rain amounted to <b>839.2 mm</b>. A dry summer was followed by the "
            "wettest autumn in our records: more than a third of the year's rain "
            "fell between September and November.",
            body,
        ),
        Paragraph(
            "The strongest gust, 94 km/h, was recorded on 19 October shortly after "
            "two in the morning. Three days later the sea stood 40 cm above its "
            "usual level.",
            body,
        ),
        Paragraph("What was new", heading),
        ListFlowable(
            [
                item("A second thermometer confirms the readings of the first."),
                item("Readings are sent every ten minutes instead of every hour."),
                item("The fence on the north side was replaced after the storm."),
            ],
            bulletType="bullet",
            start="•",
            bulletColor=HexColor(ACCENT),
            bulletFontSize=8,
            bulletOffsetY=-1.5,
            leftIndent=14,
        ),
        PageBreak(),
        Paragraph("2. Temperature and rain", heading),
        Paragraph(
            "Winter was free of long frosts. The lowest temperature, -4.2 °C, was "
            "reached on only one night, and snow did not lie for more than a day.",
            body,
        ),
        KeepTogether(
            [_table(SEASONS), Paragraph("Table 1. Seasons of 2024.", caption)]
        ),
        Spacer(0, 8),
        Paragraph(
            "Figure 1 shows how unevenly the rain was spread. October alone brought "
            "126.0 mm, almost four times as much as July.",
            body,
        ),
        KeepTogether(
            [
                _rainfall_chart(),
                Paragraph("Figure 1. Rainfall by month, in mm.", caption),
            ]
        ),
        PageBreak(),
        Paragraph("3. Instruments", heading),
        Paragraph(
            "All instruments were checked twice, in April and in October. A reading "
            "counts when it arrives within five minutes and lies within the range "
            "of the instrument; Table 2 gives the share that did.",
            body,
        ),
        KeepTogether(
            [_table(INSTRUMENTS), Paragraph("Table 2. Instruments in use.", caption)]
        ),
        Spacer(0, 8),
        Paragraph(
            "The wind sensor lost a week in February, when ice stopped its cups. A "
            "heated sensor has been ordered and will be mounted before next winter.",
            body,
        ),
        Paragraph("4. Outlook", heading),
        Paragraph(
            "In 2025 the station will begin to measure sunshine. The new instrument "
            "needs a clear view to the south, so the old mast will be moved by six "
            "metres.",
            body,
        ),
        Paragraph(
            "We thank the volunteers who read the gauge by hand on every day of the "
            "year, in all weathers, and who have never missed one.",
            body,
        ),
    ]


def _table(rows: tuple[tuple[str, ...], ...]) -> Table:
    width = A5[0] - 34 * mm
    table = Table(rows, colWidths=[width / len(rows[0])] * len(rows[0]), rowHeights=17)
    table.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, 0), "Vera-Bold", 7.5),
                ("FONT", (0, 1), (-1, -1), "Vera", 8),
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
    width, height = A5[0] - 34 * mm, 52 * mm
    chart = VerticalBarChart()
    chart.x, chart.y = 26, 18
    chart.width, chart.height = width - 34, height - 28
    chart.data = [RAINFALL]
    chart.bars[0].fillColor = HexColor(ACCENT)
    chart.bars[0].strokeColor = None
    chart.barSpacing = 0
    chart.groupSpacing = 5
    chart.categoryAxis.categoryNames = MONTHS
    chart.categoryAxis.strokeColor = HexColor(QUIET)
    chart.categoryAxis.visibleTicks = False
    chart.valueAxis.valueMin, chart.valueAxis.valueMax, chart.valueAxis.valueStep = (
        0,
        140,
        20,
    )
    chart.valueAxis.strokeColor = None
    chart.valueAxis.visibleGrid = True
    chart.valueAxis.gridStrokeColor = HexColor(RULE)
    chart.valueAxis.gridStrokeWidth = 0.4
    for axis in (chart.categoryAxis, chart.valueAxis):
        axis.labels.fontName = "Vera"
        axis.labels.fontSize = 6.5
        axis.labels.fillColor = HexColor(QUIET)

    average = sum(RAINFALL) / len(RAINFALL)
    y = chart.y + chart.height * average / 140
    drawing = Drawing(width, height)
    drawing.add(chart)
    drawing.add(
        Line(
            chart.x,
            y,
            chart.x + chart.width,
            y,
            strokeColor=HexColor("#b5472f"),
            strokeWidth=0.8,
            strokeDashArray=(3, 2),
        )
    )
    label = String(chart.x + chart.width * 0.42, y + 4, f"mean {average:.1f}")
    label.fontName, label.fontSize, label.fillColor = "Vera", 6.5, HexColor("#b5472f")
    drawing.add(label)
    return drawing


if __name__ == "__main__":
    make_page(FOLDER / "page.png")
    make_report(FOLDER / "report.pdf")
