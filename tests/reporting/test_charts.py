"""Charts are well-formed SVG whose marks stand where the numbers say."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from exspin.records import Outcome
from exspin.reporting.charts import (
    WIDTH,
    Estimate,
    before_after,
    difference,
    estimates,
    loss_curve,
    outcome_bars,
)
from exspin.reporting.collect import LossPoint


def marks(svg: str, tag: str, kind: str) -> list[dict[str, str]]:
    return [m.attrib for m in ElementTree.fromstring(svg).iter(tag) if m.get("class") == kind]


def words(svg: str) -> list[str]:
    return [m.text or "" for m in ElementTree.fromstring(svg).iter("text")]


def test_a_higher_rate_stands_higher_and_whiskers_enclose_it() -> None:
    svg = estimates(
        "EX",
        [Estimate("SFT", 0.5, (0.4, 0.6), False), Estimate("R1", 0.55, (0.45, 0.65), True)],
        span=0.3,
    )
    (low,), (high,) = marks(svg, "circle", "dot"), marks(svg, "circle", "chosen")
    assert float(high["cy"]) < float(low["cy"])
    whisker = marks(svg, "line", "whisker")[0]
    assert float(whisker["y2"]) < float(low["cy"]) < float(whisker["y1"])
    assert {"50.0", "55.0", "SFT", "R1"} <= set(words(svg))


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_rates_at_the_ends_of_the_scale_stay_inside(rate: float) -> None:
    svg = estimates("EX", [Estimate("SFT", rate, (rate, rate), True)], span=0.115)
    (dot,) = marks(svg, "circle", "chosen")
    assert 0 < float(dot["cy"]) < 200


def test_bars_are_as_long_as_their_shares() -> None:
    counts = dict.fromkeys(Outcome, 0) | {Outcome.MATCH: 30, Outcome.ERROR: 10}
    svg = outcome_bars("outcomes", [("SFT", counts)])
    (match,) = marks(svg, "rect", "segment o-match")
    (error,) = marks(svg, "rect", "segment o-error")
    assert float(match["width"]) == pytest.approx(3 * float(error["width"]), abs=0.2)
    assert float(error["x"]) + float(error["width"]) == pytest.approx(WIDTH - 2, abs=0.2)
    assert "75%" in words(svg) and not marks(svg, "rect", "segment o-timeout")


def test_a_round_without_answers_has_an_empty_bar() -> None:
    assert not marks(
        outcome_bars("o", [("R1", dict.fromkeys(Outcome, 0))]), "rect", "segment o-match"
    )


@pytest.mark.parametrize(
    ("ci95", "kind"), [((0.01, 0.03), "up"), ((-0.03, -0.01), "down"), ((-0.01, 0.03), "unclear")]
)
def test_an_interval_is_coloured_by_where_zero_is(ci95: tuple[float, float], kind: str) -> None:
    middle = sum(ci95) / 2
    (dot,) = marks(difference(middle, ci95, reach=0.05), "circle", kind)
    assert (float(dot["cx"]) > 58) == (middle > 0)


def test_no_difference_at_all_is_drawn() -> None:
    (dot,) = marks(difference(0.0, (0.0, 0.0), reach=0.0), "circle", "unclear")
    assert float(dot["cx"]) == 58


def test_before_and_after() -> None:
    svg = before_after("log-probs", [("gold", -5.0, -4.0), ("candidate", -9.0, -12.0)])
    (before,), (after,) = marks(svg, "circle", "hollow s-gold"), marks(svg, "circle", "full s-gold")
    assert float(before["cx"]) < float(after["cx"])
    assert "gold: −5 before, −4 after" in svg


def points(count: int, *, alpha: float) -> list[LossPoint]:
    return [LossPoint(i, 0.7 + alpha * 0.3, 0.7 if alpha else None, 0.3) for i in range(1, count)]


def test_a_loss_is_drawn_with_its_parts() -> None:
    svg = loss_curve("loss", points(50, alpha=1.0))
    assert svg is not None and {"loss", "pair", "nll"} <= set(words(svg))


def test_parts_equal_to_the_loss_are_not_drawn_twice() -> None:
    svg = loss_curve("loss", [LossPoint(i, 2.0 / i, None, 2.0 / i) for i in range(1, 50)])
    assert svg is not None and "nll" not in words(svg)


def test_labels_of_curves_do_not_cover_each_other() -> None:
    svg = loss_curve("loss", [LossPoint(i, 0.70, 0.71, 0.72 + 9.0 / i) for i in range(1, 60)])
    assert svg is not None
    places = sorted(
        float(m["y"])
        for kind in ("loss", "pair", "nll")
        for m in marks(svg, "text", f"value t-{kind}")
    )
    assert all(b - a >= 12.9 for a, b in pairwise(places))


def test_a_long_curve_is_thinned() -> None:
    svg = loss_curve("loss", points(20_000, alpha=1.0))
    assert svg is not None and len(svg) < 40_000


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_steps_make_no_curve(count: int) -> None:
    assert loss_curve("loss", points(count + 1, alpha=0.0)) is None


def test_text_in_a_chart_is_escaped() -> None:
    svg = outcome_bars('<b "x">', [("<i>", dict.fromkeys(Outcome, 1))])
    assert ElementTree.fromstring(svg).get("aria-label") == '<b "x">'
    assert "<i>" not in svg
