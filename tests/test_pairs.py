"""Which candidate is set against gold, and how much it weighs."""

import pytest

from exspin.errors import ConfigError
from exspin.pairs import make_pairs
from exspin.presets import PRESETS, TEACHES_NOTHING, preset
from exspin.records import Candidate, Example, Outcome, Pair, Verdict

GOLD = "SELECT name FROM singer"
EXAMPLE = Example("t/0", 0, "concert", "Who sings?", GOLD)


def pairs_of(preset, *written, example=EXAMPLE):
    """`written` is (text, outcome) or (text, outcome, finish_reason), one for each k."""
    candidates, verdicts = [], []
    for k, (text, outcome, *finish) in enumerate(written):
        candidates.append(Candidate(example.example_id, k, text, *(finish or ["stop"])))
        verdicts.append(Verdict(example.example_id, k, outcome, "", text))
    return make_pairs([example], candidates, verdicts, preset)


@pytest.mark.parametrize(
    ("name", "match", "mismatch"),
    [("sft", 0, 0), ("spin", 1, 1), ("exspin", 0, 1), ("exspin-anchored", 0, 1)],
)
def test_presets_weigh_outcomes_as_published(name, match, mismatch):
    (right,) = pairs_of(name, ("SELECT T1.name FROM singer AS T1", Outcome.MATCH))
    (wrong,) = pairs_of(name, ("SELECT age FROM singer", Outcome.MISMATCH))
    assert (right.weight, wrong.weight) == (match, mismatch)


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_learns_from_our_failures_or_from_unusable_gold(name):
    assert TEACHES_NOTHING == (Outcome.INFRA, Outcome.GOLD_UNUSABLE)
    for outcome in TEACHES_NOTHING:
        (pair,) = pairs_of(name, ("SELECT age FROM singer", outcome))
        assert pair.weight == 0


@pytest.mark.parametrize("name", PRESETS)
def test_a_candidate_with_the_text_of_gold_weighs_nothing_whatever_its_outcome(name):
    for outcome in (Outcome.MATCH, Outcome.TIMEOUT):
        (pair,) = pairs_of(name, (f"  {GOLD}\n", outcome))
        assert pair.weight == 0


def test_every_kind_of_wrong_answer_counts_in_exspin():
    right = {Outcome.MATCH, *TEACHES_NOTHING}
    for outcome in set(Outcome) - right:
        (pair,) = pairs_of("exspin", ("x", outcome))
        assert pair.weight == 1, outcome


def test_equal_texts_become_one_pair_that_weighs_as_much():
    """Four candidates, a quarter each: three times the same wrong one (3/4), once a right one (0)."""
    wrong = ("SELECT age FROM singer", Outcome.MISMATCH)
    first, second = pairs_of("exspin", wrong, ("SELECT 1", Outcome.MATCH), wrong, wrong)
    assert (first.k, first.multiplicity, first.weight) == (0, 3, 0.75)
    assert (second.k, second.multiplicity, second.weight) == (1, 1, 0.0)


def test_twins_of_which_one_failed_by_our_fault_stay_apart():
    pairs = pairs_of("exspin", ("SELECT 1", Outcome.INFRA), ("SELECT 1", Outcome.MISMATCH))
    assert [(pair.outcome, pair.weight) for pair in pairs] == [
        (Outcome.INFRA, 0.0),
        (Outcome.MISMATCH, 0.5),
    ]


def test_a_cut_off_answer_is_apart_from_the_finished_one_and_says_so():
    cut, whole = pairs_of(
        "exspin", ("SELECT age", Outcome.ERROR, "length"), ("SELECT age", Outcome.ERROR)
    )
    assert (cut.finish_reason, whole.finish_reason) == ("length", "stop")
    assert cut.candidate == "SELECT age"
    assert cut.gold == GOLD  # the chosen side is always gold, which ends


def test_gold_is_kept_to_the_letter():
    odd = Example("t/1", 1, "d", "?", " select  NAME from singer ; ")
    (pair,) = pairs_of("exspin", ("SELECT 1", Outcome.MISMATCH), example=odd)
    assert pair.gold == odd.query


def test_every_question_is_there_in_the_order_of_the_examples():
    second = Example("t/1", 1, "concert", "?", "SELECT 2")
    candidates = [Candidate("t/1", 0, "SELECT 2", "stop"), Candidate("t/0", 0, GOLD, "stop")]
    verdicts = [Verdict(c.example_id, 0, Outcome.MATCH, "", c.text) for c in candidates]
    pairs = make_pairs([EXAMPLE, second], candidates, verdicts, "exspin-anchored")
    assert [(pair.example_id, pair.weight) for pair in pairs] == [("t/0", 0.0), ("t/1", 0.0)]


def test_tokens_travel_with_the_pair_and_through_its_file():
    candidate = Candidate("t/0", 0, "SELECT 1", "stop", token_ids=(5, 7))
    verdict = Verdict("t/0", 0, Outcome.MISMATCH, "values", "SELECT 1")
    (pair,) = make_pairs([EXAMPLE], [candidate], [verdict], "exspin")
    assert pair.token_ids == (5, 7)
    assert Pair.from_json(pair.to_json()) == pair


def test_an_unknown_preset_is_named():
    with pytest.raises(ConfigError, match="'exspn': unknown; choose one of sft, spin"):
        preset("exspn")


def test_alpha_of_the_presets():
    assert {name: row.alpha for name, row in PRESETS.items()} == {
        "sft": 1,
        "spin": 0,
        "exspin": 0,
        "exspin-anchored": 1,
    }
