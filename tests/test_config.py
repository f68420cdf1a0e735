"""The configuration: what a file and `--set` may say, what is refused and how, schedules."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exspin.config import COMPARATORS, PRESETS, Config, at_round, config_schema, load_config
from exspin.errors import ConfigError
from exspin.presets import PRESETS as TABLE


def test_without_a_file_the_defaults_hold() -> None:
    assert load_config() == Config().resolved()


def test_defaults_that_depend_on_the_model() -> None:
    tiny, full = Config().resolved(), Config(model="some/model").resolved()
    lora = load_config(None, ["model=some/model", "lora={rank: 8}", "learning.lr=2e-6"])
    assert (tiny.sft.optimizer, tiny.sft.lr, tiny.learning.lr) == ("muon", 8e-3, 3e-4)
    assert (full.sft.optimizer, full.sft.lr, full.learning.lr) == ("adamw", 1e-5, 5e-7)
    assert (lora.sft.optimizer, lora.sft.lr, lora.learning.lr) == ("adamw", 1e-4, 2e-6)
    assert [config.sft.bare_share for config in (tiny, full, lora)] == [0.5, 0.0, 0.0]
    assert load_config(None, ["sft.bare_share=0"]).sft.bare_share == 0.0


def test_a_file_then_what_is_set(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 3\nlearning:\n  lambda: [0.1, 0.2]\n  lr: 1e-4\n")
    config = load_config(tmp_path / "run.yaml", ["seed=4", "sft.lr=2e-3", "lora={rank: 8}"])
    assert config.seed == 4
    assert config.learning.lambda_ == (0.1, 0.2)
    assert config.learning.lr == 1e-4 and config.sft.lr == 2e-3
    assert config.lora is not None and config.lora.rank == 8


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("# nothing yet\n")
    assert load_config(tmp_path / "run.yaml") == Config().resolved()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ([], "schema"),
        (["generation.names=free"], "free"),
        (["model=some/model"], "free"),
        (["model=some/model", "generation.names=schema"], "schema"),
    ],
)
def test_the_tiny_model_is_held_to_the_schemas_names_unless_told_otherwise(
    settings: list[str], names: str
) -> None:
    assert load_config(None, settings).generation.names == names


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    config = load_config(
        None,
        [
            "learning.lambda=[0.5, 0.1]",
            "lora={rank: 4}",
            "learning.alpha=0",
            "feedback.allow_privileged=true",
        ],
    )
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.to_dict()))
    assert load_config(tmp_path / "run.yaml") == config


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("sed=1", "unknown key 'sed'; did you mean 'seed'?"),
        ("learning.lamda=1", "did you mean 'learning.lambda'?"),
        ("K=0", "did you mean 'generation.k'?"),
        ("lr=1", "did you mean 'sft.lr' or 'learning.lr'?"),
        ("lora.rnk=1", "did you mean 'lora.rank'?"),
        ("learning.lr=nan", "configuration: learning.lr = 'nan': Input should be a finite number"),
        ("learning.lr=[0.1, -.inf]", "learning.lr.1 = -inf"),
        ("learning.lr=[]", "learning.lr = []"),
        ("learning.preset=spni", "learning.preset = 'spni'"),
        ("seed.deeper=1", "seed = {'deeper': 1}"),
        ("learning.lr.x=1", "learning.lr = {'x': 1}: give a number or a list"),
        ("learning.lambda=", "learning.lambda = None: give a number or a list"),
        ("learning.lambda=[1, -1]", "learning.lambda.1 = -1: Input should be greater than"),
        ("lora.target_modules=3", "lora.target_modules = 3: give text or a list"),
        ("learning=3", "learning = 3: is a section; give keys below it, such as learning.preset"),
        ("learning=", "learning = None: is a section"),
        ("lora=true", "lora = True: is a section; give keys below it, such as lora.rank"),
        ("rounds=true", "rounds = True: is neither a number nor text"),
        ("rounds=-1", "rounds = -1: Input should be greater than or equal to 0"),
        ("learning.preset=exspin_anchored", "did you mean 'exspin-anchored'?"),
        ("feedback.comparator=Strict", "did you mean 'strict'?"),
        ("tiny={width: 30, heads: 4}", "width 30 must be a multiple of twice heads (4)"),
        ("1=2", "unknown key '1'; did you mean"),
        ("seed", "expected key=value"),
        (".seed=1", "expected key=value"),
        ("learning..lr=1", "expected key=value"),
        ("seed=[", "the value is not YAML; give a number, text or a list such as [1, 2]"),
    ],
)
def test_a_wrong_setting_is_one_line_with_key_and_value(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [setting])
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nlearning:\n  lr: 1e-4\n  lr: 2e-4\n", ":4: not YAML (key 'lr' occurs twice;"),
        ("seed: 1\nsft: {lr: [1", ":2: not YAML (expected ',' or ']'"),
        ("seed: 1\nsft:\n\tlr: 1\n", ":3: not YAML (found character '\\t' that cannot start any"),
        ("sft:\n\tlr: 1\n", "indent with spaces)"),
        ("learning.lr: 1e-4", "key 'learning.lr': in a file write learning: {lr: …}"),
        ("1: 2", "unknown key 1; keys are names"),
        ("just text", "expected keys and values, found str; write lines like `seed: 1`"),
        ("seed: 1".encode("utf-16"), "run.yaml: is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_place(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert f"{path}" in str(error.value) and said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_suggestion_is_near_or_not_made() -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, ["device=gpu"])
    assert str(error.value).endswith("device = 'gpu': Input should be 'auto', 'cpu' or 'cuda'")


def test_yaml_merges_are_no_repeated_keys(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("sft: &a {lr: 1e-4}\nlearning: {<<: *a, lr: 2e-4}\n")
    assert load_config(tmp_path / "run.yaml").learning.lr == 2e-4


def test_the_environment_fills_in_the_data_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHERE", "/data")
    config = load_config(
        None, ["data=spider:$WHERE/spider", "data_quarantine=$WHERE/q", "model=$WHERE/model"]
    )
    assert config.data == "spider:/data/spider" and config.data_quarantine == "/data/q"
    assert config.model == "$WHERE/model"
    monkeypatch.delenv("WHERE")
    with pytest.raises(ConfigError, match="WHERE, which is not set"):
        load_config(None, ["data=spider:${WHERE}/spider"])
    with pytest.raises(ConfigError, match=r"data_quarantine: .*WHERE, which is not set"):
        load_config(None, ["data_quarantine=$WHERE/q"])


def test_a_schedule_keeps_its_last_value() -> None:
    assert [at_round((3.0, 2.0), t) for t in (1, 2, 3, 9)] == [3.0, 2.0, 2.0, 2.0]
    assert at_round(0.5, 7) == 0.5


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=5), st.integers(1, 100))
def test_every_round_of_a_schedule_has_a_value(values: list[float], round_number: int) -> None:
    assert at_round(tuple(values), round_number) in values


def test_lists_of_names_agree_with_what_they_name() -> None:
    schema = config_schema()["$defs"]
    assert (
        tuple(schema["LearningConfig"]["properties"]["preset"]["enum"]) == PRESETS == tuple(TABLE)
    )
    assert tuple(schema["FeedbackConfig"]["properties"]["comparator"]["enum"]) == COMPARATORS
