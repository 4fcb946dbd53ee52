"""Report of the evaluation: its file, and the tables of the README that show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "TABLE_END",
    "TABLE_START",
    "read_report",
    "render_tables",
    "replace_tables",
    "write_report",
]

TABLE_START = "<!-- results: python -m mini.evaluate --table -->\n"
TABLE_END = "<!-- end of results -->\n"

_CHROMIUM_NAMES = {
    "letter": "letter, A5",
    "invoice": "invoice with a table, A5",
    "article": "article, A4",
}

Report = dict[str, Any]


def read_report(path: Path) -> Report:
    """Return the parts of a report by name; empty if there is no report."""
    if not path.is_file():
        return {}
    parts = json.loads(path.read_text("utf-8")).get("parts", {})
    assert isinstance(parts, dict)
    return parts


def write_report(path: Path, parts: Report) -> None:
    """Write the parts of a report."""
    path.write_text(
        json.dumps({"parts": parts}, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )


def render_tables(parts: Report) -> str:
    """Return the tables of the README, in Markdown. Missing parts are left out."""
    sections = (
        _list_domain_rows(parts),
        _list_other_rows(parts),
        _list_sample_rows(parts),
    )
    tables = ("\n".join(map(_write_row, rows)) for rows in map(list, sections) if rows)
    return "\n\n".join(tables) + "\n"


def replace_tables(text: str, parts: Report) -> str:
    """Return the text of a README with new tables between its two comments.

    Raises ValueError if the comments are missing.
    """
    before, start, rest = text.partition(TABLE_START)
    _, end, after = rest.partition(TABLE_END)
    if not start or not end:
        raise ValueError(
            f"no place for the tables: put the lines {TABLE_START.strip()!r} and "
            f"{TABLE_END.strip()!r} into the README"
        )
    return f"{before}{start}\n{render_tables(parts)}\n{end}{after}"


Row = tuple[str, ...]


def _write_row(row: Row) -> str:
    return f"| {' | '.join(row)} |"


def _start_table(*header: str) -> Iterator[Row]:
    yield header
    yield ("---",) * len(header)


def _list_domain_rows(parts: Report) -> Iterator[Row]:
    if "domain" not in parts:
        return
    domain = parts["domain"]
    yield from _start_table(f"{domain['pages']} pages of the domain", "result")
    yield "character error rate", _percent(domain["character_error_rate"])
    yield "pages without an error", _percent(domain["pages_without_error"])
    yield "dropped lines", str(domain["dropped_lines"])
    yield "doubled lines", str(domain["doubled_lines"])
    yield (
        f"tables with the right cells, of {domain['tables']}",
        _percent(domain["tables_with_right_shape"]),
    )
    yield "mean IoU of bounding boxes", _decimal(domain["mean_iou"])
    yield "correct labels", _percent(domain["right_labels"])
    yield f"seconds per page, {domain['machine']}", _write_seconds(domain)


def _list_other_rows(parts: Report) -> Iterator[Row]:
    rows = [
        *_list_font_rows(parts),
        *_list_pillow_rows(parts),
        *_list_a4_rows(parts),
        *_list_chromium_rows(parts),
    ]
    if rows:
        yield from _start_table(
            "other pages",
            "pages",
            "character error rate",
            "lines dropped, doubled",
            "seconds per page",
        )
        yield from rows


def _list_font_rows(parts: Report) -> Iterator[Row]:
    if "unseen_fonts" not in parts:
        return
    fonts = parts["unseen_fonts"]
    yield _write_summary("the domain in typefaces without training", fonts)
    for name, family in fonts["families"].items():
        yield _write_summary(f"… {name}", family)


def _list_pillow_rows(parts: Report) -> Iterator[Row]:
    if "pillow" in parts:
        yield _write_summary("drawn by Pillow alone, 18 to 24 pixels", parts["pillow"])


def _list_a4_rows(parts: Report) -> Iterator[Row]:
    if "a4" not in parts:
        return
    for name, summary in parts["a4"]["formats"].items():
        yield _write_summary(f"A4, {name}", summary)
    yield _write_summary("A4, two columns, 200 dpi, 11 pt", parts["a4"]["two_columns"])


def _list_chromium_rows(parts: Report) -> Iterator[Row]:
    for name, page in parts.get("chromium", {}).get("pages", {}).items():
        title = f"Chromium: {_CHROMIUM_NAMES[name]}"
        yield _write_summary(title, page["with_drafts"])
        yield _write_summary(f"{title}, without drafts", page["without_drafts"])


def _list_sample_rows(parts: Report) -> Iterator[Row]:
    if "samples" not in parts:
        return
    yield from _start_table(
        "page of the demo", "wrong characters", "wrong cells", "without drafts"
    )
    for name, page in parts["samples"]["pages"].items():
        read, without = page["with_drafts"], page["without_drafts"]
        yield (
            name,
            f"{read['wrong_characters']} of {page['characters']}",
            f"{read['wrong_cells']} of {page['cells']}",
            f"{without['wrong_characters']} and {without['wrong_cells']}",
        )


def _write_summary(title: str, summary: Report) -> Row:
    return (
        title,
        str(summary["pages"]),
        _percent(summary["character_error_rate"]),
        f"{summary['dropped_lines']}, {summary['doubled_lines']}",
        _write_seconds(summary),
    )


def _write_seconds(summary: Report) -> str:
    mean, most = summary["seconds_a_page"], summary["seconds_of_the_slowest_page"]
    if summary["pages"] == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f}, at most {most:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
