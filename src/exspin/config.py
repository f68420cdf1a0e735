"""The one configuration tree: typed, checked before anything is loaded, written into the run first.

Every key has its meaning beside it; `exspin config schema` prints this tree as JSON Schema. A schedule is one number
or a list with one number a round (the last one is kept for later rounds). Below `cli/` nothing reads the
environment, with the exceptions that `environment.py` states: `$NAME` in `data` and `data_quarantine` is filled in when a
configuration is read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from exspin.environment import NotSet, expand
from exspin.errors import ConfigError

PRESETS = ("sft", "spin", "exspin", "exspin-anchored")
COMPARATORS = ("default", "strict", "bird", "test-suite", "test-suite-distinct")


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
PositiveSchedule = Positive | Annotated[tuple[Positive, ...], Field(min_length=1)]
Schedule = NotNegative | Annotated[tuple[NotNegative, ...], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_a_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Python would take `true` for 1."""
        kind = cls.model_fields[str(info.field_name)].annotation
        switched = kind is bool or any(map(_is_section, (kind, *get_args(kind))))
        if isinstance(value, bool) and not switched:
            raise ValueError("is neither a number nor text; this key is not switched on or off")
        return value


class SelectionConfig(_Section):
    """Which questions a run uses. `None` means all."""

    train_questions: Count | None = Field(None, description="SFT trains on this many questions")
    train_databases: Count | None = Field(None, description="taken from this many databases")
    round_questions: Count | None = Field(1500, description="questions each round samples")
    dev_questions: Count | None = Field(None, description="questions that choose the round")
    test_questions: Count | None = Field(None, description="questions scored of each test split")


class PromptConfig(_Section):
    """What the model is shown. docs/hints.md explains links, values and shots."""

    max_tokens: Count = Field(1024, description="a prompt longer than this is trimmed, and counted")
    format: Literal["compact", "ddl", "m-schema"] = Field(
        "compact", description="how a schema is written"
    )
    schema_: Literal["none", "full", "named", "linked"] = Field(
        "full",
        alias="schema",
        description="full: all of it; named: all of it, then the names of what the linker keeps; linked: only what it keeps",
    )
    linker: Literal["learned", "lexical"] = Field(
        "learned", description="who says what a question needs; learned: trained by the run"
    )
    keep: Share | tuple[Count, Count] = Field(
        0.98,
        description="what is kept: so many items that they hold this share of the linker's probability, or "
        "[tables, columns of each]",
    )
    training_links: Literal["gold", "learned", "mix"] = Field(
        "learned",
        description="links of training questions: gold: what gold uses, among others; learned: the linker's, trained "
        "without the question; mix: one or the other",
    )
    values: bool = Field(False, description="show the cells that a question mentions")
    shots: Annotated[int, Field(ge=0, le=20)] = Field(
        0, description="similar solved training questions shown"
    )
    sample_values: Annotated[int, Field(ge=0, le=20)] = Field(
        2, description="values a column shows"
    )
    template: Literal["plain", "chat"] = Field(
        "plain", description="chat: the tokenizer's template"
    )

    @property
    def links(self) -> bool:
        """Is a linker asked?"""
        return self.schema_ in ("named", "linked")

    @property
    def hints(self) -> bool:
        """Does a prompt depend on more than its question and its schema?"""
        return self.links or self.values or self.shots > 0


class TinyConfig(_Section):
    """Shape of the built-in model, used when `model` is `tiny`. At most 10 M parameters with the defaults."""

    layers: Count = Field(4, description="transformer blocks")
    width: Annotated[int, Field(ge=16, le=4096)] = Field(
        128, description="size of a hidden state; a multiple of twice `heads`"
    )
    heads: Count = Field(2, description="attention heads")
    vocabulary: Annotated[int, Field(ge=300)] = Field(3000, description="tokens, at most")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice heads ({self.heads})")
        return self


class LoraConfig(_Section):
    """Train an adapter instead of all weights. Absent: full fine-tuning."""

    rank: Count = Field(16, description="rank of an adapter matrix")
    alpha: Positive = Field(32.0, description="the adapter is scaled by alpha / rank")
    target_modules: str | tuple[str, ...] = Field(
        "all-linear", description="modules that get an adapter, by name, or all linear ones"
    )


class SftConfig(_Section):
    """Supervised fine-tuning on gold, before the rounds."""

    epochs: NotNegative = Field(6.0, description="passes over the training questions; 0 skips SFT")
    bare_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="share of the passes, the first ones, that show questions without their schema; "
        "None: 0.5 for tiny, which knows no language yet, else 0",
    )
    optimizer: Literal["adamw", "muon"] | None = Field(
        None, description="None: muon for the tiny model, which is made from scratch, else adamw"
    )
    lr: Positive | None = Field(
        None, description="peak learning rate; None: 8e-3 for tiny, 1e-4 for LoRA, else 1e-5"
    )
    batch_size: Count = Field(32, description="questions in one optimizer step")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.03, description="share of steps")
    weight_decay: NotNegative = Field(0.01, description="of AdamW")
    save_steps: Count = Field(100, description="steps between resume points")


