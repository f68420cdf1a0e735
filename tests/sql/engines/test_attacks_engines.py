"""Hostile statements on every engine: each costs one outcome in bounded time, the next query answers, nothing has changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from exspin.records import Outcome
from exspin.sql.execute import Executor, Job, Judgement, Limits
from exspin.sql.process import WorkerProcess

HERE = Path(__file__).parent
LIMIT_S = 0.6
GOLD = "SELECT name FROM singer WHERE age > 30"
RIGHT = "SELECT name FROM singer WHERE NOT age <= 30"
EVERYWHERE = [
    json.loads(line) for line in (HERE.parent / "attacks.jsonl").read_text("utf-8").splitlines()
]
OWN = yaml.safe_load((HERE / "attacks.yaml").read_text("utf-8"))


def expanded(sql: str) -> str:
    return re.sub(r"\{(\d+)\*([^}]*)\}", lambda match: match[2] * int(match[1]), sql)


@pytest.fixture
def guarded() -> Any:
    limits = Limits(timeout_s=LIMIT_S, max_rows=20_000, max_bytes=20_000_000, memory_mb=256)
    with Executor(limits, workers=1) as executor:
        yield executor


@pytest.mark.parametrize(
    ("kind", "attack"),
    [
        pytest.param(kind, attack, id=f"{kind}: {attack['sql'][:70]}")
        for kind, attacks in OWN.items()
        for attack in attacks
    ],
)
def test_an_attack_costs_one_outcome(
    kind: str,
    attack: dict[str, Any],
    guarded_by_kind: Callable[[str], Executor],
    request: pytest.FixtureRequest,
    eventually: Callable[[Callable[[], bool]], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = request.getfixturevalue(f"{kind}_stage")
    executor = guarded_by_kind(kind)
    before = stage.contents()
    executor.judge([Job(stage.database, GOLD, RIGHT)])  # a worker that is connected
    sent = []
    send = WorkerProcess.send

    def noted(worker: WorkerProcess, message: dict[str, Any]) -> None:
        sent.append(message)
        send(worker, message)

    monkeypatch.setattr(WorkerProcess, "send", noted)
    first = executor.judge([Job(stage.database, GOLD, expanded(attack["sql"]))])
    tries = len(sent)
    after = executor.judge([Job(stage.database, GOLD, RIGHT)])

    assert first[0].outcome in attack["ends"], first
    assert after == [Judgement(Outcome.MATCH)]
    assert stage.contents() == before
    assert eventually(lambda: stage.sessions() == [])  # nothing goes on there
    # Each try ends when it is due, at the latest by the parent's kill; bench/availability.py takes the time. More than one
    # is made of what failed by our side, and of what computes here and had no processor.
    again = first[0].outcome is Outcome.INFRA or kind == "duckdb"
    assert tries <= 1 + again
    if stage.folder is not None:
        assert len(list(stage.folder.iterdir())) == 1


@pytest.fixture(scope="module")
def guarded_by_kind() -> Any:
    limits = Limits(timeout_s=LIMIT_S, max_rows=20_000, max_bytes=20_000_000, memory_mb=256)
    executors: dict[str, Executor] = {}

    def get(kind: str) -> Executor:
        return executors.setdefault(kind, Executor(limits, workers=1))

    yield get
    for executor in executors.values():
        executor.close()


@pytest.mark.parametrize("kind", ["duckdb", "postgresql", "mysql"])
def test_what_every_engine_must_bear(
    kind: str, guarded: Executor, request: pytest.FixtureRequest
) -> None:
    """SQLite's attacks mean other things elsewhere, if anything; nowhere do they succeed."""
    stage = request.getfixturevalue(f"{kind}_stage")
    before = stage.contents()
    jobs = []
    for attack in EVERYWHERE:
        jobs += [
            Job(stage.database, GOLD, expanded(attack["sql"])),
            Job(stage.database, GOLD, RIGHT),
        ]
    judged = guarded.judge(jobs)
    assert {
        attack["name"]: judgement
        for attack, judgement in zip(EVERYWHERE, judged[::2], strict=True)
        if judgement.outcome in (Outcome.MATCH, Outcome.INFRA, Outcome.GOLD_UNUSABLE)
    } == {}
    assert set(judged[1::2]) == {Judgement(Outcome.MATCH)}
    assert stage.contents() == before


def test_no_attack_matches_a_gold_without_rows(stage: Any, guarded: Executor) -> None:
    quick = [
        a for a in OWN.get(stage.kind, []) if not {"timeout", "mismatch", "infra"} & {*a["ends"]}
    ]
    gold = "SELECT name FROM singer WHERE age > 99"
    judged = guarded.judge(
        [Job(stage.database, gold, expanded(attack["sql"])) for attack in quick], "test-suite"
    )
    assert [j for j in judged if j.outcome is Outcome.MATCH] == []
