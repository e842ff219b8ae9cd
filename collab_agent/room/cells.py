"""Cells of the shared schema: what is read off them, and what is written into them.

Schema 2.0.0 of jupyter_ydoc (``facts/rtc.md``, section 3).  Everything read is untrusted: a peer may have put
anything anywhere, and no function here raises on it.
"""

from __future__ import annotations

import copy
from typing import Any, cast

from jupyter_ydoc.utils import cast_all
from pycrdt import Array, Map, Text

from ..notebook.model import CellType, CellView, OutputView
from ..notebook.outputs import Append, EditStream, Op, Truncate
from ..notebook.splice import byte_offset
from ..notebook.steps import RefillCell
from .codec import whole


def read_cell(handle: Map[Any] | None) -> CellView:
    """A view of whatever stands in the cells array: a peer may have put anything there."""
    if handle is None:
        return CellView("", "raw", "", editable=False)
    fields = {key: handle.get(key) for key in ("id", "cell_type", "source", "execution_count", "execution_state")}
    count, kind = fields["execution_count"], fields["cell_type"]
    return CellView(
        id=fields["id"] if isinstance(fields["id"], str) else "",
        type=cast(CellType, kind) if kind in ("code", "markdown", "raw") else "raw",
        source=str(fields["source"]) if isinstance(fields["source"], Text | str) else "",
        execution_count=whole(count),
        running=fields["execution_state"] == "running",
        editable=isinstance(fields["source"], Text),
    )


def read_outputs(handle: Map[Any] | None) -> tuple[OutputView, ...]:
    """The outputs of a cell, in nbformat's terms."""
    outputs = None if handle is None else handle.get("outputs")
    if not isinstance(outputs, Array):
        return ()
    values = (output.to_py() if isinstance(output, Map) else output for output in outputs)
    return tuple(_output_view(value) for value in values if isinstance(value, dict))


def _output_view(value: dict[str, Any]) -> OutputView:
    count, text, data, meta = (value.get(key) for key in ("execution_count", "text", "data", "metadata"))
    traceback = value.get("traceback")
    return OutputView(
        kind=str(value.get("output_type", "")),
        name=str(value.get("name", "")),
        text="".join(map(str, text)) if isinstance(text, list) else str(text or ""),
        data=data if isinstance(data, dict) else {},
        metadata=meta if isinstance(meta, dict) else {},
        execution_count=whole(count),
        ename=str(value.get("ename", "")),
        evalue=str(value.get("evalue", "")),
        traceback=tuple(map(str, traceback)) if isinstance(traceback, list) else (),
    )


def language(meta: Map[Any]) -> str:
    """The kernel's language as the notebook's metadata name it; empty where they do not."""
    metadata = meta.get("metadata")
    value = metadata.to_py() if isinstance(metadata, Map) else metadata
    if not isinstance(value, dict):
        return ""
    for key, name in (("kernelspec", "language"), ("language_info", "name")):
        part = value.get(key)
        if isinstance(part, dict) and isinstance(part.get(name), str) and part[name]:
            return str(part[name])
    return ""


def clear(handle: Map[Any]) -> None:
    """Remove outputs and count."""
    outputs = handle.get("outputs")
    if isinstance(outputs, Array):
        outputs.clear()
    handle["execution_count"] = None


def refill(handle: Map[Any], step: RefillCell) -> None:
    """Give a cell back what it had; a peer may have put anything there meanwhile."""
    outputs = handle.get("outputs")
    if isinstance(outputs, Array):
        outputs.clear()
        for output in step.outputs:
            write_output(outputs, Append(dict(output)))
        handle["execution_count"] = None if step.count is None else float(step.count)
    elif step.attachments is not None:
        handle["attachments"] = dict(step.attachments)


def write_output(outputs: Array[Any], op: Op) -> None:
    """Apply one output operation to a cell's shared outputs."""
    match op:
        case Truncate(index):
            if index < len(outputs):
                del outputs[index:]
        case Append(output):
            # Yjs wants floats: an int arrives in the page as a BigInt, which JSON cannot hold.
            value = cast(dict[str, Any], cast_all(copy.deepcopy(output), int, float))
            if value.get("output_type") == "stream":
                value["text"] = Text(str(value["text"]))
            outputs.append(Map(value))
        case EditStream(keep, text):
            last = outputs[len(outputs) - 1] if len(outputs) else None
            stream = last.get("text") if isinstance(last, Map) else None
            if not isinstance(stream, Text):
                return  # somebody has just cleared the cell
            current = str(stream)
            if keep < len(current):
                del stream[byte_offset(current, keep) :]
            if text:
                stream += text


def rebuildable(handle: Map[Any]) -> dict[str, Any]:
    """A cell in nbformat's terms, whatever a peer has made of it: ``create_ycell`` must not fail on it."""
    value: dict[str, Any] = handle.to_py() or {}
    value.pop("execution_state", None)
    view = read_cell(handle)
    value |= {"id": view.id, "cell_type": view.type, "source": view.source}
    if not isinstance(value.get("metadata"), dict):
        value["metadata"] = {}
    if view.type == "code" or "outputs" in value:  # another copy of it may be code
        outputs = value.get("outputs")
        value["outputs"] = [each for each in outputs if isinstance(each, dict)] if isinstance(outputs, list) else []
    return value


def retyped(value: dict[str, Any], type_: CellType) -> dict[str, Any]:
    """A cell in nbformat's terms as another type: id, source and metadata stay."""
    kept: dict[str, Any] = {key: value[key] for key in ("id", "source", "metadata") if key in value}
    if type_ == "code":
        kept |= {"outputs": [], "execution_count": None}
    elif "attachments" in value:
        kept["attachments"] = value["attachments"]
    return {**kept, "cell_type": type_}
