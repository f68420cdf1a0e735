"""Ask the database what each candidate is worth: candidates in, verdicts out, in the same order.

This is where model text becomes SQL (see `exspin.sql.extract`) and where a missing database becomes an outcome.
Execution and comparison are in `exspin.sql`; what a verdict teaches is decided in `exspin.pairs`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence

from exspin.accidental import CopyCheck
from exspin.records import Candidate, Database, Example, Outcome, Verdict
from exspin.sql.engines import ErrorKind
from exspin.sql.execute import Executor, Job, Judgement
from exspin.sql.extract import extract_sql

_NO_DATABASE = Judgement(Outcome.GOLD_UNUSABLE, "database_missing")
_QUARANTINED = Judgement(Outcome.GOLD_UNUSABLE, "quarantined")


def judge(
    candidates: Sequence[Candidate],
    examples: Mapping[str, Example],
    databases: Mapping[str, Database],
    executor: Executor,
    comparator: str,
    *,
    extract: bool = True,
    quarantined: Container[str] = (),
    copies: CopyCheck | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Verdict]:
    """One verdict for each candidate. `examples` by example_id, `databases` by db_id.

    The gold of an example whose id is in `quarantined` is not trusted: its candidates are `gold_unusable`, unexecuted.
    With `extract`, the statement is taken out of the model's text first; without, the text is the statement.
    With `copies`, a match has to hold on perturbed copies of its database too: see `exspin.accidental`, and
    `copies.report` afterwards. `progress` is called with the number of candidates judged since its last call.
    """
    queries = [extract_sql(c.text) if extract else c.text for c in candidates]
    judgements = [
        _NO_DATABASE if examples[c.example_id].db_id not in databases else _QUARANTINED
        for c in candidates
    ]
    known = [
        index
        for index, c in enumerate(candidates)
        if examples[c.example_id].db_id in databases and c.example_id not in quarantined
    ]
    if progress and len(known) < len(candidates):
        progress(len(candidates) - len(known))
    jobs = []
    for index in known:
        example = examples[candidates[index].example_id]
        jobs.append(Job(databases[example.db_id], example.query, queries[index]))
    for index, judgement in zip(known, executor.judge(jobs, comparator, progress), strict=True):
        judgements[index] = judgement
    verdicts = [
        Verdict(candidate.example_id, candidate.k, judgement.outcome, judgement.detail, sql)
        for candidate, judgement, sql in zip(candidates, judgements, queries, strict=True)
    ]
    return copies.check(verdicts, examples, databases, executor, comparator) if copies else verdicts


def damaged(verdicts: Sequence[Verdict], examples: Mapping[str, Example]) -> dict[str, int]:
    """db_id of a database that turned out to be damaged inside → its questions whose gold fails for that."""
    failed = {
        v.example_id
        for v in verdicts
        if v.outcome is Outcome.GOLD_UNUSABLE and v.detail == ErrorKind.DATABASE
    }
    return dict(sorted(Counter(examples[name].db_id for name in failed).items()))


def describe_damaged(questions: Mapping[str, int], databases: Mapping[str, Database]) -> str | None:
    """One line on the databases that are damaged inside, to be shown wherever numbers are; None if none is."""
    if not questions:
        return None
    places = ", ".join(f"{databases[name].place} ({count})" for name, count in questions.items())
    shows = ' (sqlite3 FILE "PRAGMA integrity_check" shows the damage)'
    return (
        f"damaged inside, so that gold fails: {places}; {sum(questions.values())} questions count as gold_unusable; "
        f"restore the file{shows if all(databases[name].kind == 'sqlite' for name in questions) else ''}"
    )
