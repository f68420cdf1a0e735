"""Ask a model every question of a split, run its answers, score them.

Evaluation is greedy with one answer a question. Rows whose database is missing keep their place: they are counted as
`gold_unusable`, never dropped, so counts always add up to the split.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from exspin.accidental import CopyCheck
from exspin.config import Config, FeedbackConfig, GenerationConfig, PromptConfig
from exspin.data import Split, load, remarks, with_hardness
from exspin.data.descriptions import Descriptions, described
from exspin.errors import ModelError
from exspin.feedback import describe_damaged, judge
from exspin.generate import Decoding, Sampler
from exspin.ledger import check_output, write_jsonl
from exspin.progress import Progress, Silent
from exspin.prompt import render_all
from exspin.prompt.shown import trim_report
from exspin.prompt.specimen import signature
from exspin.records import Candidate, Database, Example, Prompt, Verdict
from exspin.scoring import Score, summarise
from exspin.sql.copies import check_engine
from exspin.sql.execute import Executor, Limits
from exspin.sql.guide import Guide
from exspin.sql.schema import read_schema

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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


def make_prompts(
    tokenizer: PreTrainedTokenizerBase | None,
    examples: Sequence[Example],
    databases: Mapping[str, Database],
    config: PromptConfig,
    descriptions: Mapping[str, Descriptions] | None = None,
    *,
    allow_privileged: bool = False,
) -> list[Prompt]:
    """The prompts of these examples, in their order, for the model this tokenizer belongs to.

    `descriptions` by db_id are what documents beside a database say of its columns.
    Without a tokenizer (there is none yet) nothing is trimmed and no chat template applied. Raises `DataError` for a question that does not fit, `DatabaseError` for a database that cannot be read.
    """
    names = dict.fromkeys(example.db_id for example in examples)
    schemas = {
        name: described(
            read_schema(databases[name], config.sample_values, allow_privileged=allow_privileged),
            (descriptions or {}).get(name, {}),
        )
        for name in names
    }

    if tokenizer is None:
        return render_all(examples, schemas, config, lambda _: 0)

    def count_tokens(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    special = _special_names(tokenizer)
    return render_all(examples, schemas, config, count_tokens, _chat(tokenizer, config), special)


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


def _chat(tokenizer: PreTrainedTokenizerBase, config: PromptConfig) -> Callable[[str], str] | None:
    if config.template == "plain":
        return None
    if not tokenizer.chat_template:
        raise ModelError("prompt.template = 'chat': this tokenizer has no chat template; set plain")

    def wrap(text: str) -> str:
        message = [{"role": "user", "content": text}]
        return str(
            tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        )

    return wrap


def _special_names(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The texts that this tokenizer reads as special tokens, the longest first; none where it reads them as text."""
    if getattr(tokenizer, "split_special_tokens", False):
        return ()
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted({*added, *tokenizer.all_special_tokens}, key=lambda t: (-len(t), t)))


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
    if notes.get("prompt_signature", signature()) != signature():
        show.say(
            f"{model}: trained with prompts of another version of exspin; its score may suffer"
        )
    prompt_config = PromptConfig.model_validate(notes.get("prompt", config.prompt.model_dump()))
    allowed = config.feedback.allow_privileged
    prompts = make_prompts(
        policy.tokenizer,
        data.usable(),
        data.databases,
        prompt_config,
        data.descriptions,
        allow_privileged=allowed,
    )
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
