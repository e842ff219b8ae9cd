"""What an agent is allowed to do, as patterns and switches."""

from __future__ import annotations

import pytest

from collab_agent.errors import NotAllowed
from collab_agent.policy import Policy


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("a.ipynb", ["a.ipynb"], ["b.ipynb", "x/a.ipynb", "a.ipynb.ipynb"]),
        ("*.ipynb", ["a.ipynb", "ü 1.ipynb"], ["x/a.ipynb"]),
        ("work/*.ipynb", ["work/a.ipynb"], ["work/x/a.ipynb", "a.ipynb", "works/a.ipynb"]),
        ("work/**/*.ipynb", ["work/a.ipynb", "work/x/a.ipynb", "work/x/y/a.ipynb"], ["a.ipynb", "home/work/a.ipynb"]),
        ("work/**", ["work/a.ipynb", "work/x/a.ipynb"], ["a.ipynb"]),
        ("/work/a?.ipynb", ["work/a1.ipynb"], ["work/a.ipynb"]),
        ("[ab].ipynb", ["a.ipynb"], ["c.ipynb", "A.ipynb"]),
    ],
)
def test_a_pattern_allows_what_it_matches_whole(pattern: str, inside: list[str], outside: list[str]) -> None:
    policy = Policy(allow=(pattern,))

    assert [path for path in inside if not policy.allows(path)] == []
    assert [path for path in outside if policy.allows(path)] == []


def test_without_patterns_everything_may_be_opened_and_with_several_what_any_matches() -> None:
    assert Policy().allows("any/where.ipynb")
    assert Policy(allow=("a.ipynb", "b/*")).allows("b/c.ipynb")


def test_each_mode_forbids_what_it_says_and_is_shown() -> None:
    Policy().check_write("a.ipynb")
    Policy().check_run("a.ipynb")
    Policy(no_run=True).check_write("a.ipynb")
    for policy in (Policy(no_run=True), Policy(read_only=True)):
        with pytest.raises(NotAllowed, match="may not run code"):
            policy.check_run("a.ipynb")
    with pytest.raises(NotAllowed, match="may only read"):
        Policy(read_only=True).check_write("a.ipynb")
    labels = [policy.label for policy in (Policy(), Policy(read_only=True, no_run=True), Policy(no_run=True))]
    assert labels == ["", "read-only", "no-run"]
