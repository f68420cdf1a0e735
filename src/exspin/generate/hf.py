"""Answers from a Hugging Face model in this process, decoded in batches that share their schemas.

All questions of a database begin with the same tokens, so those are run once, and the rows of a batch attend to that one
copy of keys and values: `SharedPrefix` is a cache that holds only what is a row's own, and an attention function that
adds the part all rows share. Before its first batch a sampler compares this with the model's plain forward pass; a
model for which it does not hold (sliding windows, recurrent layers, an attention of its own) takes the plain path.

Sampling is by inverse CDF from uniforms that belong to (seed, round, question, k), so an answer does not depend on its
neighbours beyond rounding. Not covered: beams, penalties, stop strings; an answer ends with the end token or at the limit.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from exspin.errors import MissingExtra, ModelError
from exspin.generate import Decoding, Progress
from exspin.generate.guided import GuidedAnswers, Pieces
from exspin.generate.shared_prefix import SharedPrefix
from exspin.model import Policy, encode_prompt
from exspin.records import Candidate, Prompt
from exspin.sql.guide import Guide

try:
    import torch
    from peft import PeftModel
    from torch import Tensor
    from transformers import AttentionInterface, DynamicCache, PreTrainedModel
    from transformers.cache_utils import DynamicLayer
except ModuleNotFoundError as missing:
    raise MissingExtra("generation", missing.name or "torch", "train") from missing

log = logging.getLogger("exspin")

SHARED = "exspin_shared_prefix"  # our name in transformers' table of attention functions
COMPACT = 0.75  # finished rows leave the batch when this share or less is still writing
_AS_WRITTEN = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
PARITY = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # of the largest logit, at least of 1


@dataclass(frozen=True, slots=True)
class _Question:
    """One prompt as tokens: `shared + own`; each holds at least one token."""

    prompt: Prompt
    place: int  # in the caller's list
    shared: tuple[int, ...]
    own: tuple[int, ...]

    @property
    def ids(self) -> list[int]:
        return [*self.shared, *self.own]


class HfSampler:
    """Samples from a policy; see `Sampler`. Raises `ModelError` for a prompt that does not fit the model's context and
    for logits that are not finite, naming the example."""

    def __init__(
        self, policy: Policy, decoding: Decoding, guides: Mapping[str, Guide] | None = None
    ) -> None:
        """`guides` by db_id hold answers to the names of their databases; None: the model writes what it likes."""
        self.policy = policy
        self.decoding = decoding
        self.guides = guides
        self.released = 0  # answers so far that could not be held to their database's names
        decode: Any = policy.tokenizer.decode
        self._pieces = Pieces(partial(decode, **_AS_WRITTEN), policy.tokenizer.all_special_ids)
        model: Any = policy.model
        if isinstance(model, PeftModel):
            model = model.get_base_model()
        self.core: PreTrainedModel = model  # without the adapter's wrapper; its layers are inside
        self.shares_prefixes: bool | None = None  # not known before the first prompts
        keeps = "logits_to_keep" in inspect.signature(self.core.forward).parameters
        self._last: dict[str, int] = {"logits_to_keep": 1} if keeps else {}

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        k: int,
        round_number: int,
        progress: Progress | None = None,
    ) -> list[Candidate]:
        questions = [self._question(prompt, place) for place, prompt in enumerate(prompts)]
        # Neighbours share a schema and have similar lengths. The order is the questions' own, not the caller's.
        questions.sort(key=lambda q: (q.shared, len(q.own), q.own, q.prompt.example_id))
        answers: dict[int, list[Candidate]] = {}
        training = self.policy.model.training
        self.policy.model.eval()
        try:
            with torch.inference_mode():
                size = max(1, self.decoding.batch_size // k)
                prefixes: dict[tuple[int, ...], list[DynamicLayer]] = {}
                for start in range(0, len(questions), size):
                    batch = questions[start : start + size]
                    for question, found in self._decode(batch, k, round_number, prefixes):
                        answers[question.place] = found
                    if progress is not None:
                        progress(len(batch) * k)
        finally:
            self.policy.model.train(training)
        return [candidate for place in range(len(prompts)) for candidate in answers[place]]

    def check(self, prompts: Sequence[Prompt], *, longest: int) -> None:
        """Raises `ModelError` for a prompt that leaves no room for an answer; none has more than `longest` tokens."""
        if self._context is None or longest + 1 + self.decoding.max_new_tokens <= self._context:
            return  # one more for a begin token
        for place, prompt in enumerate(prompts):
            self._question(prompt, place)

    @property
    def _context(self) -> int | None:
        return getattr(self.core.config.get_text_config(), "max_position_embeddings", None)

    def _question(self, prompt: Prompt, place: int) -> _Question:
        prefix, rest = encode_prompt(self.policy.tokenizer, prompt)
        ids = prefix + rest
        if len(ids) < 2:
            raise ModelError(f"{prompt.example_id}: the prompt is empty; check its template")
        limit = self._context
        if limit is not None and len(ids) + self.decoding.max_new_tokens > limit:
            raise ModelError(
                f"{prompt.example_id}: {len(ids)} prompt tokens and {self.decoding.max_new_tokens} new ones pass "
                f"the model's context of {limit}; lower prompt.max_tokens or generation.max_new_tokens"
            )
        cut = min(max(len(prefix), 1), len(ids) - 1)
        return _Question(prompt, place, tuple(ids[:cut]), tuple(ids[cut:]))

    # --- one batch ------------------------------------------------------------------------------------------------

    def _decode(
        self,
        batch: Sequence[_Question],
        k: int,
        round_number: int,
        prefixes: dict[tuple[int, ...], list[DynamicLayer]],
    ) -> Iterator[tuple[_Question, list[Candidate]]]:
        """Answer one batch; `prefixes` carries the schemas' keys and values from batch to batch."""
        if self.shares_prefixes is None:
            self.shares_prefixes = self._check_sharing(batch[:: max(1, len(batch) // 2)])
        wanted = {question.shared for question in batch}
        # Prefixes of one question each, as of linked schemas, are read faster all at once than one by one.
        if self.shares_prefixes and (k > 1 or len(wanted) <= len(batch) // 2 or len(batch) == 1):
            for gone in set(prefixes) - wanted:
                del prefixes[gone]
            for ids in sorted(wanted - set(prefixes)):
                prefixes[ids] = self._prefill(ids)
            engine: _Rows = _SharedRows(self, batch, prefixes)
        else:
            engine = _PlainRows(self, batch)
        with engine.ready():
            logits_BV = engine.start()
            written = self._write(engine, logits_BV, batch, k, round_number)
        for number, question in enumerate(batch):
            rows = written[number * k : (number + 1) * k]
            yield question, [self._candidate(question, *row) for row in enumerate(rows)]

    def _candidate(self, question: _Question, k: int, row: tuple[list[int], bool]) -> Candidate:
        ids, ended = row
        decode: Any = self.policy.tokenizer.decode
        text: str = decode(ids, **_AS_WRITTEN)
        reason = "stop" if ended else "length"
        return Candidate(question.prompt.example_id, k, text, reason, tuple(ids))

    def _write(
        self,
        engine: _Rows,
        logits_BV: Tensor,
        batch: Sequence[_Question],
        k: int,
        round_number: int,
    ) -> list[tuple[list[int], bool]]:
        """Tokens of every row and whether the model ended it, from the prompts' last logits on."""
        names = [question.prompt.example_id for question in batch for _ in range(k)]
        decoding, end = self.decoding, self.policy.end_id
        draws_RS = np.stack(
            [
                uniforms((decoding.seed, round_number, name, row % k), decoding.max_new_tokens)
                for row, name in enumerate(names)
            ]
        )
        guided = self._guided([question.prompt.db_id for question in batch for _ in range(k)])
        written: list[list[int]] = [[] for _ in names]
        ended = [False] * len(names)
        rows = list(range(len(names)))  # row of the batch in each slot of the engine
        logits_RV = logits_BV.repeat_interleave(k, dim=0)
        if k > 1:
            engine.select([row // k for row in rows])
        for step in range(decoding.max_new_tokens):
            _check_finite(logits_RV, [names[row] for row in rows])
            tokens = self._choose(logits_RV, draws_RS[rows, step]).tolist()
            if guided is not None:
                for slot, row in enumerate(rows):
                    if not ended[row]:
                        tokens[slot] = guided.choose(
                            row,
                            tokens[slot],
                            partial(_as_numpy, logits_RV, slot),
                            float(draws_RS[row, step]),
                        )
            for row, token in zip(rows, tokens, strict=True):
                if ended[row]:
                    continue
                if token == end:
                    ended[row] = True
                else:
                    written[row].append(token)
            going = [slot for slot, row in enumerate(rows) if not ended[row]]
            if not going or step + 1 == decoding.max_new_tokens:
                break
            if len(going) <= COMPACT * len(rows):
                engine.select(going)
                rows = [rows[slot] for slot in going]
                tokens = [tokens[slot] for slot in going]
            logits_RV = engine.step(tokens)
        if guided is not None:
            self.released += guided.released
        return list(zip(written, ended, strict=True))

    def _guided(self, db_ids: Sequence[str]) -> GuidedAnswers | None:
        """What holds these answers to their schemas' names; None where nothing does."""
        if self.guides is None:
            return None
        return GuidedAnswers(
            [self.guides[db_id] for db_id in db_ids],
            self._pieces,
            self.policy.end_id,
            temperature=self.decoding.temperature,
            top_p=self.decoding.top_p,
        )

    def _choose(self, logits_RV: Tensor, draws_R: np.ndarray) -> Tensor:
        if self.decoding.temperature == 0:
            return logits_RV.argmax(-1)
        draws = torch.from_numpy(draws_R).to(logits_RV.device)
        return choose(logits_RV, draws, self.decoding.temperature, self.decoding.top_p)

    # --- the model ------------------------------------------------------------------------------------------------

    def forward(self, ids: Sequence[Sequence[int]], positions: Tensor, **inputs: Any) -> Tensor:
        """Logits (B, V) of the last token of each row, in float32."""
        input_ids = torch.tensor(ids, device=self.policy.device)
        output = self.policy.model(
            input_ids=input_ids, position_ids=positions, use_cache=True, **self._last, **inputs
        )
        last: Tensor = output.logits[:, -1].float()
        return last

    def _prefill(self, ids: Sequence[int]) -> list[DynamicLayer]:
        cache = DynamicCache(config=self.core.config)
        positions = torch.arange(len(ids), device=self.policy.device)[None]
        self.forward([ids], positions, past_key_values=cache)
        layers: list[Any] = list(cache.layers)
        return layers

    def _check_sharing(self, questions: Sequence[_Question]) -> bool:
        """Whether the shared path gives this model's own logits, for the first token and for the one after it."""
        reason = _unsupported(self.core)
        if not reason:
            try:
                worst = self._largest_difference(questions)
            except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            else:
                if not worst <= PARITY.get(self.core.dtype, 5e-2):  # NaN fails too
                    reason = f"its logits would differ by {worst:.2g}"
        if reason:
            log.warning(
                "%s: no prefix sharing in generation, which is slower (%s)",
                self.policy.source,
                reason,
            )
        return not reason

    def _largest_difference(self, questions: Sequence[_Question]) -> float:
        prefixes = {q.shared: self._prefill(q.shared) for q in questions}
        engine = _SharedRows(self, questions, prefixes)
        with engine.ready():
            first_BV = engine.start()
            tokens = first_BV.argmax(-1).tolist()
            second_BV = engine.step(tokens)
        worst = 0.0
        for row, question in enumerate(questions):
            for ids, shared_V in (
                (question.ids, first_BV[row]),
                ([*question.ids, tokens[row]], second_BV[row]),
            ):
                positions = torch.arange(len(ids), device=self.policy.device)[None]
                plain_V = self.forward([ids], positions)[0]
                scale = max(1.0, float(plain_V.abs().max()))
                worst = max(worst, float((plain_V - shared_V).abs().max()) / scale)
        return worst


def _unsupported(model: PreTrainedModel) -> str:
    """Why a model cannot share prefixes, as far as its configuration tells; "" if nothing speaks against it."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        others = sorted(set(kinds) - {"full_attention"})
        return f"it has layers of type {', '.join(others)}" if others else ""
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "it attends through a sliding window"
    return ""


# --- rows of a batch, with their cache -----------------------------------------------------------------------------


class _Rows:
    """The rows of one batch inside the model. `start` reads the prompts, `step` one more token of every row, `select`
    keeps, repeats or reorders rows."""

    def __init__(
        self, sampler: HfSampler, tails: Sequence[Sequence[int]], offsets: Sequence[int]
    ) -> None:
        """`tails` are read by `start`; row b's first token stands at position `offsets[b]`."""
        self.sampler = sampler
        device = sampler.policy.device
        longest = max(map(len, tails))
        pad = sampler.policy.pad_id
        self.ids = [[pad] * (longest - len(tail)) + list(tail) for tail in tails]
        lengths_B = torch.tensor([len(tail) for tail in tails], device=device)
        slots_T = torch.arange(longest, device=device)
        self.real_BT = slots_T >= longest - lengths_B[:, None]  # False: padding, on the left
        offsets_B = torch.tensor(list(offsets), device=device)
        self.first_B = offsets_B - (longest - lengths_B)  # position of slot 0; padding is masked
        self.next_B = offsets_B + lengths_B  # position of the next token

    @contextmanager
    def ready(self) -> Iterator[None]:
        yield

    def start(self) -> Tensor:
        slots_T = torch.arange(self.real_BT.shape[1], device=self.real_BT.device)
        positions_BT = (self.first_B[:, None] + slots_T).clamp(min=0)
        return self._forward(self.ids, positions_BT)

    def step(self, tokens: Sequence[int]) -> Tensor:
        ones_B1 = self.real_BT.new_ones(len(tokens), 1)
        self.real_BT = torch.cat([self.real_BT, ones_B1], dim=1)
        positions_B1 = self.next_B[:, None]
        self.next_B = self.next_B + 1
        return self._forward([[token] for token in tokens], positions_B1)

    def select(self, rows: Sequence[int]) -> None:
        index = torch.tensor(rows, device=self.real_BT.device)
        self.real_BT, self.next_B = self.real_BT[index], self.next_B[index]
        self._select_cache(index)

    def _forward(self, ids: Sequence[Sequence[int]], positions: Tensor) -> Tensor:
        raise NotImplementedError

    def _select_cache(self, index: Tensor) -> None:
        raise NotImplementedError


class _PlainRows(_Rows):
    """Whole prompts in the model's own cache: right for every architecture."""

    def __init__(self, sampler: HfSampler, batch: Sequence[_Question]) -> None:
        super().__init__(sampler, [question.ids for question in batch], [0] * len(batch))
        self.cache: Any = DynamicCache(config=sampler.core.config)

    def _forward(self, ids: Sequence[Sequence[int]], positions: Tensor) -> Tensor:
        return self.sampler.forward(
            ids, positions, attention_mask=self.real_BT.long(), past_key_values=self.cache
        )

    def _select_cache(self, index: Tensor) -> None:
        self.cache.reorder_cache(index)


class _SharedRows(_Rows):
    """Each row's own part behind its schema's keys and values, which are there once."""

    def __init__(
        self,
        sampler: HfSampler,
        batch: Sequence[_Question],
        prefixes: dict[tuple[int, ...], list[DynamicLayer]],
    ) -> None:
        super().__init__(sampler, [q.own for q in batch], [len(q.shared) for q in batch])
        order = list(dict.fromkeys(question.shared for question in batch))
        self.group_of_row = [order.index(question.shared) for question in batch]
        self.cache = SharedPrefix([prefixes[ids] for ids in order])

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Point the model's attention at this batch; afterwards the model is as before."""
        model = self.sampler.core
        before = model.config._attn_implementation
        AttentionInterface.register(SHARED, self.cache.attend)
        model.set_attn_implementation(SHARED)
        try:
            yield
        finally:
            model.set_attn_implementation(before)

    def _forward(self, ids: Sequence[Sequence[int]], positions: Tensor) -> Tensor:
        width = len(ids[0])
        total = self.real_BT.shape[1]
        slots_S = torch.arange(total, device=positions.device)
        causal_TS = slots_S <= slots_S[total - width :, None]
        self.cache.rows_of_groups = _runs(self.group_of_row)
        return self.sampler.forward(
            ids,
            positions,
            attention_mask=causal_TS & self.real_BT[:, None, None, :],
            past_key_values=self.cache,
        )

    def _select_cache(self, index: Tensor) -> None:
        self.group_of_row = [self.group_of_row[row] for row in index.tolist()]
        self.cache.select(index)


def _runs(groups: Sequence[int]) -> list[tuple[int, int, int]]:
    """(group, first row, row after the last) for the runs of equal groups."""
    starts = [row for row in range(len(groups)) if row == 0 or groups[row] != groups[row - 1]]
    return [
        (groups[first], first, after)
        for first, after in zip(starts, [*starts[1:], len(groups)], strict=True)
    ]


# --- choosing a token ----------------------------------------------------------------------------------------------


def uniforms(key: tuple[object, ...], count: int) -> np.ndarray:
    """`count` numbers in [0, 1) that belong to `key`, from a counter-based generator."""
    digest = hashlib.blake2b(repr(key).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).random(count)


def choose(logits_RV: Tensor, draws_R: Tensor, temperature: float, top_p: float) -> Tensor:
    """The token of each row at which the cumulative probability passes the row's draw.

    With `top_p` < 1 only the fewest most probable tokens that together reach it can be chosen.
    """
    probabilities_RV = (logits_RV.double() / temperature).softmax(-1)
    if top_p < 1:
        sorted_RV, order_RV = probabilities_RV.sort(dim=-1, descending=True, stable=True)
        outside_RV = sorted_RV.cumsum(-1) - sorted_RV >= top_p
        outside_RV = torch.zeros_like(outside_RV).scatter(-1, order_RV, outside_RV)
        probabilities_RV = probabilities_RV.masked_fill(outside_RV, 0.0)
    sums_RV = probabilities_RV.cumsum(-1)
    target_R1 = draws_R[:, None] * sums_RV[:, -1:]
    return torch.searchsorted(sums_RV, target_R1, right=True)[:, 0].clamp(max=sums_RV.shape[1] - 1)


def _check_finite(logits_RV: Tensor, names: Sequence[str]) -> None:
    broken = ~torch.isfinite(logits_RV.amax(-1))
    if bool(broken.any()):
        raise ModelError(
            f"{names[int(broken.nonzero()[0])]}: the model's logits are not finite; its weights are damaged or the "
            "training diverged, use an earlier checkpoint"
        )


def _as_numpy(logits_RV: Tensor, slot: int) -> np.ndarray:
    return logits_RV[slot].double().cpu().numpy()
