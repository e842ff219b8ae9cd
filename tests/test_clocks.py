"""How soon each watchdog fires with the usual clocks: arithmetic, held against what is promised."""

from __future__ import annotations

from dataclasses import fields

import pytest

from collab_agent.config import Limits
from collab_agent.room.provider import LEAVE_S
from collab_agent.websocket import CLOSE_S

NOW = Limits()
TEN, FIFTEEN = 10.0, 15.0


@pytest.mark.parametrize(
    ("what", "seconds", "bound"),
    [
        ("a half-open socket is noticed and closed", NOW.ping_s + NOW.pong_s + CLOSE_S, FIFTEEN),
        ("an own update without an echo is asked for", NOW.echo_s, 2.0),
        ("an edit that the room does not confirm", NOW.echo_s + NOW.ack_s, TEN),
        ("a room that answers nothing, while nobody edits", NOW.probe_s + NOW.ack_s, TEN),
        ("the connection to it is parted with", NOW.echo_s + NOW.ack_s + LEAVE_S + CLOSE_S, TEN),
        ("a room that passes nothing on is known to be mute", NOW.probe_s + NOW.mute_s, TEN),
        ("a request to a server that hangs", NOW.rest_s, TEN),
        ("a websocket to a server that hangs", NOW.open_s, TEN),
        ("a room that is joined and says nothing", NOW.join_s, TEN),
        ("a save that is not answered", NOW.save_s, TEN),
        ("a kernel whose channels do not open", NOW.kernel_open_s, TEN),
        ("a kernel that was replaced in silence", NOW.kernel_watch_s + NOW.rest_s, TEN),
        ("a kernel that was stopped", NOW.kernel_quiet_s + NOW.kernel_alive_s + 2 * NOW.kernel_watch_s, TEN),
    ],
)
def test_it_is_noticed_in_good_time(what: str, seconds: float, bound: float) -> None:
    assert seconds <= bound, what


def test_every_clock_can_be_made_short() -> None:
    """A limit that is a time ends in ``_s``; tests set it."""
    assert {field.name for field in fields(Limits) if field.type == "float" and not field.name.endswith("_s")} == set()
