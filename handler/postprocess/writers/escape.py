"""Escaping of a page's text in Markdown.

The meaning of a character depends on its neighbours, which may come from another
element. `mark_special_characters` therefore replaces special characters by Unicode
noncharacters, called marks. Once a line is complete, `resolve_marks` replaces each mark
by its character, with a backslash where Markdown needs one. Most characters need none:
`5 * 3`, `snake_case`, `[1]`.
"""

from __future__ import annotations

import re
import string
import unicodedata

from handler.postprocess.html.sanitise import is_safe_link

__all__ = [
    "emphasise",
    "escape_dollars_and_backticks",
    "escape_link_target",
    "make_latex_safe",
    "mark_special_characters",
    "resolve_marks",
    "split_lines",
    "to_one_line",
]

_SPECIAL = "\\*_~[]<&!"
_MARK_OF = {char: chr(0xFDD0 + index) for index, char in enumerate(_SPECIAL)}
_CHAR_OF = {mark: char for char, mark in _MARK_OF.items()}
# Mark for a backslash, before a bracket that must neither end nor begin a link.
_BACKSLASH = "\ufddf"
_BRACKETS = re.compile(r"[\[\]]")
_DOLLAR = "\ufdde"
_BACKTICK = "\ufddd"
_PAIRED_MARKS = {"`": _BACKTICK, "$": _DOLLAR}
# A page may contain these noncharacters; they must not be mistaken for marks.
_REPLACED_NONCHARACTERS = dict.fromkeys(map(chr, range(0xFDD0, 0xFDE0)), "\ufffd")
# CommonMark ends lines only at "\r" and "\n"; some readers also end them at these.
_SEPARATORS = "\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_TO_SPACES = str.maketrans(
    {**_REPLACED_NONCHARACTERS, **dict.fromkeys("\r" + _SEPARATORS, " ")}
)
_LINE_END = re.compile(f"\r\n?|[{_SEPARATORS}]")
_ESCAPES = str.maketrans({**_MARK_OF, **_PAIRED_MARKS})
_MARK_RUNS = re.compile("([\ufdd0-\ufddf])\\1*")
_PUNCTUATION = (
    frozenset(string.punctuation)
    | _CHAR_OF.keys()
    | {
        _BACKSLASH,
        _DOLLAR,
        _BACKTICK,
    }
)

_LINE_STARTS = re.compile(
    r"(?P<number>\d{1,9})(?P<dot>[.)])(?=\s|\Z)"
    r"|(?P<mark>[-+*](?=\s|\Z)|#{1,6}(?=\s|\Z)|>|~~~|=+\s*\Z"
    r"|(?=[-|: \t]*-)[-|: \t]+\Z|(?:(?:-\s*){3,}|(?:_\s*){3,}|(?:\*\s*){3,})\Z)"
)


def to_one_line(text: str) -> str:
    """Return text with spaces for line separators.

    Noncharacters that this module uses as marks become U+FFFD.
    """
    return text.translate(_TO_SPACES)


def split_lines(text: str) -> list[str]:
    """Return the lines of a listing, split at every line separator of Unicode.

    Noncharacters that this module uses as marks become U+FFFD.
    """
    return [line.translate(_TO_SPACES) for line in _LINE_END.split(text)]


def mark_special_characters(text: str, *, in_brackets: bool = False) -> str:
    """Replace special characters of text by marks, which `resolve_marks` replaces back.

    Line separators become spaces. `in_brackets` is for the words of a link: brackets
    then get a backslash in any case.
    """
    text = to_one_line(text)
    if in_brackets:
        text = _BRACKETS.sub(lambda match: _BACKSLASH + match[0], text)
    return text.translate(_ESCAPES)


def resolve_marks(line: str, *, starts_block: bool = True) -> str:
    """Replace the marks of a line by characters, with backslashes where needed.

    A line that would begin a list, heading or other block is escaped too, unless
    `starts_block` is False, which means that the line is not at the start of a block.
    """
    line = escape_dollars_and_backticks(line)
    # CommonMark makes a link of an e-mail address in angle brackets: `<1@a.example>`.
    has_address = "@" in line
    has_strike = "~~" in line
    if _LINK.search(line):
        line = _end_bare_links(line)
    line = _MARK_RUNS.sub(
        lambda match: _resolve_run(match, line, has_address, has_strike), line
    )
    start = _LINE_STARTS.match(line) if starts_block else None
    if start is None:
        return line
    if start["number"]:
        return f"{start['number']}\\{line[start.end('number') :]}"
    return "\\" + line


