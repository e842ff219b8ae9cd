"""One run of one cell, or of code aside: what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .notebook.model import OutputView
from .notebook.outputs import Outputs

if TYPE_CHECKING:
    from .kernel.execution import Execution

RunState = Literal["queued", "running", "ok", "error", "aborted", "died"]


@dataclass(eq=False)
class Run:
    """One run of one cell, or of code aside (``cell`` None).  Times in seconds of the event loop's clock."""

    id: str
    cell: str | None
    code: str | None = None
    expressions: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    """Whether the kernel shows no value of it: what is wanted of it is asked by ``expressions``."""
    state: RunState = "queued"
    count: int | None = None
    started: float | None = None
    ended: float | None = None
    waits_for: str = ""
    """Who runs code at the moment, while this run is queued behind it."""
    prompt: str | None = None
    """What the kernel's ``input()`` asks; None where it asks nothing."""
    notes: list[str] = field(default_factory=list)
    source: str = ""
    """The code as it was sent."""
    outputs: Outputs = field(default_factory=Outputs)
    captured: Outputs = field(default_factory=Outputs)
    """What went into Output widgets instead of the cell."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """The reply's ``user_expressions``."""
    execution: Execution | None = None
    written_version: int = -1
    unwritten: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    """Output messages since the last writing."""
    taken_over: bool = False
    call: str = ""
    """The call that asked for it, as the audit log names it."""
    told_silence: bool = False
    """Whether a caller was told that nothing is heard of it."""

    def note(self, text: str) -> None:
        """Say this of it, once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state not in ("queued", "running")

    def seconds(self, now: float) -> float:
        """How long it ran, or has been running."""
        return 0.0 if self.started is None else (self.ended or now) - self.started

    def output_views(self) -> tuple[OutputView, ...]:
        """Its outputs so far; those in widgets come last."""
        return tuple(output_view(output) for output in (*self.outputs.state, *self.captured.state))


def output_view(output: Mapping[str, Any]) -> OutputView:
    """An nbformat output as a view."""
    return OutputView(
        kind=str(output.get("output_type", "")),
        name=str(output.get("name", "")),
        text=str(output.get("text", "")),
        data=output.get("data", {}),
        metadata=output.get("metadata", {}),
        execution_count=output.get("execution_count"),
        ename=str(output.get("ename", "")),
        evalue=str(output.get("evalue", "")),
        traceback=tuple(output.get("traceback", ())),
    )
