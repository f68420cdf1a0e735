"""`exspin link`: what it prints, what it refuses, and that its figures are what they are called."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

import exspin
from exspin.cli import app
from exspin.errors import ConfigError, ModelError
from exspin.hints.learned import LearnedLinker
from exspin.hints.linking import area_under_curve, link_eval

KEYS = ["n", "table_recall", "column_recall", "table_auc", "column_auc", "value_recall", "k1", "k2"]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["link", *words])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("linker", ["gold", "lexical"])
def test_a_linker_is_measured(small_spider: Path, linker: str) -> None:
    options = ["--linker", linker, "--k1", "1", "--k2", "2", "--json"]
    code, out, err = run("eval", "--data", f"spider:{small_spider}", "--split", "dev", *options)
    assert code == 0, err
    found = json.loads(out)
    assert list(found)[:8] == KEYS
    assert (found["k1"], found["k2"], found["mass"]) == (1, 2, None)
    assert found["n"] > 0 and 0 < found["column_recall"] <= found["table_recall"] <= 1
    if linker == "gold":
        assert found["column_recall"] == 1 and found["table_auc"] is None


def test_a_linker_is_trained_saved_and_measured(small_spider: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data = ["--data", f"spider:{small_spider}"]
    code, out, err = run("train", *data, "-o", str(tmp_path / "linker"), "--json")
    assert code == 0, err
    told = json.loads(out)
    linker = LearnedLinker.load(tmp_path / "linker")
    assert told["digest"] == linker.digest
    assert told["databases"] == 2  # `fit`: the held-out database is not among them
    for split, learned_from in (("dev", "train"), ("heldout", "fit")):
        _, _, err = run("eval", *data, "--split", split)
        assert f"trained on spider:{small_spider} {learned_from} first" in " ".join(err.split())
    evaluated = ["eval", *data, "--split", "heldout", "--json"]
    code, first, err = run(*evaluated, "--model", str(tmp_path / "linker"))
    assert code == 0 and "trained" not in err
    code, second, err = run(*evaluated)
    assert code == 0 and "trained on" in err and " fit " in err
    assert json.loads(first) == json.loads(second)
    code, out, err = run(*evaluated, "--model", str(tmp_path / "linker"), "--mass", "0.5")
    found = json.loads(out)
    assert (found["k1"], found["k2"], found["mass"]) == (None, None, 0.5)
    assert found["columns_kept"] < json.loads(first)["columns_kept"]
    code, out, err = run("eval", *data, "--split", "heldout", "--model", str(tmp_path / "linker"))
    assert code == 0 and "all tables kept" in out


def test_the_split_that_is_learned_from_may_be_named(small_spider: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    linker = exspin.link_train(f"spider:{small_spider}", tmp_path / "l", split="train")
    assert linker.trained_on["databases"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"linker": "magic"}, "known are gold, lexical, learned"),
        ({"linker": "lexical", "model": "x"}, "takes no model"),
        ({"k1": 0}, "at least 1"),
        ({"k2": -1}, "at least 1"),
        ({"mass": 0.0}, "share of the probability"),
        ({"mass": 1.5}, "share of the probability"),
        ({"linker": "gold", "mass": 0.9}, "gold has no probabilities"),
    ],
)
def test_what_makes_no_sense_is_refused(
    small_spider: Path, change: dict[str, str | int | float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        link_eval(f"spider:{small_spider}", "dev", **change)  # type: ignore[arg-type]


def test_a_directory_without_a_linker_is_an_error_of_one_line(
    small_spider: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="link train"):
        link_eval(f"spider:{small_spider}", "dev", model=tmp_path)
    code, _, err = run(
        "eval", "--data", f"spider:{small_spider}", "--split", "dev", "--model", str(tmp_path)
    )
    assert code == 2 and err.startswith("error: ") and len(err.splitlines()) == 1


def test_what_is_missed_is_named(small_spider: Path) -> None:
    found = link_eval(f"spider:{small_spider}", "dev", linker="lexical", k1=1, k2=1)
    missing = found.missed
    assert len(missing) == round(found.n * (1 - min(found.column_recall or 0, 1)))
    assert all(m.tables or m.columns for m in missing)


# --- the area under the curve -----------------------------------------------------------------------------------------


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    rng = random.Random(2)
    scored = [(rng.randrange(8) / 8, rng.random() < 0.4) for _ in range(60)]
    pairs = [
        (p > q) + 0.5 * (p == q) for p, used in scored if used for q, other in scored if not other
    ]
    assert area_under_curve(scored) == pytest.approx(sum(pairs) / len(pairs))


def test_there_is_no_area_where_one_kind_is_missing() -> None:
    assert area_under_curve([(0.5, True)]) is None
    assert area_under_curve([(0.5, False)]) is None
    assert area_under_curve([]) is None
