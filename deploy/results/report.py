"""HTML report of an answer: each page with its blocks beside the text.

The report is one file with its pictures and without scripts. Values of the answer are
escaped or cleaned, and a Content-Security-Policy keeps browsers from loading or running
anything else.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploy.results.sanitise import POLICY, cleaner_of

__all__ = ["report_of"]

Json = Mapping[str, Any]

STYLE = """
:root { color-scheme: light; --line: #d5d9e0; --faint: #667; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: #1a1d24;
       background: #f4f5f7; }
header { padding: 1rem 1.5rem; background: #fff; border-bottom: 1px solid var(--line); }
header h1 { margin: 0; font-size: 1.2rem; }
header p { margin: .2rem 0 0; color: var(--faint); }
nav { margin-top: .5rem; line-height: 1.9; }
nav a { padding: .1rem .45rem; margin-right: .2rem; border-radius: .2rem;
        color: inherit; text-decoration: none; background: #e8ebf0; }
nav a.wrong { color: #fff; background: #b42318; }
section { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr);
          gap: 1.5rem; padding: 1.5rem; border-bottom: 1px solid var(--line); }
section.alone { grid-template-columns: minmax(0, 1fr); }
section > h2 { grid-column: 1 / -1; margin: 0; font-size: 1rem; }
.picture { position: sticky; top: 1rem; align-self: start; background: #fff;
           border: 1px solid var(--line); }
.picture img { display: block; width: 100%; }
.box { position: absolute; border: 1.5px solid var(--ink);
       background: color-mix(in srgb, var(--ink) 9%, transparent); }
.box span { position: absolute; right: 100%; top: -1.5px; padding: 0 .3rem;
            font-size: .68rem; line-height: 1.1rem; color: #fff; text-decoration: none;
            background: var(--ink); }
.block { padding: .6rem .8rem; margin-bottom: .6rem; background: #fff;
         border-left: 4px solid var(--ink); overflow-x: auto; scroll-margin-top: 1rem; }
.block > a { float: right; margin-left: .8rem; font-size: .7rem; color: var(--faint);
             text-decoration: none; }
.block > :nth-child(2) { margin-top: 0; } .block > :last-child { margin-bottom: 0; }
.block h1 { font-size: 1.5rem; } .block h2 { font-size: 1.25rem; }
.block h3, .block h4, .block h5, .block h6 { font-size: 1.05rem; }
.block img { max-width: 100%; } .block pre { white-space: pre-wrap; }
.box:target, .box:hover { background: color-mix(in srgb, var(--ink) 30%, transparent); }
.block:target { outline: 2px solid var(--ink); }
table { border-collapse: collapse; } td, th { border: 1px solid var(--line);
        padding: .2rem .5rem; }
p.wrong { margin: 0 0 .6rem; padding: .6rem .8rem; background: #fde8e8;
          border-left: 4px solid #b42318; }
.note { color: var(--faint); font-size: .85rem; }
@media (max-width: 60rem) {
  section { grid-template-columns: minmax(0, 1fr); }
  .picture { position: relative; top: 0; } }
@media print { body { background: none; } section { break-inside: avoid; }
               .picture { position: relative; top: 0; } }
"""

WRONG = ' class="wrong"'
INKS = ("#2b6cb0", "#b7791f", "#2f855a", "#9b2c2c", "#6b46c1", "#0e7490", "#a21caf",
        "#4d7c0f")  # fmt: skip


def report_of(name: str, document: Json, pictures: Mapping[int, bytes]) -> str:
    """Return the report of an answer as HTML.

    `name` is the title, `document` the answer as JSON, and `pictures` the JPEG of each
    page by number. A page without a picture shows its text only. Raises KeyError,
    ValueError or TypeError if pages or page numbers are missing or invalid, and
    ConfigError without nh3.
    """
    pages = "\n".join(
        _page(page, pictures.get(int(page["page"]))) for page in document["pages"]
    )
    model = document.get("model") or {}
    usage = document.get("usage") or {}
    facts = [
        str(document.get("status", "")).replace("_", " "),
        _count(document["pages"], document.get("num_pages")),
        f"{usage.get('output_tokens', 0)} tokens",
        f"{_number(document.get('processing_time')) or 0:.1f} s",
        f"{model.get('id')} {model.get('revision') or ''}".strip(),
    ]
    report = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(name)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>{html.escape(name)}</h1><p>{html.escape(" · ".join(facts))}</p>
{_warning_paragraphs(document)}{_navigation(document["pages"])}</header>
{pages}
</body>
</html>
"""
    # JSON can contain lone surrogates, which UTF-8 cannot encode; replace them.
    return report.encode("utf-8", "replace").decode()


def _count(pages: Sequence[Json], document_pages: object) -> str:
    """Return `2 of 3 pages read`, or `3 pages` if none failed.

    `document_pages` is the number of pages of the document, which is added if the
    answer has fewer.
    """
    read = sum(not page.get("error") for page in pages)
    count = "1 page" if read == 1 else f"{read} pages"
    if read < len(pages):
        count = f"{read} of {len(pages)} pages read"
    num_pages = int(_number(document_pages) or 0)
    return f"{count}, document of {num_pages:,}" if num_pages > len(pages) else count


def _number(value: object) -> float | None:
    """Return a value of an answer if it is a finite number, else None."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def _navigation(pages: Sequence[Json]) -> str:
    """Return links to all pages; those with errors are highlighted.

    The navigation of a single page is empty.
    """
    if len(pages) < 2:
        return ""
    links = (
        f'<a href="#page-{int(page["page"])}"'
        f"{WRONG if page.get('error') else ''}>{int(page['page'])}</a>"
        for page in pages
    )
    return f"<nav>{' '.join(links)}</nav>"


def _page(page: Json, picture: bytes | None) -> str:
    """Return a page as HTML: its picture with boxes on the left, and its blocks."""
    number = int(page["page"])
    blocks = list(enumerate(page.get("blocks") or (), start=1))
    boxes = "".join(_box(page, number, index, block) for index, block in blocks)
    image = (
        f'<img alt="page {number}" src="{_data_url("image/jpeg", picture)}">'
        if picture is not None
        else ""
    )
    left = f'<div class="picture">{image}{boxes}</div>' if image else ""
    kind = "" if image else ' class="alone"'
    clean = cleaner_of(page)
    text = "\n".join(_block(clean, number, index, block) for index, block in blocks)
    return f"""<section id="page-{number}"{kind}>
<h2>Page {number}</h2>
{left}
<div>{_error_paragraph(page)}{text}{_warning_paragraphs(page)}</div>
</section>"""


def _box(page: Json, number: int, index: int, block: Json) -> str:
    """Return the frame of a block on the picture of its page, as HTML.

    It is empty if the box of the block or the size of the page is missing or invalid.
    """
    width, height = _number(page.get("width")), _number(page.get("height"))
    bbox_value = block.get("bbox")
    bbox = [_number(x) for x in bbox_value] if isinstance(bbox_value, list) else []
    sides = [side for side in bbox if side is not None]
    if len(sides) != 4 or not width or not height:
        return ""
    left, top, right, bottom = sides
    place = (
        f"left:{100 * left / width:.3f}%;top:{100 * top / height:.3f}%;"
        f"width:{100 * (right - left) / width:.3f}%;"
        f"height:{100 * (bottom - top) / height:.3f}%;--ink:{_ink(block)}"
    )
    label = html.escape(str(block.get("label")))
    return (
        f'<a class="box" id="box-{number}-{index}" href="#block-{number}-{index}" '
        f'title="{label}" style="{place}"><span>{index}</span></a>'
    )


def _block(clean: Callable[[str], str], number: int, index: int, block: Json) -> str:
    """Return the text of a block as HTML, with a link to its box on the picture.

    `clean` cleans the HTML of the block. `number` is the page and `index` the block.
    """
    label = html.escape(str(block.get("label")))
    link = f'<a href="#box-{number}-{index}">{index} {label}</a>'
    content = clean(str(block.get("html") or ""))
    return (
        f'<div class="block" id="block-{number}-{index}" style="--ink:{_ink(block)}">'
        f"{link}{content}</div>"
    )


def _error_paragraph(page: Json) -> str:
    """Return the error of a page as HTML; empty if it has none."""
    error = page.get("error")
    if not error:
        return ""
    text = f"{error.get('code')}: {error.get('detail')}"
    return f'<p class="wrong">{html.escape(text)}</p>'


def _warning_paragraphs(item: Json) -> str:
    """Return the warnings of a page, or of the whole document, as HTML."""
    notes = [
        f"{warning.get('code')}: {warning.get('detail')}"
        for warning in item.get("warnings") or ()
    ]
    return "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)


def _ink(block: Json) -> str:
    """Return a colour for a block, which is the same for all blocks of its label."""
    return INKS[sum(map(ord, str(block.get("label")))) % len(INKS)]


def _data_url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
