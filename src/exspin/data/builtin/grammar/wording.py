"""English mechanics of the built-in questions: plurals, lists, spoken dates, alternatives, full stops.

Knows grammar, no database. A frame is a sentence with slots `{set}` and alternatives `[List|Show|Give me]`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
UNCOUNTABLE = {"pay", "attendance", "sales", "wood", "stock", "information", "earnings", "wind"}
IRREGULAR = {"person": "people", "child": "children", "man": "men", "woman": "women"}
ORDERS = (
    *("list", "show", "give", "find", "count", "tell", "name", "return", "display", "print", "get"),
    *("compute", "calculate", "sort", "group", "rank", "report", "identify", "look"),
)
# A post-modifier that starts like this is a sentence after "are": "films {longer than 90 minutes}".
AFTER_BE = {
    *("in", "from", "at", "outside", "between", "exactly", "located", "based", "longer", "shorter"),
    *("older", "younger", "heavier", "lighter", "bigger", "larger", "smaller", "cheaper", "taller"),
    *(
        "over",
        "under",
        "above",
        "below",
        "within",
        "deeper",
        "hotter",
        "colder",
        "brighter",
        "fainter",
    ),
}
RELATIVE = ("who ", "that ", "which ", "whose ", "where ")
CLOSE = ("of ", "by ")  # stands next to its noun
PAST = {
    "had",
    "took",
    "were",
    "was",
    "won",
    "came",
    "got",
    "gave",
    "made",
    "began",
    "left",
    "ran",
    "went",
}


def plural(noun: str) -> str:
    """The plural of a noun phrase; the head stands before its first preposition."""
    match = re.match(
        r"(.+?)( (?:of|in|for|per|from|to|at|on|by|it|they|when|since|with|into|until)\b.*)$", noun
    )
    head, rest = match.groups() if match else (noun, "")
    *before, last = head.split(" ")
    if last in UNCOUNTABLE or (
        last.endswith("s") and not last.endswith("ss") and last not in PLURAL_S
    ):
        pass
    elif last in IRREGULAR:
        last = IRREGULAR[last]
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    elif re.search(r"(s|x|ch|sh)$", last):
        last += "es"
    else:
        last += "s"
    return " ".join([*before, last]) + rest


PLURAL_S = {"status", "address", "class", "bus", "bonus", "campus", "census", "canvas", "radius"}


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    *head, tail = words
    return f"{', '.join(head)} {last} {tail}" if head else tail


def spoken_date(iso: str, voice: random.Random) -> str:
    """A date as stored, or as people say it."""
    year, month, day = iso.split("-")
    name, number = MONTHS[int(month) - 1], int(day)
    forms = (iso, f"{number} {name} {year}", f"{name} {number}, {year}")
    return voice.choices(forms, (5, 2, 2))[0]


def spoken_month(period: str) -> str:
    """`2021-03` as `March 2021`."""
    year, month = period.split("-")
    return f"{MONTHS[int(month) - 1]} {year}"


def one_of_many(text: str) -> str:
    """`1 stars` as `1 star`."""
    return re.sub(r"(?<![\d.] )(?<![\d.])\b1 ([a-z]+[^s])s\b", r"1 \1", text)


def small_number(number: int, voice: random.Random) -> str:
    """A small count in figures or, now and then, in letters."""
    return NUMBERS[number] if number < len(NUMBERS) and voice.random() < 0.4 else str(number)


def is_relative(modifier: str) -> bool:
    """Whether a post-modifier is a relative clause."""
    return modifier.startswith(RELATIVE)


def is_neutral(modifier: str) -> bool:
    """Whether a post-modifier written for a plural noun also follows a singular one."""
    if not modifier.startswith(("who ", "that ", "which ")):
        return not re.search(r"\b(their|they|themselves|are|were|have)\b", modifier)
    second = modifier.split(" ")[1]
    return second.endswith("ed") or second in PAST - {"were"}


def is_subject_clause(modifier: str) -> bool:
    """Whether a relative clause stays a sentence without its pronoun: `who joined last`, not `that Ann worked on`."""
    words = modifier.split(" ")
    return (
        words[0] in ("who", "that", "which")
        and words[1][:1].islower()
        and words[1]
        not in (
            "the",
            "both",
            "some",
            "people",
            "only",
            "a",
            "an",
            "no",
        )
    )


def chain(modifiers: Sequence[str], voice: random.Random) -> str:
    """Post-modifiers after one another: what it is of first, relative clauses last."""
    ordered = sorted(modifiers, key=lambda m: (is_relative(m), not m.startswith(CLOSE)))
    text = ""
    for n, modifier in enumerate(ordered):
        before = ordered[n - 1]
        if n == 0:
            text = modifier
        else:
            parted = is_relative(modifier) != is_relative(before) and voice.random() < 0.7
            close = before.startswith(CLOSE) and not modifier.startswith(CLOSE)
            text += (" " if parted or close else " and ") + modifier
    return text


def fill(frame: str, slots: Mapping[str, str], voice: random.Random) -> str:
    """Choose among the alternatives of a frame and put the slots in."""

    def pick(match: re.Match[str]) -> str:
        options: list[str] = match[1].split("|")
        return voice.choice(options)

    frame = re.sub(r"\[([^\[\]]*)\]", pick, frame)
    return " ".join(frame.format_map(slots).split())


def head(noun: str) -> str:
    """The last word of a noun phrase before its first preposition."""
    return re.split(r" (?:of|in|for|per|on|with|starting)\b", noun)[0].split(" ")[-1]


def article(phrase: str) -> str:
    """`a price`, `an age`, `pay`."""
    if head(phrase) in UNCOUNTABLE:
        return phrase
    return f"{'an' if phrase[0].lower() in 'aeio' else 'a'} {phrase}"


def is_or_are(noun: str) -> str:
    """The verb for a noun phrase that may already be plural: `years of experience`."""
    return "are" if plural(noun) == noun and head(noun) not in UNCOUNTABLE else "is"


def is_question(sentence: str) -> bool:
    """Whether the last clause of a sentence asks rather than orders."""
    clause = re.split(r"[?:] ", sentence.lower())[-1]
    if re.match(r"(for|of|in|among|on|within|sorted|ordered)\b", clause):
        asks = r", (what|which (one|\w+ has)|how many)\b|^(in|for|of|on|within) which\b"
        return bool(re.search(asks, clause))
    return bool(re.match(r"(what|which|who|whose|how|when|by how|could|can|may|do|does)\b", clause))


def finish(sentence: str, voice: random.Random) -> str:
    """Politeness, a capital and the closing mark, each left out now and then as people do."""
    mark = "?" if is_question(sentence) else "."
    first = sentence.split(" ", 1)[0].lower()
    if first in ORDERS and voice.random() < 0.14:
        polite, mark = voice.choice(
            (("please ", "."), ("can you ", "?"), ("could you ", "?"), ("could you please ", "?"))
        )
        sentence = polite + sentence[0].lower() + sentence[1:]
    if voice.random() < 0.94:
        sentence = sentence[0].upper() + sentence[1:]
    return sentence + (mark if voice.random() < 0.93 else "")
