"""The public names: all there, sorted, and still functions after the modules behind them were imported."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

import exspin
from exspin.errors import RunError


def test_the_list_is_complete_and_sorted() -> None:
    assert list(exspin.__all__) == sorted(exspin.__all__)
    assert set(exspin.__all__) == {*exspin._HOME, "__version__"}


@pytest.mark.parametrize("name", sorted(set(exspin.__all__) - {"__version__"}))
def test_each_name_is_a_function_or_a_class(name: str) -> None:
    if name == "run":
        pytest.importorskip("torch")
    for module in (
        "scoring",
        "evaluation",
        "reporting",
        "auditing",
        "diagnosis",
        "data",
        "run_directory",
    ):
        import_module(f"exspin.{module}")
    found = getattr(exspin, name)
    assert callable(found)
    assert found.__name__ == name and found.__doc__


def test_a_path_may_be_text(small_spider: Path, tmp_path: Path) -> None:
    (tmp_path / "p.sql").write_text("SELECT 1\n" * 12)
    (tmp_path / "run.yaml").write_text("seed: 3")
    dev = exspin.load(f"spider:{small_spider}", "dev", cache=str(tmp_path))
    scored = exspin.score(dev, f"{tmp_path}/p.sql", verdicts=f"{tmp_path}/v.jsonl", workers=1)
    assert scored.n == 12 and scored.seconds > 0
    assert (tmp_path / "v.jsonl").exists()
    assert exspin.load_config(f"{tmp_path}/run.yaml").seed == 3
    with pytest.raises(RunError, match="holds no run"):
        exspin.report(str(tmp_path))


@pytest.mark.train
def test_a_path_may_be_text_where_a_model_is_run(small_spider: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    data = f"spider:{small_spider}"
    small = Path(__file__).with_name("small.yaml")
    exspin.run(exspin.load_config(small, [f"data={data}", "rounds=0"]), f"{tmp_path}/run")
    scored = exspin.evaluate(
        f"{tmp_path}/run/sft/checkpoint", data, "dev", predictions=f"{tmp_path}/answers.jsonl"
    )
    assert scored.seconds > 0 and (tmp_path / "answers.jsonl").exists()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scroe'"):
        _ = exspin.scroe
