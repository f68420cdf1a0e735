"""Ask a model every question of a split, run its answers, score them.

Evaluation is greedy with one answer a question. Rows whose database is missing keep their place: they are counted as
`gold_unusable`, never dropped, so counts always add up to the split.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exspin.accidental import CopyCheck
from exspin.config import Config, FeedbackConfig, GenerationConfig
from exspin.data import Split, load, remarks, with_hardness
from exspin.feedback import describe_damaged, judge
from exspin.generate import Decoding, Sampler
from exspin.ledger import check_output, write_jsonl
from exspin.progress import Progress, Silent
from exspin.prompt.shown import trim_report
from exspin.prompting import find_hints, load_kit, make_prompts, prompted_as
from exspin.records import Candidate, Database, Prompt, Verdict
from exspin.scoring import Score, summarise
from exspin.sql.copies import check_engine
from exspin.sql.execute import Executor, Limits
from exspin.sql.guide import Guide
from exspin.sql.schema import read_schema


@dataclass(frozen=True)
class Evaluation:
    """Answers to a split: one candidate a usable question, one verdict a row."""

    candidates: tuple[Candidate, ...]
    verdicts: tuple[Verdict, ...]
    score: Score


def limits_of(config: FeedbackConfig) -> Limits:
    """What one query may use."""
    return Limits(
        timeout_s=config.timeout_s,
        max_rows=config.max_rows,
        max_bytes=config.max_bytes,
        memory_mb=config.memory_mb,
        max_operations=config.max_operations,
        allow_privileged=config.allow_privileged,
    )


def copies_of(config: Config) -> CopyCheck | None:
    """The check of matches on perturbed copies that a configuration asks for; None: it asks for none."""
    feedback = config.feedback
    if feedback.copies == 0:
        return None
    return CopyCheck(
        feedback.copies,
        seed=config.seed,
        strict=feedback.copies_strict,
        workers=feedback.workers,
    )


def make_guides(
    names: str | None, databases: Mapping[str, Database], *, allow_privileged: bool = False
) -> dict[str, Guide] | None:
    """What holds answers to the names of their databases, by db_id; None where `names` is not `schema`.

    Raises `DatabaseError` for a database that cannot be read.
    """
    if names != "schema":
        return None
    return {
        db_id: Guide(read_schema(database, 0, allow_privileged=allow_privileged))
        for db_id, database in databases.items()
    }


def describe_released(released: int, answers: int) -> str:
    """The line about answers that went on as the model liked, "" where there are none."""
    if not released:
        return ""
    return f"{released} of {answers} answers could not be held to the schema's names"


def evaluate_split(
    sampler: Sampler,
    data: Split,
    prompts: Sequence[Prompt],
    executor: Executor,
    comparator: str,
    progress: Progress,
    copies: CopyCheck | None = None,
) -> Evaluation:
    """Answer `prompts` (one for each usable question of `data`), execute and score every row of the split."""
    before = sampler.released
    with progress.bar(f"answering {data.name}", len(prompts)) as advance:
        candidates = sampler.sample(prompts, k=1, round_number=0, progress=advance)
    if freed := describe_released(sampler.released - before, len(candidates)):
        progress.say(f"{data.name}: {freed}")
    asked = {candidate.example_id for candidate in candidates}
    rows = list(candidates)
    # A question that could not be asked still has its row: a missing database or the quarantine makes it `gold_unusable`.
    rows += [
        Candidate(e.example_id, 0, "", "stop") for e in data.examples if e.example_id not in asked
    ]
    with progress.bar(f"executing {data.name}", len(rows)) as advance:
        verdicts = judge(
            rows,
            {e.example_id: e for e in data.examples},
            data.databases,
            executor,
            comparator,
            quarantined=data.quarantined,
            copies=copies,
            progress=advance,
        )
    place = {e.example_id: e.index for e in data.examples}
    ordered = tuple(sorted(verdicts, key=lambda v: place[v.example_id]))
    score = summarise(ordered, data.examples, comparator, copies.report if copies else None)
    if line := describe_damaged(score.damaged, data.databases):
        progress.say(line)
    return Evaluation(tuple(candidates), ordered, score)


def evaluate(
    model: str | Path,
    spec: str,
    split: str,
    *,
    comparator: str = "default",
    config: Config | None = None,
    predictions: str | Path | None = None,
    quarantine: str | Path | None = None,
    progress: Progress | None = None,
) -> Score:
    """Score a model on a split, prompting as its training did; `predictions` keeps its answers and their outcomes.
    Rows that the file `quarantine` names are not asked and count as `gold_unusable`.

    `model` is a directory or a hub id. A checkpoint of exspin brings its prompt configuration and answer length with it;
    `config` gives them for other models. Raises `UserError` for data, databases and models that cannot be used.
    """
    started = time.monotonic()
    predictions = None if predictions is None else Path(predictions)
    config = config or Config()
    show = progress or Silent()
    if predictions is not None:
        check_output(predictions)
    data = load(spec, split, quarantine=quarantine)
    copies = copies_of(config)
    if copies:
        check_engine(data.databases.values())

    # torch comes in here, not when scoring or reporting import this module
    from exspin.generate.hf import HfSampler
    from exspin.model import check_source, load_notes, load_policy, resolve_device, set_threads

    resolve_device(config.device)
    check_source(model)
    data = with_hardness(data)
    for remark in remarks(data):
        show.say(remark)
    set_threads(config.threads)
    policy = load_policy(model, device=config.device, dtype=config.dtype)
    notes = load_notes(Path(model)) if Path(model).is_dir() else {}
    prompt_config, same = prompted_as(notes, config.prompt)
    if not same:
        show.say(
            f"{model}: trained with prompts of another version of exspin; its score may suffer"
        )
    kit = load_kit(Path(model), prompt_config)
    if lacks := kit.missing(prompt_config):
        show.say(f"{model}: brings no {' and no '.join(lacks)}; its prompts go without")
    allowed = config.feedback.allow_privileged
    given = (data.usable(), data.databases, prompt_config, data.descriptions)
    hints = find_hints(*given, kit, show, allow_privileged=allowed)
    prompts = make_prompts(policy.tokenizer, *given, hints=hints, allow_privileged=allowed)
    show.say(str(trim_report(prompts)))
    answer_tokens = int(notes.get("max_new_tokens", config.generation.max_new_tokens))
    names = notes.get("names", config.generation.names)
    guides = make_guides(names, data.databases, allow_privileged=allowed)
    sampler = HfSampler(policy, greedy(config.generation, answer_tokens, config.seed), guides)
    with Executor(limits_of(config.feedback), config.feedback.workers) as executor:
        result = evaluate_split(sampler, data, prompts, executor, comparator, show, copies)
    if predictions is not None:
        write_predictions(predictions, result)
    return replace(result.score, seconds=time.monotonic() - started)


def greedy(config: GenerationConfig, max_new_tokens: int, seed: int) -> Decoding:
    """How evaluation decodes: the most probable token, always."""
    return Decoding(
        temperature=0.0,
        top_p=1.0,
        max_new_tokens=max_new_tokens,
        batch_size=config.batch_size,
        seed=seed,
    )


def write_predictions(path: Path, result: Evaluation) -> None:
    """One line a row of the split: what was answered, what was executed, what came of it."""
    answers = {candidate.example_id: candidate for candidate in result.candidates}
    write_jsonl(
        path,
        (
            {
                **verdict.to_json(),
                "text": answers[verdict.example_id].text if verdict.example_id in answers else "",
            }
            for verdict in result.verdicts
        ),
    )