class LearningConfig(_Section):
    """What a round learns from outcomes. See docs/method.md for the loss."""

    preset: Literal["sft", "spin", "exspin", "exspin-anchored"] = Field(
        "exspin-anchored", description="what each outcome weighs"
    )
    lr: PositiveSchedule | None = Field(
        None,
        description="peak learning rate, one or one a round; None: 3e-4 for tiny, 1e-5 for LoRA, else 5e-7",
    )
    lambda_: Schedule = Field(
        0.1, alias="lambda", description="strength of the contrast, one or one a round"
    )
    alpha: Schedule | None = Field(
        None,
        description="weight of the NLL on gold; None: the preset's (1 for sft and exspin-anchored, else 0)",
    )
    epochs: Positive = Field(1.0, description="passes over a round's questions")
    batch_size: Count = Field(64, description="questions in one optimizer step")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="share of steps")
    weight_decay: NotNegative = Field(0.0, description="of AdamW")
    save_steps: Count = Field(50, description="steps between resume points")


class GenerationConfig(_Section):
    """How the opponent writes candidates. Evaluation is always greedy with one answer."""

    k: Count = Field(1, description="candidates for each question")
    temperature: Positive = Field(1.0, description="of the opponent's sampling")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="nucleus; 1: all tokens")
    names: Literal["free", "schema"] | None = Field(
        None,
        description="schema: every answer is held to its database's own tables and columns, and to plain queries; "
        "None: schema for tiny, which invents names, else free",
    )
    max_new_tokens: Count = Field(96, description="an answer is cut off here, and counted")
    batch_size: Count = Field(64, description="answers decoded together")


class FeedbackConfig(_Section):
    """How a candidate is executed and compared."""

    comparator: Literal["default", "strict", "bird", "test-suite", "test-suite-distinct"] = Field(
        "default", description="when two results are the same"
    )
    copies: Annotated[int, Field(ge=0, le=100)] = Field(
        0, description="perturbed copies of a database on which a match has to hold too (0: none)"
    )
    copies_strict: bool = Field(
        False, description="differences on copies that people rarely mean count as well"
    )
    timeout_s: Positive = Field(5.0, description="seconds one query may take")
    max_operations: Count | None = Field(
        None,
        description="SQLite instructions one query may take; None: 50 million for each second of timeout_s",
    )
    max_rows: Count = Field(100_000, description="rows one result may have")
    max_bytes: Count = Field(64_000_000, description="bytes one result may have, estimated")
    memory_mb: Annotated[int, Field(ge=64)] = Field(512, description="MiB a worker process may use")
    workers: Count = Field(2, description="processes that execute SQL")
    allow_privileged: bool = Field(
        False, description="go on with a server login that may do more than read"
    )


class Config(_Section):
    """Everything a run depends on. The defaults are the built-in example on two CPU cores."""

    data: str = Field(
        "builtin", description="SPEC: builtin, spider:PATH, spider-syn:PATH, bird:PATH, pairs:PATH"
    )
    data_quarantine: str | None = Field(
        None, description="file of rows not to train on or score, as `exspin audit` writes it"
    )
    model: str = Field("tiny", description="tiny (made here), a local directory or a hub id")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="of weights, data order, selection and sampling"
    )
    rounds: Annotated[int, Field(ge=0, le=100)] = Field(
        2, description="rounds of self-play after SFT; may grow when a run is continued"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one"
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the weights")
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="CPU threads for torch; None: all cores"
    )
    selection: SelectionConfig = SelectionConfig()
    prompt: PromptConfig = PromptConfig()
    tiny: TinyConfig = TinyConfig()
    lora: LoraConfig | None = Field(None, description="train an adapter; None: all weights")
    sft: SftConfig = SftConfig()
    learning: LearningConfig = LearningConfig()
    generation: GenerationConfig = GenerationConfig()
    feedback: FeedbackConfig = FeedbackConfig()

    def resolved(self) -> Config:
        """The same with every default that depends on the model filled in."""
        tiny = self.model == "tiny"
        names = self.generation.names or ("schema" if tiny else "free")
        sft_lr, round_lr = (8e-3, 3e-4) if tiny else (1e-4, 1e-5) if self.lora else (1e-5, 5e-7)
        sft = {
            "optimizer": self.sft.optimizer or ("muon" if tiny else "adamw"),
            "lr": self.sft.lr or sft_lr,
            "bare_share": (0.5 if tiny else 0.0)
            if self.sft.bare_share is None
            else self.sft.bare_share,
        }
        return self.model_copy(
            update={
                "sft": self.sft.model_copy(update=sft),
                "generation": self.generation.model_copy(update={"names": names}),
                "learning": self.learning.model_copy(update={"lr": self.learning.lr or round_lr}),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the keys a YAML file uses."""
        return self.model_dump(mode="json", by_alias=True)


def at_round(schedule: float | tuple[float, ...], round_number: int) -> float:
    """The value of a schedule in round 1, 2, …; a short list keeps its last value."""
    if isinstance(schedule, tuple):
        return schedule[min(round_number, len(schedule)) - 1]
    return schedule


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file (None: the defaults), apply `key.path=value` overrides, check everything.

    Raises `ConfigError` with the file, the key, the value and, for an unknown key, the nearest known name.
    """
    path = None if path is None else Path(path)
    where = str(path) if path else "configuration"
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.load(path.read_text("utf-8"), Loader=_Yaml)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror}); give a YAML file"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}{_where(error)}") from error
        except RecursionError as error:
            raise ConfigError(f"{path}: nested too deeply to be a configuration") from error
        if loaded is not None and not isinstance(loaded, dict):
            raise ConfigError(
                f"{path}: expected keys and values, found {type(loaded).__name__}; write lines like `seed: 1`"
            )
        values = loaded or {}
    for override in overrides:
        _set(values, override)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error
    named = {"data": config.data, "data_quarantine": config.data_quarantine}
    paths = {key: _expand(key, value) for key, value in named.items() if value is not None}
    return config.model_copy(update=paths).resolved()


