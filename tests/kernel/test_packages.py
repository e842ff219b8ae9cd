"""Requirement strings: names and versions only."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.errors import InvalidEdit
from collab_agent.kernel.packages import MOST, magic, parse


def test_takes_names_extras_and_versions() -> None:
    assert parse(["polars", "Scikit_Learn >= 1.4, <2", "dask[dataframe,array]==2024.*", "six~=1.16"]) == [
        "polars",
        "Scikit_Learn<2,>=1.4",
        "dask[array,dataframe]==2024.*",
        "six~=1.16",
    ]


@pytest.mark.parametrize("packages", [None, [], "six", {"six": 1}, ["six"] * (MOST + 1), [None], ["six", 1]])
def test_refuses_what_is_no_list_of_names(packages: object) -> None:
    with pytest.raises(InvalidEdit, match=r"Nothing was installed\."):
        parse(packages)


@pytest.mark.parametrize(
    "text", ["-e .", "--pre", " -U six", ".", "a/b", "x @ file:///x", "x; os_name=='nt'", "x `y`", "x|y", "x\ny", "é"]
)
def test_refuses_what_is_no_plain_requirement(text: str) -> None:
    with pytest.raises(InvalidEdit, match=r"was refused: .*Nothing was installed\."):
        parse([text])


@given(st.text(max_size=40))
def test_whatever_is_taken_is_one_plain_word_for_an_argument_list(text: str) -> None:
    try:
        (requirement,) = parse([text])
    except InvalidEdit:
        return
    assert requirement[0].isalnum()
    assert not set(requirement) & set(" \t\n;|&$`'\"\\/@")


def test_the_magic_is_quoted_for_the_shell_that_it_goes_through() -> None:
    line = magic(["six>=1,<2", "polars"])
    assert line == "%pip install 'six>=1,<2' polars"
    assert shlex.split(line)[2:] == ["six>=1,<2", "polars"]
