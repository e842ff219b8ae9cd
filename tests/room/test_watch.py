"""When a room is asked, joined afresh, or called mute; with a clock of the test's own."""

from __future__ import annotations

from collab_agent.config import Limits
from collab_agent.room.watch import Verdict, Watch

LIMITS = Limits(echo_s=1, ack_s=5, probe_s=10, mute_s=2)


def test_a_quiet_room_is_asked_now_and_then() -> None:
    watch = Watch(LIMITS, 0)
    assert watch.due(0) == 10
    assert watch.verdict(9.9) is None
    assert watch.verdict(10) is Verdict.ASK
    watch.asked(10)
    assert watch.verdict(10) is None
    watch.answered(10.1, news=False)
    assert watch.due(10.1) == 20.1
    assert watch.verdict(20) is None


def test_a_room_in_which_somebody_works_is_not_asked() -> None:
    watch = Watch(LIMITS, 0)
    for second in range(100):
        assert watch.verdict(second) is None
        watch.updated(second)


def test_an_update_of_ours_without_its_echo_is_asked_for() -> None:
    watch = Watch(LIMITS, 0)
    watch.wrote(1, 3, echoed=True)
    assert watch.due(3) == 4
    assert watch.verdict(3.9) is None
    assert watch.verdict(4) is Verdict.ASK


def test_its_echo_is_enough() -> None:
    watch = Watch(LIMITS, 0)
    watch.wrote(1, 3, echoed=True)
    watch.updated(3.1)
    watch.acknowledged(1, 3.1, by_answer=False)
    assert watch.verdict(4) is None
    assert watch.due(4) == 13.1


def test_a_question_without_an_answer_is_the_end_of_the_connection() -> None:
    watch = Watch(LIMITS, 0)
    watch.asked(1)
    watch.asked(4)
    watch.updated(5)  # what others do is no answer
    assert watch.verdict(5.9) is None
    assert watch.due(5.9) == 6
    assert watch.verdict(6) is Verdict.REJOIN
    watch.answered(6, news=False)
    assert watch.verdict(6) is None
    assert watch.verdict(9) is Verdict.REJOIN


def test_a_room_is_mute_where_an_answer_brings_what_no_update_does() -> None:
    watch = Watch(LIMITS, 0)
    watch.asked(10)
    watch.answered(10, news=True)
    assert watch.due(10) == 12
    assert watch.verdict(11.9) is None
    assert watch.verdict(12) is Verdict.MUTE
    assert watch.verdict(12) is None, "told once"


def test_an_answer_may_overtake_an_update() -> None:
    watch = Watch(LIMITS, 0)
    watch.asked(10)
    watch.answered(10, news=True)
    watch.updated(10.1)
    assert watch.verdict(12) is None


def test_a_room_that_answers_but_does_not_echo_what_was_inserted_is_mute() -> None:
    for echoed in (True, False):
        watch = Watch(LIMITS, 0)
        watch.wrote(1, 3, echoed=echoed)
        watch.asked(4)
        watch.answered(4.1, news=False)
        watch.acknowledged(1, 4.1, by_answer=True)
        assert watch.verdict(6.1) is (Verdict.MUTE if echoed else None), "what only deletes may have no echo"
