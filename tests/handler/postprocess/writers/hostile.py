"""Random pages of hostile text, and the characters that readers show of them.

The texts consist of characters and snippets that are special in Markdown or HTML. In a
page they are escaped text inside the elements that models write. A reader of the page's
Markdown must therefore show the same characters, with the same formatting, as a browser
shows of its HTML.
"""

from __future__ import annotations

import html
import random
import re
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from tests.handler.postprocess.pages import make_block

__all__ = [
    "HREFS",
    "generate_blocks",
    "render_with_links",
    "render_with_math",
    "visible_characters",
]

_ALPHABET = "\\`*_{}[]()<>#+-.!|~$&;:=\"'/@^% ab1xü「€"
_SNIPPETS = (
    *("<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "<svg onload=x>"),
    *("![b](http://evil.example/b.png)", "[x](javascript:alert(1))", "](", "][", "!["),
    *("[x]: http://evil.example", "[x]", "[^1]: x", "[^1]", "<http://evil.example>"),
    *("<1@evil.example>", "<.a@evil.example>", "<javascript:alert(1)>", "<a@b.c"),
    *("```", "~~~", "``", "`", "`<b>`", "<!--", "-->", "--", "<![CDATA[", "]]>", "<?"),
    *(
        "?>",
        "<!X",
        "<sub>",
        "</sub>",
        "<table>",
        "</table>",
        "<div>",
        "</div>",
        "<pre>",
    ),
    *("&lt;script&gt;", "&#60;", "&amp;", "&", "&colon;", "\\", "\\\\", "\\<", "\\`"),
    *("\\|", "|", "| - |", ":-:|:-:", "-", "---", "- ", "* ", "+ ", "1. ", "1) ", "# "),
    *("#", "###### ", "> ", "=", "===", "***", "**", "*", "_", "__", "~~", "~", "[x] "),
    *("[ ] ", "    x", "\t", "\xa0", "\u3000", "\u200b", "\u2028", "\x85", "\x0b"),
    *("\x1c", "\ufdd0", "\ufdd5", "\ufdd7", "\ufddf", "$", "$$", "$x$", "\\(", "\\$"),
    *("% x\n", "\n", "%\n- ", "%\n# ", "%\n=\n", "%\n\n", "%\n    ", "[!NOTE]", "+"),
    *("http://evil.example", "www.evil.example", "a@evil.example", "a", "Wort", "5"),
    *("x <y and z> w", "5 < 6", "a_b_c", "snake_case", "!", "[", "]", "(", ")", "<"),
)
HREFS = ("https://a.example/x", "mailto:a@b.example", "#3")

_INLINE_TAGS = (
    "b",
    "i",
    "em",
    "strong",
    "del",
    "s",
    "u",
    "sub",
    "sup",
    "small",
    "span",
)
_BLOCK_FRAMES = (
    *("<p>{}</p>", "{}", "<p>x{}x</p>", "<p>{}<br>{}</p>", "<p>{}</p><p>{}</p>"),
    *("<h1>{}</h1>", "<h3>{}<br>{}</h3>", "<div>{}<div>{}</div></div>"),
    *("<ul><li>{}</li><li>{}</li></ul>", "<ol start='7'><li>{}</li><li>{}</li></ol>"),
    *(
        "<ul><li>{}<ol><li>{}</li></ol></li></ul>",
        "<ul><li><p>{}</p><p>{}</p></li></ul>",
    ),
    *("<ul><li><pre>{pre}</pre>{}</li></ul>", "<ol><li><hr>{}</li></ol>"),
    "<table><tr><th>{}</th><th>{}</th></tr><tr><td>{}</td><td>{}</td></tr></table>",
    "<table><caption>{}</caption><tr><td>{}</td><td>{}</td></tr></table>",
    "<table><tr><td colspan=2>{}</td></tr><tr><td>{}</td><td>{}</td></tr></table>",
    "<table><tr><td rowspan=2><pre>{pre}</pre>{}</td></tr><tr><td>{}</td></tr></table>",
    "<table><tr><td><ul><li>{}</li></ul></td></tr><caption>{}</caption></table>",
    "<ul><li>x<table><tr><td>{}</td></tr></table></li></ul>",
    *("<blockquote>{}</blockquote>", "<blockquote>{}<ul><li>{}</li></ul></blockquote>"),
    "<blockquote><pre>{pre}</pre><p>{}</p></blockquote><p>{}</p>",
    *("<b>{}<p>{}</p>{}</b>", "<pre>{pre}</pre>"),
    "<pre><code class='language-x'>{pre}</code></pre>",
)
_FORMULA_FRAME = "<p><i>{}<math display='block'>x</math>{}</i></p>"
_BLOCK_LABELS = (
    "Text",
    "Table",
    "Section-Header",
    "Code-Block",
    "List-Group",
    "Caption",
)


def generate_blocks(seed: int, num_texts: int, *, with_math: bool) -> Iterator[str]:
    """Yield random blocks of hostile text, with at least `num_texts` texts in total.

    Equal seeds give equal blocks. `with_math` adds formulas.
    """
    page = _RandomPage(random.Random(seed), with_math)
    while page.num_texts < num_texts:
        yield page.write_block()


class _RandomPage:
    """Generator of blocks, which counts the texts that it has written."""

    def __init__(self, generator: random.Random, with_math: bool) -> None:
        self.num_texts = 0
        self._random = generator
        self._with_math = with_math

    def write_block(self) -> str:
        frame = self._random.choice(_BLOCK_FRAMES)
        if self._with_math and self._random.random() < 0.1:
            frame = _FORMULA_FRAME
        parts = re.split(r"(\{\}|\{pre\})", frame)
        frame = "".join(self._fill_placeholder(part) for part in parts)
        return make_block(frame, self._random.choice(_BLOCK_LABELS))

    def _fill_placeholder(self, part: str) -> str:
        if part == "{pre}":
            lines = [self._write_text() for _ in range(self._random.randint(1, 3))]
            return "\n".join(lines)
        return self._write_inline(2) if part == "{}" else part

    def _write_inline(self, depth: int) -> str:
        return "".join(
            self._write_piece(depth) for _ in range(self._random.randint(1, 3))
        )

    def _write_piece(self, depth: int) -> str:
        kind = self._random.random()
        if depth == 0 or kind < 0.4:
            return self._write_text()
        if kind < 0.55:
            if self._random.random() < 0.3:
                # Dollars around a formula are removed, which the HTML does not show.
                return f"<chem>{self._write_text().replace('$', '')}</chem>"
            return f"<code>{self._write_text()}</code>"
        if kind < 0.62:
            href = self._random.choice((*HREFS, "javascript:alert(1)"))
            return f"<a href='{href}'>{self._write_inline(depth - 1)}</a>"
        if kind < 0.7 and self._with_math:
            display = self._random.choice(("", "", " display='block'"))
            return f"<math{display}>{self._write_text()}</math>"
        if kind < 0.74:
            return "<br>"
        tag = self._random.choice(_INLINE_TAGS)
        return f"<{tag}>{self._write_inline(depth - 1)}</{tag}>"

    def _write_text(self) -> str:
        self.num_texts += 1
        if self._random.random() < 0.4:
            chars = self._random.choices(_ALPHABET, k=self._random.randint(1, 8))
            return html.escape("".join(chars))
        snippets = self._random.choices(_SNIPPETS, k=self._random.randint(1, 4))
        return html.escape("".join(snippets))


def render_with_math(markdown: str) -> str:
    """Render Markdown with formulas between dollars, as GitHub and Jupyter do."""
    reader = MarkdownIt("commonmark", {"html": True})
    reader.enable(["table", "strikethrough"])
    reader.inline.ruler.before("escape", "math", _math_rule)
    reader.add_render_rule("math", _math_as_html)
    return str(reader.render(markdown))


def _math_as_html(self: object, tokens: list, index: int, *_: object) -> str:  # type: ignore[type-arg]
    return f"<math>{html.escape(tokens[index].content)}</math>"


def _math_rule(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "$":
        return False
    fence = "$$" if state.src.startswith("$$", state.pos) else "$"
    position = state.pos + len(fence)
    while (end := state.src.find(fence, position)) >= 0:
        before = state.src[:end]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            break
        position = end + 1
    else:
        return False
    if not silent:
        token = state.push("math", "", 0)
        token.content = state.src[state.pos + len(fence) : end]
    state.pos = end + len(fence)
    return True


def render_with_links(markdown: str) -> str:
    """Render Markdown with bare addresses as links, as GitHub does."""
    reader = MarkdownIt("commonmark", {"html": True})
    reader.enable(["table", "strikethrough"])
    reader.inline.ruler.before("escape", "bare_link", _bare_link_rule)
    return str(reader.render(markdown))


def _bare_link_rule(state: StateInline, silent: bool) -> bool:
    link = re.compile(r"://[^\s<]+").match(state.src, state.pos)
    if link is None or not state.src[: state.pos].lower().endswith(("http", "https")):
        return False
    if not silent:
        state.pending += link[0]
    state.pos = link.end()
    return True


_EQUIVALENT_TAGS = {"strong": "b", "em": "i", "s": "del", "chem": "code", "th": "td"}
_FORMATS = frozenset(
    {
        "b",
        "i",
        "del",
        "u",
        "sub",
        "sup",
        "code",
        "math",
        "a",
        "h1",
        "h3",
        "li",
        "td",
        "pre",
    }
)


class _CharacterReader(HTMLParser):
    """Parser that collects the visible characters of HTML with their formatting."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.characters: list[tuple[str, str]] = []
        self._open: list[str] = []
        self._math = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        tag = _EQUIVALENT_TAGS.get(tag, tag)
        if tag not in _FORMATS or (tag == "code" and "pre" in self._open):
            return
        self._open.append(f"a {dict(attrs).get('href')}" if tag == "a" else tag)

    def handle_endtag(self, tag: str) -> None:
        tag = _EQUIVALENT_TAGS.get(tag, tag)
        if self._open and self._open[-1].split()[0] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        # A link without a target is shown as text.
        kept = {*self._open} - {"a None"}
        for tag in ("pre", "math"):
            if tag in kept:
                kept &= {tag, "li", "td"}
        if "math" in kept:
            data = data.replace("\\lbrack", "").replace("\\rbrack", "")
            data = unicodedata.normalize("NFD", data)
            data = "".join(c for c in data if c.isascii() and c.isalnum())
        formats = " ".join(sorted(kept))
        self.characters += [(char, formats) for char in data if not char.isspace()]


def visible_characters(source: str) -> list[tuple[str, str]]:
    """Return each visible character of HTML with its formatting.

    Spaces are left out, and so are bold and links in listings and formulas, where
    Markdown has none. Formulas are compared by letters and digits only, because the
    rest may be written in another, equivalent way.
    """
    return _CharacterReader(source).characters
