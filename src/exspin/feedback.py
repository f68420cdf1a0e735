"""Ask the database what each candidate is worth: candidates in, verdicts out, in the same order.

This is where model text becomes SQL (see `exspin.sql.extract`) and where a missing database becomes an outcome.
Execution and comparison are in `exspin.sql`; what a verdict teaches is decided in `exspin.pairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from exspin.accidental import CopyCheck
from exspin.records import Candidate, Database, Example, Outcome, Verdict
from exspin.sql.execute import Executor, Job, Judgement
from exspin.sql.extract import extract_sql

_NO_DATABASE = Judgement(Outcome.GOLD_UNUSABLE, "database_missing")


def judge(
    candidates: Sequence[Candidate],
    examples: Mapping[str, Example],
    databases: Mapping[str, Database],
    executor: Executor,
    comparator: str,
    *,
    extract: bool = True,
    copies: CopyCheck | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Verdict]:
    """One verdict for each candidate. `examples` by example_id, `databases` by db_id.

    With `extract`, the statement is taken out of the model's text first; without, the text is the statement.
    With `copies`, a match has to hold on perturbed copies of its database too: see `exspin.accidental`, and
    `copies.report` afterwards. `progress` is called with the number of candidates judged since its last call.
    """
    queries = [extract_sql(c.text) if extract else c.text for c in candidates]
    known = [
        index for index, c in enumerate(candidates) if examples[c.example_id].db_id in databases
    ]
    if progress and len(known) < len(candidates):
        progress(len(candidates) - len(known))
    jobs = []
    for index in known:
        example = examples[candidates[index].example_id]
        jobs.append(Job(databases[example.db_id], example.query, queries[index]))
    judgements = [_NO_DATABASE] * len(candidates)
    for index, judgement in zip(known, executor.judge(jobs, comparator, progress), strict=True):
        judgements[index] = judgement
    verdicts = [
        Verdict(candidate.example_id, candidate.k, judgement.outcome, judgement.detail, sql)
        for candidate, judgement, sql in zip(candidates, judgements, queries, strict=True)
    ]
    return copies.check(verdicts, examples, databases, executor, comparator) if copies else verdicts
