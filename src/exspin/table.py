"""What a run plays with: splits, questions, the model before SFT and all prompts, checked before a stage uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from exspin import data as data_module
from exspin.config import Config, PromptConfig
from exspin.data import Split, remarks, roles, select_questions, with_hardness
from exspin.errors import DataError
from exspin.evaluation import greedy
from exspin.generate.hf import HfSampler
from exspin.ledger import digest_file, digest_json
from exspin.model import Policy, load_policy, make_tiny
from exspin.progress import Progress
from exspin.prompt.shown import TrimReport, trim_report
from exspin.prompting import make_prompts
from exspin.records import Example, Hints, Prompt
from exspin.run_directory import digest_split
from exspin.sql.copies import check_engine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST_GOLD = (
    512  # tokens the tiny model leaves for an answer in training; positions cost it nothing
)


@dataclass(frozen=True)
class Questions:
    """The splits of a run, and those questions of them that it uses."""

    train: Split
    chosen: tuple[Example, ...]  # of the training split, those selected
    tests: tuple[Split, ...]  # dev first

    @property
    def digests(self) -> dict[str, str]:
        """By name of a split, the digest of all that it is."""
        return {split.name: digest_split(split) for split in (self.train, *self.tests)}


@dataclass(frozen=True)
class Table:
    """Questions with their prompts for one model."""

    train: Split
    examples: tuple[Example, ...]
    prompts: tuple[Prompt, ...]  # theirs, in their order
    tests: tuple[Split, ...]
    test_prompts: Mapping[str, tuple[Prompt, ...]]
    digests: Mapping[str, str]
    trimmed: TrimReport


def load_questions(config: Config, show: Progress) -> Questions:
    """Load and check the splits. Raises `DataError` where there is nothing to learn from, or nothing to choose a round on."""
    parts = roles(config.data)
    splits = [
        with_hardness(data_module.load(config.data, name, quarantine=config.data_quarantine))
        for name in (parts.train, parts.dev, *parts.tests)
    ]
    for split in splits:
        for remark in remarks(split):
            show.say(remark)
    if config.feedback.copies:
        check_engine(database for split in splits for database in split.databases.values())
    train, dev, *tests = splits
    chosen = select_questions(
        train,
        questions=config.selection.train_questions,
        databases=config.selection.train_databases,
        seed=config.seed,
    )
    if not chosen:
        raise DataError(f"{config.data}: split {train.name!r} has no question that can be used")
    if not dev.usable():
        cure = (
            f"put its databases in place: {', '.join(sorted(dev.missing)[:5])}"
            if dev.missing
            else f"{config.data_quarantine} names them all"
        )
        raise DataError(
            f"{config.data}: split {dev.name!r}, which chooses the round, has no question that can be used; {cure}"
        )
    dev = _part(dev, config.selection.dev_questions, config.seed, show)
    tests = [_part(test, config.selection.test_questions, config.seed, show) for test in tests]
    show.say(
        f"{len(chosen)} training questions on {len({e.db_id for e in chosen})} databases; "
        + ", ".join(f"{split.name} {len(split.examples)}" for split in (dev, *tests))
    )
    return Questions(train, chosen, (dev, *tests))


def _part(split: Split, questions: int | None, seed: int, show: Progress) -> Split:
    """The split, or as many of its usable questions as the configuration asks for."""
    if questions is None:
        return split
    kept = select_questions(split, questions=questions, databases=None, seed=seed)
    show.say(f"{split.name}: {len(kept)} of {len(split.examples)} questions selected")
    return replace(split, examples=kept, missing={}, quarantined={})


def start_policy(
    config: Config, questions: Questions, hints: Mapping[str, Hints], show: Progress
) -> Policy:
    """The policy before SFT. The tiny one's tokenizer sees training questions, their gold, hints and schemas only."""
    if config.model != "tiny":
        policy = load_policy(
            config.model,
            device=config.device,
            dtype=config.dtype,
            lora=config.lora,
            seed=config.seed,
        )
        show.say(f"model: {config.model}, {policy.parameters / 1e6:.0f} M parameters")
        return policy
    prompts = _prompts(config, config.prompt, None, questions.chosen, questions.train, hints)
    of_schemas = prompts
    if config.prompt.schema_ == "linked":  # each shows a part
        whole = config.prompt.model_copy(update={"schema_": "full"})
        of_schemas = _prompts(config, whole, None, questions.chosen, questions.train, {})
    schemas = {prompt.db_id: prompt.text[: prompt.prefix_chars] for prompt in of_schemas}
    own = (
        prompt.text[prompt.prefix_chars :] + example.query
        for prompt, example in zip(prompts, questions.chosen, strict=True)
    )
    policy = make_tiny(
        [*schemas.values(), *own],
        config.tiny,
        seed=config.seed,
        max_tokens=config.prompt.max_tokens + max(LONGEST_GOLD, config.generation.max_new_tokens),
    )
    show.say(f"model: tiny, made here, {policy.parameters / 1e6:.1f} M parameters")
    return policy


def set_the_table(
    config: Config,
    questions: Questions,
    start: Policy,
    hints: Mapping[str, Hints],
    digests: Mapping[str, str],
) -> Table:
    """All prompts for the model. Raises `DataError` for a question that does not fit `prompt.max_tokens`, `ModelError` for
    one that does not fit the model."""
    prompts, *of_tests = (
        tuple(_prompts(config, config.prompt, start.tokenizer, examples, split, hints))
        for examples, split in (
            (questions.chosen, questions.train),
            *((split.usable(), split) for split in questions.tests),
        )
    )
    every = [*prompts, *(prompt for each in of_tests for prompt in each)]
    sampler = HfSampler(
        start, greedy(config.generation, config.generation.max_new_tokens, config.seed)
    )
    sampler.check(every, longest=config.prompt.max_tokens)
    return Table(
        train=questions.train,
        examples=questions.chosen,
        prompts=prompts,
        tests=questions.tests,
        test_prompts={
            split.name: found for split, found in zip(questions.tests, of_tests, strict=True)
        },
        digests=digests,
        trimmed=trim_report(every),
    )


def _prompts(
    config: Config,
    prompt: PromptConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    examples: Sequence[Example],
    split: Split,
    hints: Mapping[str, Hints],
) -> list[Prompt]:
    return make_prompts(
        tokenizer,
        examples,
        split.databases,
        prompt,
        split.descriptions,
        hints=hints,
        allow_privileged=config.feedback.allow_privileged,
    )


def model_digests(config: Config, start: Policy | None) -> dict[str, str]:
    """What the weights that a run starts from are known by: their files, or the hub's commit; {} for the tiny model."""
    if start is None or config.model == "tiny":
        return {}
    folder = Path(config.model).expanduser()
    if not folder.is_dir():
        commit = getattr(start.model.config, "_commit_hash", None)
        return {"model": str(commit)} if commit else {}
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {"model": digest_json({str(p.relative_to(folder)): digest_file(p) for p in found})}