_LINK = re.compile(r"://|www\.", re.IGNORECASE)
_CODE_OR_LINK = re.compile(
    r"(?<!\\)(`++)(?!`).*?(?<!`)\1(?!`)"
    rf"|(?:{_LINK.pattern})(?:\\`|[^\s<`])*+(?P<meets_code>(?=`))?",
    re.IGNORECASE,
)


def _end_bare_links(line: str) -> str:
    """Write `<` as `&lt;`, and end bare links before adjacent code by a comment.

    GitHub's Markdown turns a bare address into a link up to the next space or `<`. A
    backslash or backtick before that is part of the address and escapes nothing, so
    text after the address could otherwise become markup.
    """
    line = line.replace(_MARK_OF["<"], "&lt;")
    return _CODE_OR_LINK.sub(
        lambda match: match[0] + ("" if match["meets_code"] is None else "<!-- -->"),
        line,
    )


def escape_dollars_and_backticks(text: str, *, in_row: bool = False) -> str:
    """Replace the marks of dollars and backticks, escaped where they could form a pair.

    `text` must be the whole paragraph, or one cell of a table row if `in_row` is True.
    The only dollar of a paragraph stays as it is. In a cell every dollar gets a
    backslash, because some readers pair dollars of different cells. A backtick gets a
    backslash. Beside a code span it becomes a character reference instead, because some
    readers pair even an escaped backtick with one of the span's.
    """
    if _BACKTICK in text:
        text = text.replace(_BACKTICK, "&#96;" if "`" in text else "\\`")
    if _DOLLAR not in text:
        return text
    is_single = not in_row and text.count(_DOLLAR) + text.count("$") == 1
    return text.replace(_DOLLAR, "$" if is_single else "\\$")


def _resolve_run(
    match: re.Match[str], line: str, has_address: bool, has_strike: bool
) -> str:
    """Return the characters of a run of equal marks, escaped as neighbours require."""
    mark = match[1]
    if mark == _BACKSLASH:
        return "\\"
    char = _CHAR_OF[mark]
    before = line[match.start() - 1 : match.start()]
    after = line[match.end() : match.end() + 1]
    run = char * len(match[0])
    escaped_run = ("\\" + char) * len(match[0])
    if before == _BACKSLASH:
        return run[:1] + escaped_run[2:]
    is_between_spaces = not before.strip() and not after.strip()
    match char:
        case "\\":
            # In a run, each backslash escapes the next, so the whole run is escaped.
            is_escaped = len(run) > 1 or not after or after in _PUNCTUATION
            return escaped_run if is_escaped else run
        case "*":
            return run if is_between_spaces else escaped_run
        case "_":
            is_inside_word = _is_letter_or_digit(before) and _is_letter_or_digit(after)
            return run if is_between_spaces or is_inside_word else escaped_run
        case "~":
            # A tilde that means "about", as in `~5`.
            is_about = not before.strip() and after.isalnum() and run == "~"
            is_kept = is_between_spaces or (is_about and not has_strike)
            return run if is_kept else escaped_run
        case "[":
            return run
        case "]":
            return run[:-1] + (
                f"\\{char}" if after and after in "([:" + _MARK_OF["["] else char
            )
        case "<":
            is_tag = after.isalpha() or after in ("/", "?", *_DECLARATION_STARTS)
            is_tag = is_tag or (has_address and not after.isspace())
            return run[:-1] + (f"\\{char}" if is_tag else char)
        case "&":
            rest = "&" + line[match.end() : match.end() + 40]
            return run[:-1] + ("\\&" if _REFERENCE.match(rest) else "&")
        case _:
            return run[:-1] + (f"\\{char}" if after in ("[", _MARK_OF["["]) else char)


_DECLARATION_STARTS = ("!", _MARK_OF["!"])
_REFERENCE = re.compile(r"&(?:#[0-9xX]|[A-Za-z][A-Za-z0-9]*;)")


def _is_letter_or_digit(char: str) -> bool:
    return char.isalnum()


def emphasise(
    inner: str, delimiter: str, before: str, after: str, *, is_nested: bool = False
) -> str:
    """Put each line of `inner` between delimiters, or in tags if those do not work.

    `delimiter` is `**`, `*` or `~~`; the tags are `<b>`, `<i>` and `<del>`. Blank lines
    stay as they are. `before` and `after` are the adjacent characters, or empty.
    CommonMark ignores `**` between a letter and punctuation, which is common in
    Japanese and Chinese text. Inside other emphasis (`is_nested`), an opening delimiter
    that could also close would end the outer emphasis.
    """
    return "\n".join(
        _emphasise_line(line, delimiter, before, after, is_nested)
        for line in inner.split("\n")
    )


_TAG_OF = {"**": "b", "*": "i", "~~": "del"}


