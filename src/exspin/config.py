"""The one configuration tree: typed, checked before anything is loaded, written into the run first.

Every key has its meaning beside it; `exspin config schema` prints this tree as JSON Schema. A schedule is one number
or a list with one number a round (the last one is kept for later rounds). Below `cli.py` nothing reads the
environment, with one exception stated here: `$NAME` in `data` is expanded when a configuration is read.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from exspin.errors import ConfigError

PRESETS = ("sft", "spin", "exspin", "exspin-anchored")
COMPARATORS = ("default", "strict", "bird", "test-suite", "test-suite-distinct")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Finite = Annotated[float, AfterValidator(_finite)]
Positive = Annotated[float, AfterValidator(_finite), Field(gt=0)]
NotNegative = Annotated[float, AfterValidator(_finite), Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SelectionConfig(_Section):
    """Which questions a run uses. `None` means all."""

    train_questions: Count | None = Field(None, description="SFT trains on this many questions")
    train_databases: Count | None = Field(None, description="taken from this many databases")
    round_questions: Count | None = Field(None, description="questions each round samples")
    dev_questions: Count | None = Field(None, description="questions that choose the round")
    test_questions: Count | None = Field(None, description="questions scored of each test split")


class PromptConfig(_Section):
    """What the model is shown."""

    max_tokens: Count = Field(1024, description="a prompt longer than this is trimmed, and counted")
    sample_values: Annotated[int, Field(ge=0, le=20)] = Field(
        2, description="values a column shows"
    )
    template: Literal["plain", "chat"] = Field(
        "plain", description="chat: the tokenizer's template"
    )


class TinyConfig(_Section):
    """Shape of the built-in model, used when `model` is `tiny`. At most 10 M parameters with the defaults."""

    layers: Count = 4
    width: Count = 256
    heads: Count = 4
    vocabulary: Annotated[int, Field(ge=300)] = 3000


class LoraConfig(_Section):
    """Train an adapter instead of all weights. Absent: full fine-tuning."""

    rank: Count = 16
    alpha: Positive = 32.0
    target_modules: str | tuple[str, ...] = "all-linear"


class SftConfig(_Section):
    """Supervised fine-tuning on gold, before the rounds."""

    epochs: NotNegative = Field(6.0, description="passes over the training questions; 0 skips SFT")
    lr: Positive = 1.5e-3
    batch_size: Count = Field(64, description="questions in one optimizer step")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.03, description="share of steps")
    weight_decay: NotNegative = 0.01
    save_steps: Count = Field(100, description="steps between resume points")


class LearningConfig(_Section):
    """What a round learns from outcomes. See docs/method.md for the loss."""

    preset: Literal["sft", "spin", "exspin", "exspin-anchored"] = "exspin-anchored"
    lr: Positive | tuple[Positive, ...] = 3e-4
    lambda_: NotNegative | tuple[NotNegative, ...] = Field(0.1, alias="lambda")
    alpha: NotNegative | tuple[NotNegative, ...] | None = Field(
        None,
        description="weight of the NLL on gold; None: the preset's (1 for sft and exspin-anchored, else 0)",
    )
    epochs: Positive = Field(1.0, description="passes over a round's questions")
    batch_size: Count = Field(64, description="questions in one optimizer step")
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: NotNegative = 0.0
    save_steps: Count = 50


class GenerationConfig(_Section):
    """How the opponent writes candidates. Evaluation is always greedy with one answer."""

    k: Count = Field(1, description="candidates for each question")
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count = 96
    batch_size: Count = Field(64, description="answers decoded together")


class FeedbackConfig(_Section):
    """How a candidate is executed and compared."""

    comparator: Literal["default", "strict", "bird", "test-suite", "test-suite-distinct"] = (
        "default"
    )
    copies: Annotated[int, Field(ge=0, le=0)] = Field(
        0, description="perturbed copies of the database (0: none)"
    )
    timeout_s: Positive = 5.0
    max_rows: Count = 100_000
    max_bytes: Count = 64_000_000
    memory_mb: Annotated[int, Field(ge=64)] = 512
    workers: Count = 2


class Config(_Section):
    """Everything a run depends on. The defaults are the built-in example on two CPU cores."""

    data: str = Field("builtin", description="SPEC: builtin, spider:PATH, spider-syn:PATH")
    model: str = Field("tiny", description="tiny (made here), a local directory or a hub id")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    rounds: Annotated[int, Field(ge=0, le=100)] = 2
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: Count | None = Field(None, description="CPU threads for torch; None: all cores")
    selection: SelectionConfig = SelectionConfig()
    prompt: PromptConfig = PromptConfig()
    tiny: TinyConfig = TinyConfig()
    lora: LoraConfig | None = None
    sft: SftConfig = SftConfig()
    learning: LearningConfig = LearningConfig()
    generation: GenerationConfig = GenerationConfig()
    feedback: FeedbackConfig = FeedbackConfig()

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the keys a YAML file uses."""
        return self.model_dump(mode="json", by_alias=True)


def at_round(schedule: float | tuple[float, ...], round_number: int) -> float:
    """The value of a schedule in round 1, 2, …; a short list keeps its last value."""
    if isinstance(schedule, tuple):
        return schedule[min(round_number, len(schedule)) - 1]
    return schedule


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file (None: the defaults), apply `key.path=value` overrides, check everything.

    Raises `ConfigError` with the file, the key, the value and, for an unknown key, the nearest known name.
    """
    where = str(path) if path else "configuration"
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.load(path.read_text("utf-8"), Loader=_Yaml)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error})") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
        if loaded is not None and not isinstance(loaded, dict):
            raise ConfigError(f"{path}: expected keys and values, found {type(loaded).__name__}")
        values = loaded or {}
    for override in overrides:
        _set(values, override)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error
    return config.model_copy(update={"data": _expand(config.data)})


class _Yaml(yaml.SafeLoader):
    """YAML 1.1 reads `1e-6` as text; everybody means a number."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override!r}: expected key=value, for example --set seed=1")
    try:
        value = yaml.load(text, Loader=_Yaml)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML") from error
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


def _expand(spec: str) -> str:
    expanded = os.path.expandvars(spec)
    if missing := re.search(r"\$\{?(\w+)", expanded):
        raise ConfigError(
            f"data: {spec!r} needs the environment variable {missing[1]}, which is not set"
        )
    return expanded


def _explain(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        key = ".".join(str(step) for step in item["loc"] if not _is_branch(str(step)))
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key.lower(), list(_keys(Config)), n=1, cutoff=0.0)
            parts.append(f"unknown key {key!r}; did you mean {near[0]!r}?")
        else:
            parts.append(f"{key} = {item['input']!r}: {item['msg']}")
    return "; ".join(dict.fromkeys(parts))


def _is_branch(step: str) -> bool:
    """pydantic names the branch of a union in the location; a user does not need it."""
    return "[" in step or step in {"float", "int", "str"}


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        yield key
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, key + ".")


def config_schema() -> Mapping[str, Any]:
    """The configuration tree as JSON Schema."""
    return Config.model_json_schema()
