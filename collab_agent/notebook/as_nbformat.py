"""A kernel's outputs as nbformat allows them: untrusted content in, what document, file and page can hold out."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

MOST_DEPTH = 100
"""So deep may a JSON value be nested in an output; Python's own parsers fail at some 1000."""
_JSON_TYPE = re.compile(r"application/(.*[+.])?json")  # Altair 6 writes ".json"


def output_of(msg_type: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The output for any message but a stream, with only nbformat's fields: ``transient`` goes."""
    if msg_type == "error":
        fields: dict[str, Any] = {key: text_of(content.get(key, "")) for key in ("ename", "evalue")}
        traceback = content.get("traceback")
        fields["traceback"] = [text_of(line) for line in traceback] if isinstance(traceback, list) else []
    else:
        fields = bundle_of(content)
    if msg_type == "execute_result":
        fields["execution_count"] = count_of(content)
    return {"output_type": msg_type, **fields}


def count_of(content: Mapping[str, Any]) -> int | None:
    """The execution count of a message's content as nbformat allows it; None where there is none, or no such one."""
    count = content.get("execution_count")
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**53 else None


def bundle_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` and ``metadata`` as nbformat allows them: outside of JSON types data is text."""
    data, metadata = content.get("data"), content.get("metadata")
    shown = data.items() if isinstance(data, Mapping) else ()
    return {
        "data": {_encodable(str(kind)): copy_of(value) for kind, value in shown if _is_shown(str(kind), value)},
        "metadata": copy_of(metadata) if isinstance(metadata, Mapping) else {},
    }


def _is_shown(kind: str, value: Any) -> bool:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return True
    return isinstance(value, str) or _JSON_TYPE.fullmatch(kind) is not None


def display_id(content: Mapping[str, Any]) -> str | None:
    """Under which id a message's content may be updated later; None where it names none."""
    transient = content.get("transient")  # may be there and null
    named = transient.get("display_id") if isinstance(transient, Mapping) else None
    return named if isinstance(named, str) else None


def text_of(value: Any) -> str:
    """A string of nbformat's "multiline" kind, as one string that can be encoded."""
    return _encodable("".join(map(str, value)) if isinstance(value, list) else str(value))


def _encodable(text: str) -> str:
    """Lone surrogates (JSON can bring them) have no UTF-8 form, so the document could not hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def size_of(value: Any) -> int:
    """About how many characters a JSON value takes that ``copy_of`` has made."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + size_of(item) for key, item in value.items())
    return sum(map(size_of, value)) if isinstance(value, list) else 1


def copy_of(value: Any, depth: int = 0) -> Any:
    """A deep copy of a JSON value that the document, the file and a page can hold.

    Strings can be encoded; numbers that no browser's JSON has (NaN, infinities, what is no double) are null, as it
    writes them; what is nested deeper than anybody reads is left out.
    """
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if -sys.float_info.max <= value <= sys.float_info.max else None
    if depth >= MOST_DEPTH and isinstance(value, Mapping | list | tuple):
        return None
    if isinstance(value, Mapping):
        return {_encodable(str(key)): copy_of(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copy_of(item, depth + 1) for item in value]
    return value
