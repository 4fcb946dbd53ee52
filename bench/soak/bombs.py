"""Small PDFs that keep a decoder busy for minutes per page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["BOMBS", "fine_pattern", "nested_forms"]

A4 = b"[0 0 595 842]"


def fine_pattern(num_pages: int = 1, name: str = "") -> bytes:
    """Return a PDF with a tiling pattern whose step is 1/10,000 of a point."""
    return _pdf(
        [
            b"<</Type/Page/Parent 2 0 R/MediaBox%s/Contents %d 0 R"
            b"/Resources<</Pattern<</P %d 0 R>>>>>>"
            % (A4, 3 + num_pages, 4 + num_pages)
        ]
        * num_pages,
        [
            _stream(b"", b"/Pattern cs /P scn 0 0 595 842 re f"),
            _stream(
                b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 1 1]"
                b"/XStep 0.0001/YStep 0.0001/Resources<<>>",
                b"0 0 1 1 re f",
            ),
        ],
        name,
    )


def nested_forms(num_pages: int = 1, name: str = "") -> bytes:
    """Return a PDF with nested forms, each of which draws the next one ten times."""
    depth = 12
    first_form = 4 + num_pages
    ten_times = b"/F Do " * 10
    forms = [
        _stream(
            b"/Type/XObject/Subtype/Form/BBox%s/Resources<</XObject<</F %d 0 R>>>>"
            % (A4, first_form + level + 1),
            ten_times,
        )
        for level in range(depth)
    ]
    leaf = _stream(
        b"/Type/XObject/Subtype/Form/BBox%s/Resources<<>>" % A4, b"0 0 9 9 re f"
    )
    return _pdf(
        [
            b"<</Type/Page/Parent 2 0 R/MediaBox%s/Contents %d 0 R"
            b"/Resources<</XObject<</F %d 0 R>>>>>>" % (A4, 3 + num_pages, first_form)
        ]
        * num_pages,
        [_stream(b"", ten_times), *forms, leaf],
        name,
    )


BOMBS: Sequence[Callable[[int, str], bytes]] = (fine_pattern, nested_forms)


def _stream(entries: bytes, content: bytes) -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(content), content)


def _pdf(pages: Sequence[bytes], others: Sequence[bytes], name: str) -> bytes:
    """Join objects: the catalog is 1, the page tree 2, and the first page 3."""
    kids = b" ".join(b"%d 0 R" % (3 + index) for index in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(pages)),
        *pages,
        *others,
    ]
    content = b"%%PDF-1.7\n%%%s\n" % name.encode()
    offsets = []
    for number, value in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, value)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return content + (
        b"xref\n0 %d\n0000000000 65535 f \n%s"
        b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
    ) % (len(objects) + 1, table, len(objects) + 1, len(content))
