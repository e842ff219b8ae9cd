"""Everything that can go wrong, as one tree.

    CollabAgentError(message, hint)
      TargetError     CellNotFound, AmbiguousCell, NotACodeCell
      EditError       CellNotSeen, TextNotFound, EditConflict, CellInUse, InvalidEdit
      RoomError       NotebookNotFound, NotebookUnreadable, RoomClosed, SyncTimeout, SaveFailed,
                      LocalProtocolError, RemoteProtocolError
      KernelError     NoKernel, CellBusy, KernelDied, KernelSilent
      ServerError     Unauthorized, Unreachable, ServerStopped, CollaborationMissing, ServerRefused
      ConfigError     (the command line or the environment; nothing was contacted)

``message`` says what failed and what state things are in; ``hint`` is the next call or command to try.
Whose fault it was is in the type: a ``TargetError`` or an ``EditError`` is the caller's and nothing was
written; a ``RoomError`` or a ``ServerError`` is the other side's or the network's.  A ``LocalProtocolError``
is a bug of ours.
"""

from __future__ import annotations

from typing import Self


class CollabAgentError(Exception):
    """Base of every error that this package raises on purpose.

    ``message``: what failed and what state things are in.  ``hint``: what to do next; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigError(CollabAgentError):
    """The command line or the environment asks for something that cannot be."""


class TargetError(CollabAgentError):
    """A reference does not lead to a cell that the call can work on."""


class CellNotFound(TargetError):
    """No cell answers to this reference."""


class AmbiguousCell(TargetError):
    """More than one cell answers to this reference."""


class NotACodeCell(TargetError):
    """The cell exists but cannot be run."""


class EditError(CollabAgentError):
    """An edit was refused; nothing of the call was written."""


class InvalidEdit(EditError):
    """The edit itself makes no sense: an unknown op, a missing or a superfluous field."""


class CellNotSeen(EditError):
    """The edit would overwrite text that this agent was never shown."""


class TextNotFound(EditError):
    """``old`` does not occur exactly once."""


class EditConflict(EditError):
    """The edit touches what somebody else changed since this agent was shown the cell."""


class CellInUse(EditError):
    """The edit would rebuild a cell that somebody works in, or change a line that somebody is typing on."""


class NotAllowed(CollabAgentError):
    """Whoever started this agent has forbidden it."""


class RoomError(CollabAgentError):
    """The collaboration room cannot be joined, or was lost."""


class NotebookNotFound(RoomError):
    """The server has no such notebook."""


class NotebookElsewhere(RoomError):
    """Another server of this user has the same file open."""


class NotebookUnreadable(RoomError):
    """The file is there, but it is no notebook."""


class RoomClosed(RoomError):
    """The connection to the room is away; nothing was written."""

    @classmethod
    def because(cls, failure: CollabAgentError | None) -> Self:
        """What a call is told while it is away; where only a human can mend that, what they have to do."""
        why = f" {failure.message}" if failure is not None else ""
        lasting = failure.hint if isinstance(failure, Unauthorized | ServerStopped) else ""
        return cls(
            f"The connection to the notebook's room is away.{why} Nothing was written.",
            lasting or "It is being restored: call again in a few seconds.",
        )


class SyncTimeout(RoomError):
    """The room did not answer in time."""


class SaveFailed(RoomError):
    """The file on disk could not be shown to hold what the room holds."""


class ProtocolError(RoomError):
    """A frame breaks the y-protocols."""


class LocalProtocolError(ProtocolError):
    """We were about to break the protocol: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the protocol."""


class KernelError(CollabAgentError):
    """Code cannot be run."""


class NoKernel(KernelError):
    """There is no kernel, or none of that name."""


class CellBusy(KernelError):
    """The cell is being run by somebody else."""


class KernelDied(KernelError):
    """The kernel went away; its variables are gone."""


class KernelSilent(KernelError):
    """The kernel, or the server in between, does not answer; it may do so later."""


class ServerError(CollabAgentError):
    """The Jupyter server refuses or does not answer."""


class Unauthorized(ServerError):
    """The token is missing or wrong."""


class Unreachable(ServerError):
    """Nothing answers at the server's address."""


class ServerStopped(Unreachable):
    """A JupyterHub has stopped the server, or never started it; a human starts it there."""


class CollaborationMissing(ServerError):
    """The server runs without jupyter-collaboration."""


class ServerRefused(ServerError):
    """The server answered with an error of its own."""


def sole_cause(exc: BaseException) -> BaseException:
    """The one exception inside nested groups of one: task groups wrap what a caller should see as it was."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc
