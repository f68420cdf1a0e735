"""From questions to prompts: schemas and values are read, hints found, and the model's tokenizer counts and frames the text.

The same functions prompt in a run and in every use of its checkpoints. No text is written here: `prompt` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exspin.config import PromptConfig
from exspin.data.descriptions import Descriptions, described
from exspin.errors import ModelError
from exspin.hints.kit import HintKit
from exspin.hints.values import Values, open_values
from exspin.progress import Progress
from exspin.prompt import render_all
from exspin.prompt.specimen import signature
from exspin.records import Database, Example, Hints, Prompt
from exspin.sql.schema import Schema, read_schema

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT, SIGNATURE = "prompt", "prompt_signature"  # keys of a checkpoint's notes
HINTS = "hints"  # the folder of a checkpoint that holds its kit
_BEFORE_HINTS = {
    "schema": "full",
    "values": False,
}  # how a checkpoint was prompted whose notes do not say


def prompt_notes(config: PromptConfig) -> dict[str, Any]:
    """What a checkpoint says of its prompts, for `prompted_as`."""
    return {
        PROMPT: config.model_dump(mode="json", by_alias=True),
        SIGNATURE: signature(config),
    }


def prompted_as(notes: Mapping[str, Any], default: PromptConfig) -> tuple[PromptConfig, bool]:
    """How the model with these notes was prompted, and whether this version writes such prompts to the byte; `default` for
    a model without notes."""
    if PROMPT not in notes:
        return default, True
    config = PromptConfig.model_validate({**_BEFORE_HINTS, **notes[PROMPT]})
    return config, notes.get(SIGNATURE) in (None, signature(config))


def load_kit(model: Path, config: PromptConfig) -> HintKit:
    """The kit that a checkpoint carries. Raises `UserError` for one that is damaged."""
    return HintKit.load(model / HINTS, config)


def read_schemas(
    examples: Iterable[Example],
    databases: Mapping[str, Database],
    config: PromptConfig,
    descriptions: Mapping[str, Descriptions] | None = None,
    *,
    allow_privileged: bool = False,
) -> dict[str, Schema]:
    """The schemas of these examples' databases by db_id, with what `descriptions` say of their columns.

    Raises `DatabaseError` for a database that cannot be read.
    """
    return {
        name: described(
            read_schema(databases[name], config.sample_values, allow_privileged=allow_privileged),
            (descriptions or {}).get(name, {}),
        )
        for name in dict.fromkeys(example.db_id for example in examples)
    }


def open_all_values(
    names: Iterable[str],
    databases: Mapping[str, Database],
    config: PromptConfig,
    show: Progress,
    *,
    allow_privileged: bool = False,
) -> dict[str, Values]:
    """The cells of these databases by db_id, where the configuration has a use for them; indexes are built where the cache
    has none. Raises what `open_values` does."""
    if not (config.values or config.links):
        return {}
    names = tuple(dict.fromkeys(names))
    opened = {}
    with show.bar("values", len(names)) as advance:
        for name in names:
            opened[name] = open_values(
                databases[name], progress=show, allow_privileged=allow_privileged
            )
            advance(1)
    return opened


def find_hints(
    examples: Sequence[Example],
    databases: Mapping[str, Database],
    config: PromptConfig,
    descriptions: Mapping[str, Descriptions] | None,
    kit: HintKit,
    show: Progress,
    *,
    allow_privileged: bool = False,
) -> dict[str, Hints]:
    """What is known of questions that nobody trained on, by example_id; {} where the configuration wants no hints."""
    if not config.hints:
        return {}
    schemas = read_schemas(
        examples, databases, config, descriptions, allow_privileged=allow_privileged
    )
    values = open_all_values(schemas, databases, config, show, allow_privileged=allow_privileged)
    return kit.hints(examples, schemas, values, config)


def make_prompts(
    tokenizer: PreTrainedTokenizerBase | None,
    examples: Sequence[Example],
    databases: Mapping[str, Database],
    config: PromptConfig,
    descriptions: Mapping[str, Descriptions] | None = None,
    *,
    hints: Mapping[str, Hints] | None = None,
    allow_privileged: bool = False,
) -> list[Prompt]:
    """The prompts of these examples, in their order, for the model this tokenizer belongs to.

    `descriptions` by db_id are what documents beside a database say of its columns, `hints` by example_id what is known of
    each question. Without a tokenizer (there is none yet) nothing is trimmed and no chat template applied. Raises `DataError`
    for a question that does not fit, `DatabaseError` for a database that cannot be read.
    """
    schemas = read_schemas(
        examples, databases, config, descriptions, allow_privileged=allow_privileged
    )
    if tokenizer is None:
        return render_all(examples, schemas, config, lambda _: 0, hints=hints)

    def count_tokens(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    special = _special_names(tokenizer)
    wrap = _chat(tokenizer, config)
    return render_all(examples, schemas, config, count_tokens, wrap, special, hints)


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
