"""THE MAIN LOOP: supervised fine-tuning, then rounds of self-play judged by the database.

    for each round: the opponent writes → every candidate is executed → outcomes become pairs → the policy learns
                    → the new policy is scored, and is the next opponent

Every stage reads and writes files in the run directory and records the digests of its inputs when it is done, so the
same command continues after a kill, and what is reused was made from the same things. The best round is chosen on
the dev split, never on a test split.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from exspin.config import Config
from exspin.data import remarks, roles
from exspin.errors import DataError
from exspin.evaluation import (
    copies_of,
    describe_released,
    evaluate_split,
    greedy,
    limits_of,
    make_guides,
    write_predictions,
)
from exspin.feedback import damaged, describe_damaged, judge
from exspin.generate import Decoding, Sampler
from exspin.generate.hf import HfSampler
from exspin.ledger import (
    Stage,
    digest_file,
    digest_json,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from exspin.model import (
    MANIFEST,
    Policy,
    check_source,
    load_policy,
    resolve_device,
    save_policy,
    set_threads,
)
from exspin.pairs import make_pairs
from exspin.preparing import Prepared, prepare_hints
from exspin.progress import Progress, Silent
from exspin.prompt.specimen import signature
from exspin.prompting import prompt_notes
from exspin.records import Candidate, Example, Outcome, Pair, Prompt, Verdict
from exspin.reporting import Summary, report
from exspin.run_directory import RunDirectory, check_start, open_run
from exspin.sql.execute import Executor
from exspin.sql.guide import Guide
from exspin.table import Table, load_questions, model_digests, set_the_table, start_policy
from exspin.train import train_round, train_sft

SHARD = 256  # questions whose candidates are written together: what a kill can cost


def run(
    config: Config,
    directory: str | Path,
    *,
    progress: Progress | None = None,
    opponent: Sampler | None = None,
) -> Summary:
    """Train, play `config.rounds` rounds, score every round, write the report; continue where an earlier call ended.

    `opponent` replaces the sampled candidates of every round (tests use a scripted one). Raises `UserError` for what
    the user can mend, before anything is written where it can be known before; `TrainingStopped` where a guard stops.
    """
    show = progress or Silent()
    directory = Path(directory)
    config = config.resolved()
    check_start(directory, config)
    roles(config.data)
    resolve_device(config.device)
    if config.model != "tiny":
        check_source(config.model)
    set_threads(config.threads)
    questions = load_questions(config, show)
    start = table = None
    # What can be found wrong with the model and the questions is found before anything is written.
    if config.model != "tiny" or not config.prompt.hints:
        start = start_policy(config, questions, {}, show)
    digests = {**questions.digests, **model_digests(config, start)}
    if start is not None:
        table = set_the_table(config, questions, start, {}, digests)
    with (
        open_run(directory, config, digests) as place,
        Executor(limits_of(config.feedback), config.feedback.workers) as executor,
    ):
        # What prompts show besides the schema.
        prepared = prepare_hints(config, questions, place.hints, digests, show)
        if table is None or start is None or prepared.hints:
            start = start or start_policy(config, questions, prepared.hints, show)
            table = set_the_table(config, questions, start, prepared.hints, digests)
        show.say(str(table.trimmed))
        play = _Play(config, table, prepared, place, executor, show)

        # Round 0: supervised fine-tuning on gold.
        play.sft(start)
        del start  # from here on every policy is read from its checkpoint
        play.evaluate(0)

        for round_number in range(1, config.rounds + 1):
            prompts = play.choose_questions(round_number)
            candidates = play.generate(round_number, prompts, opponent)
            verdicts = play.execute(round_number, candidates)
            pairs = play.pair(round_number, candidates, verdicts)
            play.learn(round_number, prompts, pairs)
            play.evaluate(round_number)

        return play.report()


class _Play:
    """The stages of one run, each done once: read what is there, or make it and record it."""

    def __init__(
        self,
        config: Config,
        table: Table,
        prepared: Prepared,
        place: RunDirectory,
        executor: Executor,
        show: Progress,
    ) -> None:
        self.config = config
        self.table = table
        self.prepared = prepared
        self.place = place
        self.executor = executor
        self.show = show
        self.copies = copies_of(config)
        self.examples = {e.example_id: e for e in table.examples}
        self._loaded: tuple[int, Policy] | None = None
        self._write_table()

    def sft(self, start: Policy) -> None:
        """Round 0: learn gold."""
        stage = self._stage(0, "train", {})
        if stage.is_done():
            return
        settings = self.config.sft
        if settings.epochs == 0:
            notes, folders = self._notes(0), self.prepared.folders
            save_policy(start, self.place.checkpoint(0), notes=notes, folders=folders)
            stage.finish(_files(self.place.checkpoint(0)))
            return
        train_sft(
            start,
            self.table.examples,
            self.table.prompts,
            settings,
            seed=self.config.seed,
            directory=stage.directory,
            notes=self._notes(0),
            folders=self.prepared.folders,
            bar=partial(self.show.bar, "SFT"),
        )
        stage.finish(_training_files(stage.directory))

    def choose_questions(self, round_number: int) -> list[Prompt]:
        """This round's share of the training questions: all of them, or the next ones of a shuffled order."""
        count = self.config.selection.round_questions or len(self.table.prompts)
        order = sorted(
            self.table.prompts, key=lambda p: digest_json([self.config.seed, p.example_id])
        )
        start = (round_number - 1) * count
        chosen = {order[i % len(order)].example_id for i in range(start, start + count)}
        prompts = [prompt for prompt in self.table.prompts if prompt.example_id in chosen]
        write_jsonl(self._directory(round_number) / "prompts.jsonl", map(Prompt.to_json, prompts))
        return prompts

    def generate(
        self, round_number: int, prompts: Sequence[Prompt], opponent: Sampler | None
    ) -> list[Candidate]:
        """The opponent, which is the policy of the round before, writes K candidates for each question."""
        settings = self.config.generation
        target = self._directory(round_number) / "candidates.jsonl"
        stage = self._stage(round_number, "generate", self._opponent(round_number))
        if not stage.is_done():
            sampler: Sampler = opponent or HfSampler(
                self._policy(round_number - 1),
                Decoding(
                    temperature=settings.temperature,
                    top_p=settings.top_p,
                    max_new_tokens=settings.max_new_tokens,
                    batch_size=settings.batch_size,
                    seed=self.config.seed,
                ),
                self._guides,
            )
            # By its name a shard is made from these inputs: another opponent's is never taken for it.
            shards = stage.directory / f"candidates-{digest_json(dict(stage.inputs))[:12]}"
            answers = 0  # written in this call; a resumed one finds some there
            with self.show.bar(
                f"round {round_number}: generating", len(prompts) * settings.k
            ) as advance:
                for start in range(0, len(prompts), SHARD):
                    # Written whole or not at all.
                    shard = shards / f"{start:08d}.jsonl"
                    part = prompts[start : start + SHARD]
                    if shard.exists():
                        advance(len(part) * settings.k)
                        continue
                    written = sampler.sample(
                        part, k=settings.k, round_number=round_number, progress=advance
                    )
                    write_jsonl(shard, map(Candidate.to_json, written))
                    answers += len(written)
            if line := describe_released(sampler.released, answers):
                self.show.say(f"round {round_number}: {line}")
            write_jsonl(
                target, (row for shard in sorted(shards.iterdir()) for row in _shard(shard))
            )
            stage.finish([target])
            shutil.rmtree(shards)
        return [Candidate.from_json(row) for row in read_jsonl(target)]

    def execute(self, round_number: int, candidates: Sequence[Candidate]) -> list[Verdict]:
        """Every candidate runs, guarded, and its result is compared with gold's."""
        target = self._directory(round_number) / "outcomes.jsonl"
        stage = self._stage(round_number, "execute", self._opponent(round_number))
        if not stage.is_done():
            with self.show.bar(f"round {round_number}: executing", len(candidates)) as advance:
                verdicts = judge(
                    candidates,
                    self.examples,
                    self.table.train.databases,
                    self.executor,
                    self.config.feedback.comparator,
                    copies=self.copies,
                    progress=advance,
                )
            outputs = [target]
            write_jsonl(target, map(Verdict.to_json, verdicts))
            if self.copies:
                outputs.append(target.with_name("copies.json"))
                write_json(outputs[-1], self.copies.report.to_json())
                self.show.say(f"round {round_number}: {self.copies.report}")
            stage.finish(outputs)
        return [Verdict.from_json(row) for row in read_jsonl(target)]

    def pair(
        self, round_number: int, candidates: Sequence[Candidate], verdicts: Sequence[Verdict]
    ) -> list[Pair]:
        """What each outcome is worth under the preset. Cheap and pure: made again on every call."""
        asked = dict.fromkeys(candidate.example_id for candidate in candidates)
        pairs = make_pairs(
            [self.examples[name] for name in asked],
            candidates,
            verdicts,
            self.config.learning.preset,
        )
        write_jsonl(self._directory(round_number) / "pairs.jsonl", map(Pair.to_json, pairs))
        broken = damaged(verdicts, self.examples)
        if line := describe_damaged(broken, self.table.train.databases):
            self.show.say(line)
        wrong = sum(
            v.outcome not in (Outcome.MATCH, Outcome.GOLD_UNUSABLE, Outcome.INFRA) for v in verdicts
        )
        self.show.say(
            f"round {round_number}: {wrong} of {len(verdicts)} candidates wrong, "
            f"{sum(pair.weight > 0 for pair in pairs)} pairs with weight"
        )
        return pairs

    def learn(self, round_number: int, prompts: Sequence[Prompt], pairs: Sequence[Pair]) -> None:
        """The policy starts from the opponent and learns from the pairs."""
        stage = self._stage(round_number, "train", self._opponent(round_number))
        if stage.is_done():
            return
        policy = self._policy(round_number - 1)
        self._loaded = None  # training changes the weights in place
        train_round(
            policy,
            [self.examples[prompt.example_id] for prompt in prompts],
            prompts,
            pairs,
            self.config.learning,
            round_number=round_number,
            seed=self.config.seed,
            directory=stage.directory,
            notes=self._notes(round_number),
            folders=self.prepared.folders,
            bar=partial(self.show.bar, f"round {round_number}: learning"),
        )
        stage.finish(_training_files(stage.directory))

    def evaluate(self, round_number: int) -> None:
        """Score the policy of this round on the dev split and the test splits."""
        stage = self._stage(round_number, "evaluate", self._policy_digest(round_number))
        if stage.is_done():
            return
        sampler = HfSampler(
            self._policy(round_number),
            greedy(self.config.generation, self.config.generation.max_new_tokens, self.config.seed),
            self._guides,
        )
        scores, outputs = {}, []
        for split in self.table.tests:
            result = evaluate_split(
                sampler,
                split,
                self.table.test_prompts[split.name],
                self.executor,
                self.config.feedback.comparator,
                self.show,
                self.copies,
            )
            outputs.append(stage.directory / f"predictions-{split.name}.jsonl")
            write_predictions(outputs[-1], result)
            scores[split.name] = result.score.to_json()
            low, high = result.score.ci95
            self.show.say(
                f"round {round_number}: {split.name} EX {result.score.ex:.1%} "
                f"({low:.1%} to {high:.1%}) of {result.score.scored}"
            )
        outputs.append(stage.directory / "scores.json")
        write_json(outputs[-1], scores)
        stage.finish(outputs)

    def report(self) -> Summary:
        """Choose the best round on dev (the earliest of equals) and write the report."""
        dev = self.table.tests[0].name
        scores = [
            read_json(self.place.stage(number) / "scores.json")[dev]["ex"]
            for number in range(self.config.rounds + 1)
        ]
        best = scores.index(max(scores))
        write_json(self.place.path / "best.json", {"best_round": best, "split": dev, "ex": scores})
        return report(self.place.path)

    # --- where things are, and what they were made from ---------------------------------------------------------------

    def _write_table(self) -> None:
        """What the report needs to know of the data, in files a person can open."""
        table, train = self.table, self.table.train
        for split in table.tests:
            write_jsonl(
                self.place.path / "splits" / f"{split.name}.jsonl",
                map(Example.to_json, split.examples),
            )
            write_jsonl(
                self.place.path / "prompts" / f"{split.name}.jsonl",
                map(Prompt.to_json, table.test_prompts[split.name]),
            )
        said = [line for split in (train, *table.tests) for line in remarks(split)]
        write_json(
            self.place.path / "table.json",
            {
                "train": {
                    "split": train.name,
                    "questions": len(table.examples),
                    "databases": len({e.db_id for e in table.examples}),
                    "of": len(train.examples),
                },
                "said": [*said, str(table.trimmed)],
                "prompts": table.trimmed.to_json(),
                "splits": [split.name for split in table.tests],
                "dev": table.tests[0].name,
            },
        )
        write_jsonl(self._directory(0) / "prompts.jsonl", map(Prompt.to_json, table.prompts))

    def _directory(self, round_number: int) -> Path:
        return self.place.stage(round_number)

    def _stage(self, round_number: int, name: str, inputs: Mapping[str, str]) -> Stage:
        settings = self.config.model_dump(mode="json", exclude={"rounds"})
        common = {
            "configuration": digest_json(settings),
            "data": digest_json(dict(self.table.digests)),
            "prompt": signature(self.config.prompt),
            **self.prepared.digests,
        }
        return Stage(self._directory(round_number), name, {**common, **inputs})

    def _policy_digest(self, round_number: int) -> dict[str, str]:
        return {"policy": digest_file(self.place.checkpoint(round_number) / MANIFEST)}

    def _opponent(self, round_number: int) -> dict[str, str]:
        return {"opponent": self._policy_digest(round_number - 1)["policy"]}

    def _policy(self, round_number: int) -> Policy:
        """The policy after a round, always as its checkpoint has it, so that a resumed run has the same bits."""
        if self._loaded is None or self._loaded[0] != round_number:
            self._loaded = None
            policy = load_policy(
                self.place.checkpoint(round_number),
                device=self.config.device,
                dtype=self.config.dtype,
                lora=self.config.lora,
                seed=self.config.seed,
            )
            self._loaded = (round_number, policy)
        return self._loaded[1]

    @cached_property
    def _guides(self) -> dict[str, Guide] | None:
        databases = {**self.table.train.databases}
        for split in self.table.tests:
            databases |= split.databases
        return make_guides(
            self.config.generation.names,
            databases,
            allow_privileged=self.config.feedback.allow_privileged,
        )

    def _notes(self, round_number: int) -> dict[str, Any]:
        return {
            "round": round_number,
            **prompt_notes(self.config.prompt),
            "max_new_tokens": self.config.generation.max_new_tokens,
            "names": self.config.generation.names,
            "data": self.config.data,
        }


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _shard(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from read_jsonl(path)
    except DataError as error:
        raise DataError(f"{error}; delete the file to have its candidates written again") from error


def _training_files(directory: Path) -> list[Path]:
    return [
        *_files(directory / "checkpoint"),
        directory / "loss.jsonl",
        directory / "training.json",
    ]
