"""An audit → one HTML page in the style of a run's report: nothing is loaded, no script runs.

Long lists are cut here and whole in `audit.json`, which the page says.
"""

from __future__ import annotations

from importlib.resources import files

from markupsafe import Markup

from exspin.auditing.findings import Audit
from exspin.reporting.page import count, digest_of, percent, template

SHOWN = 200  # rows of one list
FOLDED = 20  # a longer list is opened by a click
LONGEST = 1_500  # characters of one text

CAUSES = {
    "random": "chance",
    "clock": "the clock",
    "engine": "the engine",
    "row_order": "the order of rows",
    "unstable": "something else: two plain runs differ",
    "unchecked": "unknown: the run with rows reversed was stopped",
}
TIES = {
    "values": "which rows come",
    "row_count": "how many rows come",
    "empty": "whether rows come",
    "order": "the order of rows",
}
KINDS = {
    "question+db": "same question, same database",
    "question": "same question, another database",
    "near": "nearly the same question",
}


def render(audit: Audit) -> str:
    """The whole page."""
    page = template("exspin.auditing", "audit.html.j2", percent=percent, count=count, cut=cut)
    style = (files("exspin.reporting") / "report.css").read_text("utf-8")
    return page.render(
        a=audit,
        style=Markup(style),
        policy=f"default-src 'none'; style-src '{digest_of(style)}'; base-uri 'none'; form-action 'none'",
        shown=SHOWN,
        folded=FOLDED,
        causes=CAUSES,
        ties=TIES,
        kinds=KINDS,
    )


def cut(text: str) -> str:
    """A text as the page shows it; what is longer says so."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} … ({count(len(text))} characters; whole in audit.json)"