class _Yaml(yaml.SafeLoader):
    """YAML 1.1 reads `1e-6` as text, where everybody means a number, and keeps the last of equal keys without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"key {key.value!r} occurs twice; keep one of them",
                        problem_mark=key.start_mark,
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _where(error: yaml.YAMLError) -> str:
    """The line of a YAML error and what is wrong in it."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    if "\\t" in problem:
        problem += "; indent with spaces"
    return f"{f':{mark.line + 1}' if mark else ''}: not YAML ({problem})"


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"--set {override!r}: expected key=value, for example --set seed=1")
    try:
        value = yaml.load(text, Loader=_Yaml)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"--set {override[:80]!r}: the value is not YAML; give a number, text or a list such as [1, 2]"
        ) from error
    *parents, last = key.strip().split(".")
    target = values
    for name in parents:
        child = target.get(name)
        if child is None:
            child = target[name] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {name} has no keys below it")
        target = child
    target[last] = value


def _expand(key: str, text: str) -> str:
    try:
        return expand(text)
    except NotSet as error:
        raise ConfigError(f"{key}: {text!r} {error}") from error


def _explain(error: ValidationError) -> str:
    groups: dict[tuple[int | str, ...], list[Any]] = {}
    for item in error.errors():
        groups.setdefault(_union(item["loc"]), []).append(item)
    parts: list[str] = []
    for place, items in groups.items():
        # A schedule is a number or a list; a complaint that it is not the other one says nothing.
        exact = [i for i in items if i["type"] not in _OF_BRANCH or len(i["loc"]) > len(place) + 1]
        if len(items) > 1 and not exact:
            kind = "text" if any(i["type"] == "string_type" for i in items) else "a number"
            parts.append(f"{_key(place)} = {items[0]['input']!r}: give {kind} or a list")
        elif len(items) > 1:
            parts += map(_complaint, exact)
        else:
            parts += map(_complaint, items)
    return "; ".join(dict.fromkeys(parts))


_OF_BRANCH = ("float_type", "tuple_type", "string_type")


def _union(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place of a value, without the branch of a union that refused it and what is below."""
    branch = next((n for n, step in enumerate(loc) if _is_branch(str(step))), len(loc))
    return loc[:branch]


def _key(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(step) for step in loc if not _is_branch(str(step)))


def _complaint(item: Any) -> str:
    key, kind, value = _key(item["loc"]), item["type"], item["input"]
    if kind == "invalid_key":
        return f"unknown key {value!r}; keys are names, such as 'seed'"
    if kind == "extra_forbidden":
        if len(item["loc"]) == 1 and key in _keys(Config):
            section, _, name = key.rpartition(".")
            return f"key {key!r}: in a file write {section}: {{{name}: …}}"
        return f"unknown key {key!r}; did you mean {_nearest(key)}?"
    if kind == "model_type":
        inner = next(k for k in _keys(Config) if k.startswith(key + "."))
        return f"{key} = {value!r}: is a section; give keys below it, such as {inner}"
    said = item["msg"].removeprefix("Value error, ")
    if kind == "literal_error" and (near := _near_choice(value, said)):
        said += f"; did you mean {near!r}?"
    return f"{key} = {value!r}: {said}"


def _near_choice(value: object, said: str) -> str | None:
    """The choice that a message lists and that is most like the value, if any is."""
    near = difflib.get_close_matches(
        str(value).lower().replace("_", "-"), re.findall(r"'([^']+)'", said), n=1, cutoff=0.75
    )
    return near[0] if near else None


def _is_branch(step: str) -> bool:
    """pydantic names the branch of a union in the location; a user does not need it."""
    return "[" in step or step in {"constrained-float", "float", "int", "str"}


def _nearest(key: str) -> str:
    """The known key most like this one, or those with its very name in another section."""
    known = list(_keys(Config))
    name = key.lower().rpartition(".")[2]
    same = [repr(other) for other in known if other.rpartition(".")[2] == name]
    near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.0)
    return " or ".join(same) or repr(near[0])


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        yield key
        for inner in filter(_is_section, (field.annotation, *get_args(field.annotation))):
            yield from _keys(inner, key + ".")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def config_schema() -> Mapping[str, Any]:
    """The configuration tree as JSON Schema."""
    return Config.model_json_schema()
