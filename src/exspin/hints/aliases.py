"""Other words for what tables hold: countries by the adjective ("French singers": France), states and sexes by their letters.

A regular ending is taken off by rule (Asian: Asia, Brazilian: Brazil, Italian: Italy, engineering: engineer); the rest is
listed. What no value is called costs a lookup and shows nothing.
"""

from __future__ import annotations

_LISTED = """
afghan afghanistan;argentine argentina;belgian belgium;british united kingdom,great britain,uk,britain;burmese myanmar,burma
canadian canada;chilean chile;chinese china;cuban cuba;cypriot cyprus;czech czech republic,czechia;danish denmark
dutch netherlands,the netherlands;english england;emirati united arab emirates;filipino philippines,the philippines
finnish finland;french france;german germany;greek greece;hungarian hungary;icelandic iceland;irish ireland;israeli israel
iraqi iraq;kazakh kazakhstan;kenyan kenya;lebanese lebanon;mexican mexico;moroccan morocco;norwegian norway
pakistani pakistan;peruvian peru;polish poland;portuguese portugal;russian russia,russian federation;scottish scotland
saudi saudi arabia;slovak slovakia;slovene slovenia;south african south africa;south korean south korea
spanish spain;swedish sweden;swiss switzerland;thai thailand;turkish turkey;ukrainian ukraine;uzbek uzbekistan
welsh wales;american united states,united states of america,usa,us,america;united states usa,us,u.s.,united states of america
us united states,usa,u.s.a.,united states of america;usa united states,us,united states of america;uk united kingdom
america usa,us,united states,united states of america;united kingdom uk,great britain;great britain uk,united kingdom
european europe;new zealander new zealand;argentinian argentina;yemeni yemen;kuwaiti kuwait;qatari qatar;omani oman
female f,woman;females f;girl f,female;girls f,female;boy m,male;boys m,male;woman f,female;women f,female;male m,man;males m;man m,male;men m,male
la los angeles;l.a. los angeles;nyc new york,new york city;dc washington,district of columbia;sf san francisco
"""
_STATES = """
alabama al;alaska ak;arizona az;arkansas ar;california ca;colorado co;connecticut ct;delaware de;florida fl;georgia ga
hawaii hi;idaho id;illinois il;indiana in;iowa ia;kansas ks;kentucky ky;louisiana la;maine me;maryland md;massachusetts ma
michigan mi;minnesota mn;mississippi ms;missouri mo;montana mt;nebraska ne;nevada nv;new hampshire nh;new jersey nj
new mexico nm;new york ny;north carolina nc;north dakota nd;ohio oh;oklahoma ok;oregon or;pennsylvania pa;rhode island ri
south carolina sc;south dakota sd;tennessee tn;texas tx;utah ut;vermont vt;virginia va;washington wa;west virginia wv
wisconsin wi;wyoming wy
"""
_WHOLE = (
    "united states",
    "united kingdom",
    "great britain",
    "south african",
    "south korean",
    "new zealander",
)


def _read() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for entry in _LISTED.replace("\n", ";").split(";"):
        if entry:
            word = next((w for w in _WHOLE if entry.startswith(w + " ")), entry.partition(" ")[0])
            found[word] = tuple(entry[len(word) + 1 :].split(","))
    for entry in _STATES.replace("\n", ";").split(";"):
        if entry:
            name, _, letters = entry.rpartition(" ")
            found[name] = (letters, *found.get(name, ()))
            if letters not in (
                "in",
                "or",
                "me",
                "hi",
                "id",
                "la",
                "ma",
                "pa",
                "oh",
                "ok",
            ):  # also words
                found[letters] = (name, *found.get(letters, ()))
    return found


_NAMES = _read()
_ENDINGS = (
    ("ian", ("", "ia", "y", "e", "i")),
    ("ean", ("", "ea", "e")),
    ("an", ("a", "", "o")),
    ("n", ("",)),
    ("ese", ("", "a")),
    ("i", ("",)),
    ("ing", ("", "e")),
)


def other_names(words: str) -> tuple[str, ...]:
    """What else a value may be called that these words, in small letters, mean."""
    if words in _NAMES:
        return _NAMES[words]
    if len(words) < 5 or not words.isalpha():
        return ()
    return tuple(
        words.removesuffix(ending) + other
        for ending, others in _ENDINGS
        if words.endswith(ending) and len(words) - len(ending) >= 3
        for other in others
    )
