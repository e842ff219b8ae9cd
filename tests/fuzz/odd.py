"""Values as nobody expects them: any JSON that a parser lets through, and near misses of what is expected."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Values = st.SearchStrategy[Any]

DEEP: dict[str, Any] = {}
for _ in range(200):
    DEEP = {"deep": [DEEP]}

texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "\0", "\ud800", "a\udc00b", "é😀", "\r\b\x1b[31m", "x" * 5_000, "__proto__", "\u202e\u200b"]),
    st.text(st.characters(codec=None), max_size=6),  # lone surrogates, too
)
numbers = st.one_of(
    st.integers(-3, 12),
    st.floats(),
    st.sampled_from([2**53, 2**64, -(2**64), 10**400, -(10**400), 1e308, float("nan"), float("inf"), -0.0]),
)
scalars: Values = st.none() | st.booleans() | numbers | texts
values: Values = st.one_of(
    scalars,
    st.just(DEEP),
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    ),
)


def nearly(expected: Values) -> Values:
    """Mostly what is expected, else anything."""
    return st.one_of(expected, expected, expected, values)


def record(**fields: Values) -> Values:
    """An object in which each field is nearly what is expected, or missing, beside fields that nobody knows."""
    known = st.fixed_dictionaries({}, optional={name: nearly(field) for name, field in fields.items()})
    return st.builds(lambda known, more: more | known, known, st.dictionaries(texts, values, max_size=1))


def as_json(value: object) -> bytes:
    """As a sloppy or hostile peer writes it: NaN as such, lone surrogates as escapes."""
    return json.dumps(value).encode()


def survives_json(value: Any) -> Any:
    """What the other side reads."""
    return json.loads(as_json(value))


def fuzz(examples: int) -> settings:
    """So many examples, and 100 times as many with ``--hypothesis-profile=long``."""
    long = settings.get_current_profile_name() == "long"
    return settings(
        max_examples=examples * 100 if long else examples, deadline=None, suppress_health_check=list(HealthCheck)
    )
