"""Words of values and questions in the form in which they are compared: case, accents, plurals, number formats and dates.

A *key* is the folded words of a text without the spaces between them, so that "NorthCarolina" and "North Carolina" have
one, as have "Caribbean" and "Carribean" (doubled letters count once). Two texts with one key are alike, not equal: who
looks a key up compares the texts. Chinese, Japanese and Korean characters are words of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import date

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
WORD = re.compile(
    rf"\d{{1,3}}(?:,\d{{3}})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|[{_CJK}]|[^\W\d_{_CJK}]+"
)
words = WORD.findall
KEY_WORDS = 12  # a text of more words has no key
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")

_DOUBLED = re.compile(r"(.)\1+")


def fold(word: str) -> str:
    """One word as `words` gives it, folded. A number loses separators and zeros that say nothing: 1,000.50 is 1000.5."""
    if word[0].isdigit():
        number = word.replace(",", "")
        if "." in number:
            number = number.rstrip("0").rstrip(".")
        return number
    if not word.isascii():
        word = "".join(
            c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c)
        )
    word = word.casefold()
    if len(word) > 3:
        if word[-1] == "s":
            word = _singular(word)
        if word[-2:] == "ie":  # goalies and comedies lose theirs alike
            word = word[:-2] + "y"
    return _DOUBLED.sub(r"\1", word) or "_"


def _singular(word: str) -> str:
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    if word.endswith(("ss", "us", "is")):
        return word
    return word[:-1]


def same_number(a: str, b: str) -> bool:
    """Are both plain numbers, and equal? A leading zero makes a number a name, as of a telephone."""
    if not (NUMBER.fullmatch(a) and NUMBER.fullmatch(b)):
        return False
    return _number(a) == _number(b)


def _number(text: str) -> tuple[bool, str]:
    bare = text.lstrip("+-")
    return text.startswith("-") and fold(bare) != "0", fold(bare)


# --- dates ------------------------------------------------------------------------------------------------------------

_MONTH_NAMES = """
jan january;feb february;mar march;apr april;may;jun june;jul july;aug august;sep sept september;oct october;nov november
dec december
"""
_MONTHS = {
    name: number
    for number, names in enumerate(_MONTH_NAMES.strip().replace("\n", ";").split(";"), 1)
    for name in names.split()
}
_MONTH = "(?P<month>" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\b\.?"
_DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<!\d)(?P<y>\d{4})(?P<mark>[-/.])(?P<m>\d{1,2})(?P=mark)(?P<d>\d{1,2})(?!\d)",
        r"(?<!\d)(?P<a>\d{1,2})(?P<mark>[-/.])(?P<b>\d{1,2})(?P=mark)(?P<y>\d{4})(?!\d)",
        r"(?<!\d)(?P<y>(?:19|20)\d\d)(?P<m>[01]\d)(?P<d>[0-3]\d)(?!\d)",
        rf"\b{_MONTH}\s*(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\b\s*,?\s*(?P<y>\d{{4}})(?!\d)",
        rf"(?<!\d)(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?[\s-]*{_MONTH}[\s,-]*(?P<y>\d{{4}})(?!\d)",
    )
]
_MAYBE_DATE = re.compile(
    r"\d[-/.]\d\d?[-/.]\d|(?<!\d)(?:19|20)\d{6}(?!\d)"
    r"|(?<![^\W\d_])(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*.{0,7}\d{4}",
    re.IGNORECASE,
).search
_ANY_DIGIT = re.compile(r"\d").search
MOST_DATES = 20  # of one text


def may_hold_date(text: str) -> bool:
    """One look instead of five, since nearly no text holds a date."""
    return _ANY_DIGIT(text) is not None and _MAYBE_DATE(text) is not None


def dates(text: str) -> Iterator[tuple[int, int, str]]:
    """Every date in a text as (start, end, key). Where day and month cannot be told apart, both readings."""
    if not may_hold_date(text):
        return
    found = 0
    for pattern in _DATES:
        for match in pattern.finditer(text):
            for key in _keys(match.groupdict()):
                yield match.start(), match.end(), key
                found += 1
                if found == MOST_DATES:
                    return


def _keys(part: dict[str, str | None]) -> Iterator[str]:
    year = int(part["y"] or 0)
    if part.get("a"):
        a, b = int(part["a"] or 0), int(part["b"] or 0)
        orders = {(a, b), (b, a)}
    else:
        name = part.get("month")
        month = _MONTHS[name.lower()] if name else int(part["m"] or 0)
        orders = {(month, int(part["d"] or 0))}
    for month, day in sorted(orders):
        try:
            yield "@" + date(year, month, day).isoformat()
        except ValueError:
            continue  # the thirteenth month
