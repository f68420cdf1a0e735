"""The tree of errors: what the command line turns into exit code 2, and that the drawing is right."""

from __future__ import annotations

import inspect

import pytest

from exspin import errors


def classes() -> dict[str, type[Exception]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }


def test_the_drawing_shows_every_error() -> None:
    drawn = (errors.__doc__ or "").split("\n\n")[1]
    assert [line.split("─ ")[-1].split()[0] for line in drawn.splitlines()] == list(classes())


def test_one_tree() -> None:
    assert all(issubclass(cls, errors.ExspinError) for cls in classes().values())
    assert not issubclass(errors.TrainingStopped, errors.UserError)


def test_a_missing_extra_names_its_cure() -> None:
    error = errors.MissingExtra("training", "torch", "train")
    assert isinstance(error, errors.UserError)
    assert str(error) == (
        "training needs the package 'torch', which is not installed: pip install \"exspin[train]\""
    )


@pytest.mark.parametrize("name", sorted(set(classes()) - {"MissingExtra"}))
def test_every_error_carries_its_line(name: str) -> None:
    assert str(classes()[name]("thing: value; cure")) == "thing: value; cure"
