"""`report` on made-up runs: the numbers of report.json, finished and unfinished, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exspin.errors import DataError, RunError
from exspin.ledger import read_jsonl, write_json, write_jsonl
from exspin.reporting import report

MakeRun = Callable[..., Path]


def numbers(run: Path) -> Any:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} in report.json")

    return json.loads((run / "report.json").read_text("utf-8"), parse_constant=refuse)


def test_json_keeps_the_contract_of_run(make_run: MakeRun) -> None:
    run = make_run(rounds=2)
    value = report(run).to_json()
    assert list(value)[:4] == ["run", "rounds", "best_round", "report"]
    assert value == numbers(run)
    assert value["report"] == str(run / "report.html")
    assert [(row["round"], row["preset"], row["split"]) for row in value["rounds"]] == [
        (number, preset, split)
        for number, preset in ((0, "sft"), (1, "exspin-anchored"), (2, "exspin-anchored"))
        for split in ("dev", "test", "test-hand")
    ]
    keys = ["round", "preset", "split", "n", "scored", "ex", "ci95", "outcomes"]
    for row in value["rounds"]:
        assert list(row) == keys
        assert sum(row["outcomes"].values()) == row["n"]
        assert row["ex"] == row["outcomes"]["match"] / row["scored"]
        assert row["ci95"][0] <= row["ex"] <= row["ci95"][1]


def test_best_round_is_the_one_that_dev_chose(make_run: MakeRun) -> None:
    assert report(make_run("up", skill=(0.5, 0.8, 0.6))).best_round == 1
    assert report(make_run("down", skill=(0.8, 0.6, 0.5))).best_round == 0


def test_every_round_is_compared_with_sft_and_with_the_round_before(make_run: MakeRun) -> None:
    run = make_run(rounds=3)
    summary = report(run)
    assert [(c.round, c.against) for c in summary.comparisons if c.split == "test"] == [
        (1, 0),
        (2, 0),
        (2, 1),
        (3, 0),
        (3, 2),
    ]

    def right(stage: str) -> list[bool]:
        return [
            row["outcome"] == "match" for row in read_jsonl(run / stage / "predictions-test.jsonl")
        ]

    before, after = right("round-1"), right("round-2")
    found = summary.comparison(2, "test", against=1)
    assert found is not None
    assert found.fixed == sum(b and not a for a, b in zip(before, after, strict=True)) > 0
    assert found.broke == sum(a and not b for a, b in zip(before, after, strict=True)) > 0
    assert found.diff == pytest.approx((sum(after) - sum(before)) / 120)
    assert found.ci95[0] <= found.diff <= found.ci95[1]


def test_answers_are_compared_by_question_not_by_line(make_run: MakeRun) -> None:
    run = make_run(rounds=1)
    before = report(run).comparisons
    file = run / "round-1" / "predictions-test.jsonl"
    write_jsonl(file, reversed(list(read_jsonl(file))))
    assert report(run).comparisons == before


def test_missing_databases_stay_in_the_count_and_leave_the_denominator(make_run: MakeRun) -> None:
    summary = report(make_run(missing={"test": 7}))
    (count,) = (c for c in summary.counts if c.split == "test")
    assert (count.n, count.missing, count.gold_failed, count.scored) == (
        120,
        {"flight_4": 7},
        0,
        113,
    )
    comparison = summary.comparison(1, "test")
    assert comparison is not None and comparison.n == 113
    (part,) = (p for p in summary.by_database if p.part == "flight_4" and p.round == 1)
    assert (part.n, part.scored, part.fixed, part.broke) == (7, 0, 0, 0)


def test_parts_add_up_to_the_split(make_run: MakeRun) -> None:
    summary = report(make_run(missing={"test": 7}))
    for parts in (summary.by_hardness, summary.by_database):
        for score in summary.rounds:
            mine = [p for p in parts if (p.round, p.split) == (score.round, score.split)]
            assert sum(p.n for p in mine) == score.n
            assert sum(p.scored for p in mine) == score.scored
            assert sum(p.ex * p.scored for p in mine) == pytest.approx(score.ex * score.scored)
            if comparison := summary.comparison(score.round, score.split):
                assert sum(p.fixed or 0 for p in mine) == comparison.fixed
                assert sum(p.broke or 0 for p in mine) == comparison.broke


def test_candidates_of_a_round_are_counted(make_run: MakeRun) -> None:
    run = make_run(rounds=1, k=3)
    opponent = report(run).opponents[1]
    rows = list(read_jsonl(run / "round-1" / "outcomes.jsonl"))
    wrong = [row for row in rows if row["outcome"] not in ("match", "infra", "gold_unusable")]
    texts = {
        (row["example_id"], row["text"]) for row in read_jsonl(run / "round-1" / "candidates.jsonl")
    }
    assert (opponent.questions, opponent.candidates) == (80, 240)
    assert sum(opponent.outcomes.values()) == 240
    assert opponent.wrong == len(wrong) > 0
    assert opponent.questions_wrong == len({row["example_id"] for row in wrong}) < len(wrong)
    assert opponent.distinct == len(texts) < 240
    assert opponent.pairs_weighted == len(wrong)
    assert opponent.cut_off == sum(row["outcome"] == "not_a_query" for row in rows)


def test_training_and_trimming_are_told(make_run: MakeRun) -> None:
    summary = report(make_run())
    chosen = summary.training_set
    assert chosen is not None
    assert (chosen.questions, chosen.of, chosen.prompts, chosen.prompts_trimmed) == (80, 100, 80, 3)
    assert chosen.trimmed == {"samples": 3}
    assert summary.training[0].logps == {"gold": (-4.0, -3.1)}
    assert summary.training[1].logps == {"gold": (-5.0, -4.1), "candidate": (-9.0, -13.5)}
    assert (summary.training[1].questions, summary.training[1].left_out) == (78, 2)


def test_table_has_the_columns_that_the_command_line_prints(make_run: MakeRun) -> None:
    summary = report(make_run(rounds=1, splits={"dev": 40, "test": 50}))
    rows = summary.table()
    assert [(row.split, row.round) for row in rows] == [
        ("dev", 0),
        ("dev", 1),
        ("test", 0),
        ("test", 1),
    ]
    sft, first = rows[2:]
    assert (sft.diff, sft.diff_ci95, sft.fixed, sft.broke, sft.p) == (None,) * 5
    assert first.diff == pytest.approx(first.ex - sft.ex)
    assert {row.round for row in rows if row.best} == {summary.best_round}
    assert first.fixed is not None and first.broke is not None and first.p is not None


@pytest.mark.parametrize("scored", [-1, 0, 1])
def test_an_unfinished_run_is_shown_as_far_as_it_goes(make_run: MakeRun, scored: int) -> None:
    run = make_run(rounds=3, scored=scored)
    summary = report(run)
    assert not summary.finished
    assert {row.round for row in summary.rounds} == set(range(scored + 1))
    assert (summary.best_round is None) == (scored < 0)
    stopped = "SFT" if scored < 0 else f"Round {scored + 1}"
    assert (
        summary.notices[0] == f"{stopped} is unfinished: the last file it wrote is prompts.jsonl."
    )
    assert summary.notices[-1] == "Round 3 has not begun."
    assert "unfinished" in (run / "report.html").read_text("utf-8")


def test_an_unfinished_run_says_with_which_stage_it_goes_on(make_run: MakeRun) -> None:
    run = make_run(rounds=2)
    assert report(run).next_stage is None
    told = []
    files = ["best.json"]
    files += [f"round-2/{name}" for name in ("scores.json", "training.json", "outcomes.jsonl")]
    files += ["round-2/candidates.jsonl", "sft/scores.json", "sft/training.json"]
    for name in files:
        (run / name).unlink()
        told.append(report(run).next_stage)
    assert told == [
        "report", "round 2, evaluation", "round 2, learning", "round 2, execution",
        "round 2, generation", "evaluation of SFT", "SFT",
    ]  # fmt: skip


def test_a_run_that_is_played_further_is_not_judged_by_its_old_choice(make_run: MakeRun) -> None:
    run = make_run(rounds=2, skill=(0.5, 0.6, 0.8))
    write_json(run / "best.json", {"best_round": 1, "split": "dev", "ex": [0.5, 0.6]})
    summary = report(run)
    assert (summary.finished, summary.best_round) == (False, 2)


def test_a_run_killed_before_its_data_was_loaded_has_a_report(make_run: MakeRun) -> None:
    run = make_run(rounds=0)
    for path in run.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "config.yaml":
            path.unlink()
    summary = report(run)
    assert summary.rounds == () and summary.best_round is None
    assert summary.notices[0] == "The run stopped before its data was loaded."


def test_what_is_not_finite_is_left_out(make_run: MakeRun) -> None:
    run = make_run(rounds=1)
    file = run / "round-1" / "training.json"
    file.write_text(
        json.dumps(
            {**json.loads(file.read_text()), "gold_logp_after": math.nan, "seconds": math.inf}
        )
    )
    with (run / "round-1" / "loss.jsonl").open("a") as log:
        log.write('{"step": 61, "loss": NaN}\n{"step": 62, "lo')  # killed while it wrote
    summary = report(run)
    assert "gold" not in summary.training[1].logps
    assert summary.training[1].seconds is None
    assert "Round 1: the loss log is readable up to its line 61 only." in summary.notices
    numbers(run)
    assert "nan" not in (run / "report.html").read_text("utf-8")


def test_missing_answers_are_told_and_the_rest_is_compared(make_run: MakeRun) -> None:
    run = make_run(rounds=1)
    file = run / "round-1" / "predictions-test.jsonl"
    write_jsonl(file, list(read_jsonl(file))[:-5])
    summary = report(run)
    assert any("115 answers for the 120 questions of test" in notice for notice in summary.notices)
    comparison = summary.comparison(1, "test")
    assert comparison is not None and comparison.n == 115


def test_what_is_not_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError) as caught:
            report(place)
        assert "\n" not in str(caught.value) and str(place) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("table.json", "{"),
        ("table.json", "[]"),
        ("sft/scores.json", '{"dev": {"n": 1}}'),
        ("sft/predictions-dev.jsonl", '{"example_id": "x", "outcome": "great"}\n'),
        ("splits/dev.jsonl", "3\n"),
        ("splits/dev.jsonl", '{"example_id": '),
        ("best.json", "{}"),
    ],
)
def test_a_damaged_file_is_named_with_its_cure(make_run: MakeRun, name: str, content: str) -> None:
    run = make_run(rounds=0)
    (run / name).write_text(content)
    with pytest.raises(DataError, match=f"{Path(name).name}.*; the same `exspin run` again writes"):
        report(run)
    assert not (run / "report.json").exists()


def test_a_loss_log_of_other_things_is_read_as_far_as_it_goes(make_run: MakeRun) -> None:
    run = make_run(rounds=0)
    (run / "sft" / "loss.jsonl").write_text('{"step": 1, "loss": 2.0}\n[1]\n')
    assert any("readable up to its line 1" in line for line in report(run).notices)


def test_the_same_run_gives_the_same_bytes(make_run: MakeRun) -> None:
    run = make_run()
    report(run)
    first = [(run / name).read_bytes() for name in ("report.html", "report.json")]
    report(run)
    assert first == [(run / name).read_bytes() for name in ("report.html", "report.json")]


def test_accidental_matches_are_listed_round_by_round(make_run: MakeRun) -> None:
    run = make_run(rounds=1, copies=10)
    assert report(run).to_json()["accidental"] == numbers(run)["accidental"]
    rest = {"copies": 10, "undecided": 2, "unchecked": 5}
    assert numbers(run)["accidental"] == [
        *({"round": 0, "split": s, "checked": 30, "accidental": 0, **rest} for s in ("dev", "test", "test-hand")),
        *({"round": 1, "split": s, "checked": 30, "accidental": 1, **rest} for s in ("dev", "test", "test-hand")),
        {"round": 1, "split": None, "checked": 9, "accidental": 4, "copies": 10, "undecided": 0, "unchecked": 0},
    ]  # fmt: skip
    assert report(make_run("plain")).to_json()["accidental"] == []
