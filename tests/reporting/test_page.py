"""The page: one file that needs nothing else, says the answer first, and cannot be broken by what it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from exspin.reporting import report
from exspin.reporting.collect import read_run
from exspin.reporting.page import chance, duration, headline, points
from exspin.reporting.summary import summarise

MakeRun = Callable[..., Path]
VOID = {"meta", "br", "input"}


class Page(HTMLParser):
    """Checks that elements nest, and keeps tags, attributes and the text of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        else:
            self.words.append(data)


def page_of(run: Path) -> Page:
    report(run)
    return Page((run / "report.html").read_text("utf-8"))


def data_of(page: Page) -> Any:
    return json.loads(page.scripts[0])


@pytest.fixture(
    params=[
        {},
        {"rounds": 0},
        {"rounds": 3, "scored": 1},
        {"scored": -1},
        {"rounds": 1, "splits": {"dev": 12}},
        {"missing": {"dev": 60, "test": 3}},
        {"hostile": True, "k": 2},
        {"copies": 10},
    ],
    ids=["full", "no rounds", "unfinished", "nothing", "one split", "missing", "hostile", "copies"],
)
def page(request: pytest.FixtureRequest, make_run: MakeRun) -> Page:
    return page_of(make_run(**request.param))


def test_nothing_is_fetched_and_nothing_runs_but_our_script(page: Page) -> None:
    names = {tag for tag, _ in page.tags}
    assert not names & {"img", "link", "iframe", "object", "embed", "base", "video", "image", "use"}
    assert len(page.scripts) == 2 and [a for t, a in page.tags if t == "style"] == [{}]
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name in {"src", "style"} for name in attributes), (
            tag
        )
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = (a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_links_inside_the_page_lead_somewhere(page: Page) -> None:
    targets = {a.get("id") for _, a in page.tags}
    assert {(a["href"] or "")[1:] for t, a in page.tags if t == "a"} <= targets


def test_charts_have_spoken_names(page: Page) -> None:
    drawn = [a for tag, a in page.tags if tag == "svg" and "aria-hidden" not in a]
    assert all(a["role"] == "img" and a["aria-label"] for a in drawn)


def test_hostile_text_is_shown_and_not_obeyed(make_run: MakeRun) -> None:
    run = make_run(hostile=True)
    page = page_of(run)
    html = (run / "report.html").read_text("utf-8")
    assert "<img" not in html and "onerror=alert(1)&gt;" in html  # a database's name, in a table
    data = data_of(page)
    shown = data["texts"][data["splits"][0]["questions"][0][3]]
    assert "</script><img src=x onerror=alert(1)> <!-- {{ 7*7 }} & \u2028 ${x} \ud800" in shown
    assert not re.search("[<>&]", page.scripts[0]) and page.scripts[0].isascii()


def test_the_browser_gets_every_question_with_every_answer(make_run: MakeRun) -> None:
    data = data_of(page_of(make_run(missing={"test": 4})))
    assert data["rounds"] == [0, 1, 2]
    assert [(s["name"], len(s["questions"])) for s in data["splits"]] == [
        ("dev", 60),
        ("test", 120),
        ("test-hand", 30),
    ]
    assert len(set(data["texts"])) == len(data["texts"])
    answers = data["splits"][1]["questions"][0][6]
    assert [data["outcomes"][answer[0]] for answer in answers] == ["gold_unusable"] * 3
    assert {data["texts"][answer[1]] for answer in answers} == {"database_missing"}


def test_a_runaway_answer_is_cut_for_the_page(make_run: MakeRun) -> None:
    run = make_run(rounds=0)
    file = run / "sft" / "predictions-dev.jsonl"
    first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps({**json.loads(first), "sql": "(" * 100_000}), *rest]))
    page = page_of(run)
    assert max(map(len, data_of(page)["texts"])) < 5000
    assert "96,000 more characters" in page.scripts[0]


def says(run: Path) -> str:
    return " ".join(headline(summarise(read_run(run)))).replace("\xa0", " ")


def test_accidents_have_a_line_a_round(make_run: MakeRun) -> None:
    words = " ".join(" ".join(page_of(make_run(rounds=1, copies=10)).words).split())
    table = words[words.index("Matches that were accidents") :]
    assert "Round dev test test-hand opponent’s candidates" in table
    assert "SFT 0 of 30 0.0 % 2 undecided, 5 not checked" in table
    assert "Round 1 1 of 30 3.3 % 2 undecided, 5 not checked" in table
    assert "4 of 9 44.4 %" in table and "on 10 perturbed copies" in table
    assert "accidents" not in " ".join(page_of(make_run("plain")).words)


def test_headline_names_the_chosen_round_and_what_test_says(make_run: MakeRun) -> None:
    assert re.fullmatch(
        r"Round 1 is best on dev: \d\d\.\d % of 60 questions right, against \d\d\.\d % after SFT\. "
        r"On test it gets \d\d\.\d %; the difference from SFT is \+\d+\.\d points \(95 % interval \+\S+ to \+\S+\), "
        r"a gain that chance alone hardly explains\.",
        says(make_run(skill=(0.5, 0.8, 0.6))),
    )


def test_headline_tells_when_no_round_helped(make_run: MakeRun) -> None:
    said = says(make_run(skill=(0.8, 0.55, 0.5)))
    assert said.startswith("SFT is best on dev:")
    assert "; no round of self-play does better. On test SFT gets" in said
    assert "round 2 differs from it by −" in said
    assert said.endswith("a loss that chance alone hardly explains.")


def test_headline_does_not_make_much_of_a_small_difference(make_run: MakeRun) -> None:
    assert "too small to tell from chance" in says(make_run(skill=(0.62, 0.63, 0.62)))


def test_headline_of_runs_with_less_to_say(make_run: MakeRun) -> None:
    assert says(make_run("none", scored=-1)) == "No round has been scored yet."
    assert says(make_run("part", rounds=3, scored=1)).startswith("So far, round 1 is best on dev")
    assert "on dev; no round of self-play is scored. On test: " in says(make_run("sft", rounds=0))
    alone = says(make_run("dev", rounds=1, splits={"dev": 60}))
    assert alone.endswith("no other split was scored.")


def test_numbers_in_words() -> None:
    assert [points(0.012), points(-0.004), points(0.0004), points(-0.0004)] == [
        "+1.2",
        "−0.4",
        "0.0",
        "0.0",
    ]
    assert [chance(0.0004), chance(0.0312), chance(1.0)] == ["< 0.001", "0.031", "1.00"]
    assert [duration(41.6), duration(125)] == ["42 s", "2 min 5 s"]
