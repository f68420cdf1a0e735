"""How alike a word of a question and a word of a name are: spelled alike, of one stem, an abbreviation, an initialism."""

from __future__ import annotations

import re
from functools import lru_cache

from exspin.hints.folding import fold, words
from exspin.hints.thesaurus import synonyms

NAME_WORDS = 8  # words of a name that are read
_NAME_LENGTH = 200  # characters of a name that are read
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# Words that names are made of without a space or a capital: countryname, petid. An ending is only taken off where it leaves something.
_ENDINGS = [
    "name",
    "code",
    "date",
    "type",
    "number",
    "year",
    "time",
    "count",
    "status",
    "address",
    "price",
    "rank",
    "title",
    "level",
    "description",
    "id",
]
_WHOLE_WORDS = frozenset(
    [
        "paid",
        "valid",
        "bid",
        "grid",
        "aid",
        "said",
        "avoid",
        "solid",
        "rapid",
        "liquid",
        "humid",
        "update",
        "surname",
        "rename",
        "encode",
        "decode",
        "sometime",
        "maritime",
        "overtime",
        "lifetime",
        "account",
        "discount",
        "candidate",
        "validate",
        "consolidate",
        "grank",
        "frank",
        "drank",
    ]
)
# What databases shorten, where the letters alone do not tell.
_SHORT = """
no number;num number;nr number;qty quantity;amt amount;addr address;desc description;dept department;lat latitude
long longitude;lon longitude;fname first name;lname last name;f first;l last;dob date birth;tel phone;phone telephone
avg average;max maximum;min minimum;pct percent;yr year;mgr manager;emp employee;cust customer;prof professor
stu student;acc account;org organization;lang language;nation nationality;gov government;univ university;sex gender
gender sex;hs high school;hp horsepower;horsepower hp;mpg miles gallon;gpa grade;wt weight;ht height;temp temperature
capt captain;dest destination;loc location;pos position;ref reference;cat category;pop population;img image;msg message
"""
_EXPANDED = {
    fold(entry.partition(" ")[0]): frozenset(map(fold, entry.partition(" ")[2].split()))
    for entry in _SHORT.strip().replace("\n", ";").split(";")
}

_SHORTENED: dict[str, list[str]] = {}
for _short_form, _meant in _EXPANDED.items():
    for _word in _meant:
        _SHORTENED.setdefault(_word, []).append(_short_form)

# Words of a question that say nothing of a schema where a name has them too.
_STOP_WORDS = """
a an the of in on at for to is are was were be been do does did what which who whom whose when where how many much and or
with without that have has had each every all any there their them they it its by from as list show find give return tell
me us please can you i we s than more most less least not no if this these those his her he she also whose some
"""
STOP_WORDS = frozenset(map(fold, _STOP_WORDS.split()))

_SUFFIXES = [
    "ational",
    "ations",
    "ation",
    "ators",
    "ator",
    "ating",
    "ated",
    "ates",
    "ate",
    "itions",
    "ition",
    "ments",
    "ment",
    "ness",
    "ings",
    "ing",
    "edly",
    "ed",
    "ers",
    "er",
    "ors",
    "or",
    "ly",
    "ally",
    "al",
    "ities",
    "ity",
    "ives",
    "ive",
    "ances",
    "ance",
    "ences",
    "ence",
    "ages",
    "age",
    "ions",
    "ion",
    "ists",
    "ist",
]
_SUFFIXES.sort(key=len, reverse=True)


def name_words(name: str) -> list[str]:
    """The folded words of a name: IsOfficial, is_official and "is official" are two words, countryname too."""
    found: list[str] = []
    for word in words(_CAMEL.sub(" ", name[:_NAME_LENGTH]))[:NAME_WORDS]:
        low = word.lower()
        ending = next((e for e in _ENDINGS if low.endswith(e)), None)
        if ending is not None and len(low) > len(ending) and low not in _WHOLE_WORDS:
            found += [fold(low[: -len(ending)]), fold(ending)]
        else:
            found.append(fold(word))
    return found


@lru_cache(100_000)
def stem(word: str) -> str:
    """What a folded word and its relatives begin with: locat, location, located are one. At least three letters."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            break
    return word[:-1] if len(word) > 3 and word[-1] in "eyi" else word


def other_words(word: str) -> list[str]:
    """The words that are listed as short for this one, those that it is short for, and its synonyms."""
    return [*_SHORTENED.get(word, ()), *_EXPANDED.get(word, ()), *synonyms(word)]


def likeness(asked: str, named: str) -> float:
    """From 0 to 1, for two folded words; 1 only for the same word."""
    if asked == named:
        return 1.0
    if stem(asked) == stem(named) and not asked[0].isdigit():
        return 0.9
    if named in _EXPANDED.get(asked, ()) or asked in _EXPANDED.get(named, ()):
        return 0.8
    if named in synonyms(asked):
        return 0.7
    if asked[0] != named[0]:
        return 0.0
    prefix = 0
    for a, b in zip(asked, named, strict=False):
        if a != b:
            break
        prefix += 1
    short, long = sorted((len(asked), len(named)))
    if prefix == short and short >= 3:
        return 0.5 + 0.3 * short / long
    if prefix >= 4 and prefix >= 0.7 * short:
        return 0.35 + 0.4 * prefix / long
    if len(named) <= 5 and len(asked) >= len(named) + 2 and len(named) >= 2:
        return 0.45 if _skips_through(named, asked) else 0.0
    if short >= 5 and long - short <= 1 and _grams(asked, named) >= 0.6:
        return 0.5
    return 0.0


def _skips_through(short: str, long: str) -> bool:
    """Are these letters in the word in this order, and more than vowels?"""
    letters = iter(long)
    return all(c in letters for c in short) and (len(short) > 2 or short[1] == long[-1])


def _grams(a: str, b: str) -> float:
    first = {a[i : i + 2] for i in range(len(a) - 1)}
    second = {b[i : i + 2] for i in range(len(b) - 1)}
    return 2 * len(first & second) / (len(first) + len(second))
