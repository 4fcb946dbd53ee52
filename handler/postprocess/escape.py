"""Keep words of the page from becoming marks of Markdown.

What a character means depends on its neighbours, and they may come from another
element. So `escaped` only marks the characters that could mean something, with
noncharacters that no page contains, and `finished` decides about each of them when
its line is complete. Most stay as they are: `5 * 3`, `snake_case`, `[1]`.
"""

from __future__ import annotations

import re
import string
import unicodedata

from handler.postprocess.sanitise import is_safe_link

__all__ = [
    "emphasised",
    "escaped",
    "finished",
    "link_target",
    "safe_latex",
    "with_dollars",
]

_MARKED = "\\*_~[]<&!"
_MARK_OF = {char: chr(0xFDD0 + index) for index, char in enumerate(_MARKED)}
_CHAR_OF = {mark: char for char, mark in _MARK_OF.items()}
# Stands for a backslash; the bracket after it can neither end nor begin a link.
_FORCED = "\ufddf"
_BRACKETS = re.compile(r"[\[\]]")
_DOLLAR = "\ufdde"
_ALWAYS = {"`": "\\`", "$": _DOLLAR, _DOLLAR: "\ufffd"}
_ESCAPES = str.maketrans({**_MARK_OF, **_ALWAYS})
_RUNS = re.compile("([\ufdd0-\ufddf])\\1*")
_PUNCTUATION = frozenset(string.punctuation) | _CHAR_OF.keys() | {_FORCED, _DOLLAR}

_LINE_STARTS = re.compile(
    r"(?P<number>\d{1,9})(?P<dot>[.)])(?=\s|\Z)"
    r"|(?P<mark>[-+*](?=\s|\Z)|#{1,6}(?=\s|\Z)|>|~~~|=+\s*\Z"
    r"|(?=[-|: \t]*-)[-|: \t]+\Z|(?:[-_*]\s*){3,}\Z)"
)


def escaped(text: str, *, in_brackets: bool = False) -> str:
    """Text of a page, to be passed to `finished` with the line it ends up in."""
    if in_brackets:
        text = _BRACKETS.sub(lambda match: _FORCED + match[0], text)
    return text.translate(_ESCAPES)


def finished(line: str, *, starts_block: bool = True) -> str:
    """A line with backslashes where a character would be taken for a mark.

    `starts_block` is False where `1.` or `#` cannot begin a list or a heading.
    """
    line = with_dollars(line)
    line = _RUNS.sub(lambda match: _resolved(match, line), line)
    start = _LINE_STARTS.match(line) if starts_block else None
    if start is None:
        return line
    if start["number"]:
        return f"{start['number']}\\{line[start.end('number') :]}"
    return "\\" + line


def with_dollars(text: str, *, in_row: bool = False) -> str:
    """Text whose dollars are hidden where two of them could enclose a formula.

    `text` is all that one paragraph holds. A single dollar there encloses nothing,
    but some readers pair those of different cells in a row.
    """
    if _DOLLAR not in text:
        return text
    is_single = not in_row and text.count(_DOLLAR) + text.count("$") == 1
    return text.replace(_DOLLAR, "$" if is_single else "\\$")


def _resolved(match: re.Match[str], line: str) -> str:
    """A run of one character as it must be written between its neighbours."""
    mark = match[1]
    if mark == _FORCED:
        return "\\"
    char = _CHAR_OF[mark]
    before = line[match.start() - 1 : match.start()]
    after = line[match.end() : match.end() + 1]
    run = char * len(match[0])
    every = ("\\" + char) * len(match[0])
    if before == _FORCED:
        return run[:1] + every[2:]
    is_apart = not before.strip() and not after.strip()
    match char:
        case "\\":
            # Between two the first hides the second, so a run is hidden whole.
            return every if len(run) > 1 or not after or after in _PUNCTUATION else run
        case "*":
            return run if is_apart else every
        case "_":
            is_inside = _is_word(before) and _is_word(after)
            return run if is_apart or is_inside else every
        case "~":
            return every if before.strip() or len(run) > 2 else run
        case "[":
            return run
        case "]":
            return run[:-1] + (
                f"\\{char}" if after and after in "([:" + _MARK_OF["["] else char
            )
        case "<":
            is_tag = after.isalpha() or after in ("/", "?", *_OPENERS)
            return run[:-1] + (f"\\{char}" if is_tag else char)
        case "&":
            rest = "&" + line[match.end() : match.end() + 40]
            return run[:-1] + ("\\&" if _REFERENCE.match(rest) else "&")
        case _:
            return run[:-1] + (f"\\{char}" if after in ("[", _MARK_OF["["]) else char)


_OPENERS = ("!", _MARK_OF["!"])
_REFERENCE = re.compile(r"&(?:#[0-9xX]|[A-Za-z][A-Za-z0-9]*;)")


def _is_word(char: str) -> bool:
    return char.isalnum()


def emphasised(inner: str, mark: str, before: str, after: str) -> str:
    """Text between marks, or between tags where the marks would not be seen.

    CommonMark ignores `**` between a letter and punctuation, which is where it
    stands in most Japanese and Chinese text.
    """
    return "\n".join(
        _emphasised_line(line, mark, before, after) for line in inner.split("\n")
    )


_TAG_OF = {"**": "b", "*": "i", "~~": "del"}


def _emphasised_line(line: str, mark: str, before: str, after: str) -> str:
    words = line.strip(" ")
    if not words:
        return line
    lead = line[: len(line) - len(line.lstrip(" "))]
    trail = line[len(line.rstrip(" ")) :]
    opens = bool(lead) or not _hides(words[0], before)
    closes = bool(trail) or not _hides(words[-1], after)
    if opens and closes:
        return f"{lead}{mark}{words}{mark}{trail}"
    tag = _TAG_OF[mark]
    return f"{lead}<{tag}>{words}</{tag}>{trail}"


def _hides(inner: str, outer: str) -> bool:
    """Whether a mark between these two characters would be taken for text."""
    if not outer or outer.isspace():
        return False
    if outer in "*~" or outer in _CHAR_OF:
        return True
    return _is_punctuation(inner) and not _is_punctuation(outer)


def _is_punctuation(char: str) -> bool:
    return char in _PUNCTUATION or unicodedata.category(char)[0] in "PS"


def link_target(url: str) -> str:
    """A link as Markdown reads it back, or nothing where it might run."""
    url = url.strip()
    if not is_safe_link(url):
        return ""
    url = _REFERENCE.sub(lambda match: "&amp;" + match[0][1:], url)
    return "".join(_URL_ESCAPES.get(char, char) for char in url if char.isprintable())


_URL_ESCAPES = {char: f"%{ord(char):02X}" for char in " ()<>\\[]\"'`*~$|"}


def safe_latex(latex: str) -> str:
    """LaTeX that means the same and is nothing else to a reader of Markdown.

    Not every reader knows dollars: to the others `<b>` is a tag and `[x](y)` a
    link. A space between, which LaTeX ignores, is enough.
    """
    latex = re.sub(r"<(?=[A-Za-z/!?])", "< ", latex)
    latex = re.sub(r"\](?=[(\[:])", "] ", latex)
    latex = re.sub(r"(?<!\\)((?:\\\\)*+)\$", r"\1\\$", latex)
    if re.search(r"(?<!\\)(?:\\\\)*+\\\Z", latex):
        latex = latex[:-1]
    return latex.strip()
