"""Output widgets: what the agent's own requests print "inside" one goes into the widget, not into the cell.

The theory.  ``with output:`` (ipywidgets; ``interact`` does so, too) sets the widget's ``msg_id`` to the request that
runs.  Whoever sent that request is then to divert its outputs: to put them into the widget's ``outputs`` and to tell
the kernel so by a comm message, which the kernel echoes to every page.  A page does so for its own requests, and can
do nothing for ours; so for ours it is done here.  All other traffic of widgets passes between kernel and pages alone.

Rules:

* The kernel takes comm messages up between requests, so updates go out when our run is over; a message that the
  kernel cannot take up yet would only pile up before it.
* ``outputs`` is replaced as a whole.  Of a widget that we have not seen being made we first ask the state.
* Everything here is untrusted and nothing raises on it.  No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .notebook.outputs import Outputs

_OUTPUT_TYPES = ("stream", "display_data", "execute_result", "error", "clear_output")

CommData = tuple[str, dict[str, Any]]
"""A comm's id and the ``data`` of a ``comm_msg`` for it."""


@dataclass(slots=True)
class _Widget:
    """One Output widget.  ``outputs`` None: not known yet; ``unmerged`` waits for them."""

    outputs: Outputs | None = None
    unmerged: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    asked: bool = False
    dirty: bool = False

    def feed(self, kind: str, content: Mapping[str, Any]) -> None:
        self.dirty = True
        if self.outputs is None:
            self.unmerged.append((kind, content))
        else:
            self.outputs.feed(kind, content)

    def start_from(self, outputs: object) -> None:
        self.outputs = _outputs_of(outputs)
        for kind, content in self.unmerged:
            self.outputs.feed(kind, content)
        self.unmerged.clear()


class OutputWidgets:
    """The Output widgets of one kernel process, as far as this agent's requests have to do with them."""

    def __init__(self) -> None:
        self._widgets: dict[str, _Widget] = {}
        self._diverted: dict[str, list[str]] = {}
        """Request id -> the widgets whose ``msg_id`` names it; the one set last gets its outputs."""

    def clear(self) -> None:
        """The kernel process is gone, and its widgets with it."""
        self._widgets.clear()
        self._diverted.clear()

    def divert(self, request: str, kind: str, content: Mapping[str, Any]) -> bool:
        """Take in an iopub message that a request of ours caused; True if it went into a widget."""
        self.note(kind, content)
        inside = self._diverted.get(request)
        if not inside or kind not in _OUTPUT_TYPES:
            return False
        self._widgets[inside[-1]].feed(kind, content)
        return True

    def note(self, kind: str, content: Mapping[str, Any], *, own: bool = False) -> None:
        """Take in any iopub message.  ``own``: it answers a comm message of ours, which we know already."""
        match kind, content:
            case "update_display_data", _:
                for widget in self._widgets.values():
                    widget.dirty |= widget.outputs is not None and widget.outputs.update_display(content)
            case "comm_open", {"comm_id": str(comm), "data": {"state": {"_model_name": "OutputModel", **state}}}:
                self._widgets[comm] = _Widget(Outputs())
                self._update(comm, state)
            case "comm_msg", {"comm_id": str(comm), "data": {"method": "update" | "echo_update", "state": {**state}}}:
                known = self._widgets.get(comm)
                if not own or (known is not None and known.outputs is None):
                    self._update(comm, state)
            case "comm_close", {"comm_id": str(comm)}:
                self._release(comm)
                self._widgets.pop(comm, None)

    def take_updates(self) -> list[CommData]:
        """What the kernel is to be told, at a time when it can take it up."""
        found: list[CommData] = []
        for comm, widget in self._widgets.items():
            if widget.outputs is None:
                if widget.dirty and not widget.asked:
                    widget.asked = True
                    found.append((comm, {"method": "request_state"}))
            elif widget.dirty:
                widget.dirty = False
                state = {"outputs": list(widget.outputs.state)}
                found.append((comm, {"method": "update", "state": state, "buffer_paths": []}))
        return found

    @property
    def waiting(self) -> bool:
        """Whether the kernel is to be told anything."""
        return any(widget.dirty for widget in self._widgets.values())

    def _update(self, comm: str, state: Mapping[Any, Any]) -> None:
        request, outputs = state.get("msg_id"), state.get("outputs")
        if isinstance(request, str):
            self._release(comm)
            if request:
                self._widgets.setdefault(comm, _Widget())
                self._diverted.setdefault(request, []).append(comm)
        if isinstance(outputs, list) and comm in self._widgets:
            self._widgets[comm].start_from(outputs)

    def _release(self, comm: str) -> None:
        for request, inside in list(self._diverted.items()):
            if comm in inside:
                inside.remove(comm)
            if not inside:
                del self._diverted[request]


def _outputs_of(outputs: object) -> Outputs:
    """A reducer that goes on from these outputs in nbformat's terms."""
    made = Outputs()
    for output in outputs if isinstance(outputs, list) else []:
        if isinstance(output, dict) and isinstance(kind := output.get("output_type"), str):
            made.feed(kind, output)
    return made
