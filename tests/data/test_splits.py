"""Near-duplicates, and a part of a split for a small run."""

from __future__ import annotations

from collections import Counter
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from exspin.data.splits import (
    NearDuplicate,
    Split,
    find_near_duplicates,
    jaccard,
    select_questions,
    word_trigrams,
)
from exspin.records import Database, Example


def test_trigrams_ignore_case_and_punctuation() -> None:
    assert word_trigrams("How many Singers are there?") == {
        "how many singers",
        "many singers are",
        "singers are there",
    }
    assert word_trigrams("Why?") == {"why"}


def test_jaccard_is_shared_over_all() -> None:
    a = word_trigrams("how many singers are there")  # 3 trigrams
    b = word_trigrams("how many singers are from France")  # 4, of which 2 are shared: 2 / 5
    assert jaccard(a, b) == 2 / 5
    assert jaccard(frozenset(), frozenset()) == 1


def test_pairs_within_one_list_are_found_once() -> None:
    texts = ["how many singers are there", "list all ships", "How many singers are there?"]
    assert find_near_duplicates(texts, None, 0.5) == [NearDuplicate(0, 2, 1.0)]


def test_the_threshold_itself_is_not_near() -> None:
    # 2 shared of 4 trigrams: exactly a half
    a, b = "one two three four five", "zero one two three four"
    assert jaccard(word_trigrams(a), word_trigrams(b)) == 0.5
    assert find_near_duplicates([a], [b], 0.5) == []
    assert len(find_near_duplicates([a], [b], 0.49)) == 1


sentences = st.lists(st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join), max_size=12)


@given(a=sentences, b=sentences, threshold=st.sampled_from([0.0, 0.2, 0.5, 2 / 3, 0.9]))
def test_the_index_finds_what_comparing_all_pairs_finds(
    a: list[str], b: list[str], threshold: float
) -> None:
    every = [
        NearDuplicate(i, j, jaccard(word_trigrams(x), word_trigrams(y)))
        for (i, x), (j, y) in product(enumerate(a), enumerate(b))
    ]
    assert find_near_duplicates(a, b, threshold) == [p for p in every if p.similarity > threshold]


def split_of(counts: dict[str, int], missing: str = "") -> Split:
    names = [name for name, count in counts.items() for _ in range(count)]
    examples = tuple(Example(f"t/{i}", i, name, "?", "SELECT 1") for i, name in enumerate(names))
    databases = {name: Database(name, "sqlite:////x") for name in counts if name != missing}
    return Split("t", "train", examples, databases, {})


def test_a_selection_is_spread_evenly_and_in_file_order() -> None:
    split = split_of({"a": 20, "b": 20, "c": 2, "d": 20})
    chosen = select_questions(split, questions=14, databases=None, seed=0)
    # two turns of four, then two turns of the three that still have questions
    assert Counter(e.db_id for e in chosen) == {"a": 4, "b": 4, "c": 2, "d": 4}
    assert [e.index for e in chosen] == sorted(e.index for e in chosen)
    assert [e.index for e in chosen if e.db_id == "a"] != [0, 1, 2, 3]  # not just the first ones


def test_a_selection_depends_on_the_seed_and_grows_from_a_smaller_one() -> None:
    split = split_of(dict.fromkeys("abcdefghij", 10))

    def select(databases: int | None, seed: int) -> set[str]:
        chosen = select_questions(split, questions=None, databases=databases, seed=seed)
        return {e.db_id for e in chosen}

    assert select(4, 0) == select(4, 0)
    assert select(4, 0) < select(7, 0)
    assert len({frozenset(select(4, seed)) for seed in range(5)}) > 1


def test_a_selection_takes_usable_questions_only_and_no_more_than_there_are() -> None:
    split = split_of({"a": 3, "gone": 5}, missing="gone")
    chosen = select_questions(split, questions=100, databases=100, seed=0)
    assert [e.db_id for e in chosen] == ["a", "a", "a"]