def _emphasise_line(
    line: str, delimiter: str, before: str, after: str, is_nested: bool
) -> str:
    """Do for one line what `emphasise` does."""
    words = line.strip(" ")
    if not words:
        return line
    lead = line[: len(line) - len(line.lstrip(" "))]
    trail = line[len(line.rstrip(" ")) :]
    opens = not _is_emphasis_ignored(words[0], "" if lead else before, is_nested)
    closes = not _is_emphasis_ignored(words[-1], "" if trail else after)
    # Some readers take a star or tilde inside a formula for emphasis.
    opens = opens and not any(
        delimiter[0] in formula for formula in _FORMULA.findall(words)
    )
    if opens and closes:
        return f"{lead}{delimiter}{words}{delimiter}{trail}"
    tag = _TAG_OF[delimiter]
    return f"{lead}<{tag}>{words}</{tag}>{trail}"


_FORMULA = re.compile(r"(?<!\\)\$((?:\\.|[^$\\])*+)\$")


def _is_emphasis_ignored(inner: str, outer: str, is_nested: bool = False) -> bool:
    """Return True if readers ignore or misread an emphasis mark between two characters.

    `inner` is the emphasised character; `outer` may be empty.
    """
    if inner.isspace():
        return True
    if not outer or outer.isspace():
        return False
    if outer in "*~" or outer in _CHAR_OF:
        return True
    # Symbols count as punctuation since CommonMark 0.31, but not in older readers.
    if not _is_punctuation(outer, "P"):
        return is_nested or _is_punctuation(inner, "PS")
    return is_nested and _is_punctuation(inner, "PS")


def _is_punctuation(char: str, categories: str) -> bool:
    return char in _PUNCTUATION or unicodedata.category(char)[0] in categories


def escape_link_target(url: str) -> str:
    """Percent-encode a link's target for Markdown; return "" if the link is unsafe."""
    url = url.strip()
    if not is_safe_link(url):
        return ""
    url = _REFERENCE.sub(lambda match: "&amp;" + match[0][1:], url)
    return "".join(_URL_ESCAPES.get(char, char) for char in url if char.isprintable())


_URL_ESCAPES = {char: f"%{ord(char):02X}" for char in " ()<>\\[]\"'`*~$|"}


def make_latex_safe(latex: str, *, in_brackets: bool = False) -> str:
    """Rewrite LaTeX to equivalent LaTeX that contains no Markdown or HTML markup.

    Some readers do not know formulas between dollars and would read `<b>` as a tag and
    `[x](y)` as a link. A space inside, which LaTeX ignores, prevents that. A backtick
    could begin a code span that ends after the formula, so it is replaced by the
    quotation mark or accent that LaTeX prints for it. Dollars get a backslash, and a
    backslash at the end is removed. `in_brackets` is for the words of a link: unpaired
    brackets become `\\lbrack` and `\\rbrack`.
    """
    latex = "\n".join(map(to_one_line, latex.split("\n")))
    if "`" in latex:
        latex = _GRAVE_ACCENT.sub(
            lambda match: match[1] + _add_grave_accent(match), latex
        )
        latex = latex.replace("``", "\u201c").replace("`", "\u2018")
    tag_start = r"<(?=\S)" if "@" in latex else r"<(?=[A-Za-z/!?])"
    latex = re.sub(tag_start, "< ", latex)
    latex = re.sub(r"\](?=[(\[:])", "] ", latex)
    latex = re.sub(r"(?<!\\)((?:\\\\)*+)\$", r"\1\\$", latex)
    if re.search(r"(?<!\\)(?:\\\\)*+\\\Z", latex):
        latex = latex[:-1]
    return _escape_unpaired_brackets(latex).strip() if in_brackets else latex.strip()


_GRAVE_ACCENT = re.compile(
    r"((?<!\\)(?:\\\\)*+)\\`\s*+(?:\{\s*+([A-Za-z])\s*+\}|([A-Za-z]))"
)


def _add_grave_accent(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", (match[2] or match[3]) + "\u0300")


_BRACKET = re.compile(r"\\.|[\[\]]")
_BRACKET_NAMES = {"[": "\\lbrack ", "]": "\\rbrack "}


def _escape_unpaired_brackets(latex: str) -> str:
    """Return LaTeX with commands in place of unpaired brackets, as in `[0, 1)`."""
    unpaired_opening: list[int] = []
    unpaired_closing: list[int] = []
    for match in _BRACKET.finditer(latex):
        if match[0] == "[":
            unpaired_opening.append(match.start())
        elif match[0] == "]":
            if unpaired_opening:
                unpaired_opening.pop()
            else:
                unpaired_closing.append(match.start())
    chars = list(latex)
    for index in (*unpaired_opening, *unpaired_closing):
        chars[index] = _BRACKET_NAMES[chars[index]]
    return "".join(chars)
