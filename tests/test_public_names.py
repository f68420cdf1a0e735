"""The public names: all there, sorted, and still functions after the modules behind them were imported."""

from __future__ import annotations

from importlib import import_module

import pytest

import exspin


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


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scroe'"):
        _ = exspin.scroe
