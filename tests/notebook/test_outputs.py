"""Outputs, case by case; ``fixtures`` holds what a real kernel sent and what real JupyterLab makes of \\r and \\b."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from collab_agent.notebook.outputs import Append, EditStream, Op, Outputs, Truncate, apply

FIXTURES = Path(__file__).parents[2] / "fixtures"
TRANSCRIPTS = sorted((FIXTURES / "iopub").glob("*.json"))
JUPYTERLAB_TEXT: list[tuple[list[str], str]] = json.loads((FIXTURES / "jupyterlab_text.json").read_text())["cases"]

Message = tuple[str, dict[str, Any]]


def out(text: str, name: str = "stdout") -> Message:
    return "stream", {"name": name, "text": text}


def err(text: str) -> Message:
    return out(text, "stderr")


def display(text: str, display_id: str | None = None, msg_type: str = "display_data") -> Message:
    transient = {} if display_id is None else {"display_id": display_id}
    return msg_type, {"data": {"text/plain": text}, "metadata": {}, "transient": transient}


def update(text: str, display_id: str) -> Message:
    return display(text, display_id, "update_display_data")


def clear(wait: bool = False) -> Message:
    return "clear_output", {"wait": wait}


def stream_of(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def shown(text: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}


def fed(*messages: Message, **options: Any) -> Outputs:
    outputs = Outputs(**options)
    for message in messages:
        outputs.feed(*message)
    return outputs


def then(outputs: Outputs, *messages: Message) -> tuple[Op, ...]:
    """What a flush gives for ``messages``, after everything before was flushed."""
    outputs.flush()
    for message in messages:
        outputs.feed(*message)
    return outputs.flush()


def text_of(*pieces: str) -> str:
    (stream,) = fed(*map(out, pieces)).state
    text = stream["text"]
    assert isinstance(text, str)
    return text


def replay(transcript: Path) -> tuple[dict[str, Any], ...]:
    messages = json.loads(transcript.read_text())["messages"]
    return fed(*((message["msg_type"], message["content"]) for message in messages)).state


class TestMessages:
    def test_streams_of_one_name_are_one_output(self) -> None:
        assert fed(out("a\n"), out("b"), err("c"), out("d")).state == (
            stream_of("a\nb"),
            stream_of("c", "stderr"),
            stream_of("d"),
        )

    def test_a_stream_text_may_be_a_list(self) -> None:
        assert fed(("stream", {"name": "stdout", "text": ["a\n", "b"]})).state == (stream_of("a\nb"),)

    def test_a_display_keeps_no_transient(self) -> None:
        assert fed(display("x", "id")).state == (shown("x"),)

    def test_a_result_carries_its_execution_count(self) -> None:
        content = {"data": {"text/plain": "1"}, "metadata": {"a": 1}, "execution_count": 7, "extra": 0}
        assert fed(("execute_result", content)).state == (
            {
                "output_type": "execute_result",
                "data": {"text/plain": "1"},
                "metadata": {"a": 1},
                "execution_count": 7,
            },
        )

    def test_an_error_keeps_name_value_and_traceback_only(self) -> None:
        content = {"ename": "E", "evalue": "v", "traceback": ["\x1b[31ma", "b"], "execution_count": 3}
        assert fed(("error", content)).state == (
            {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31ma", "b"]},
        )

    @pytest.mark.parametrize("msg_type", ["status", "execute_input", "comm_msg", "debug_event", "nonsense"])
    def test_anything_else_is_ignored(self, msg_type: str) -> None:
        outputs = fed(clear(wait=True), (msg_type, {"execution_state": "busy", "data": {}}))
        assert outputs.state == ()
        assert outputs.flush() == ()

    def test_missing_fields_give_valid_outputs(self) -> None:
        assert fed(("display_data", {"transient": None}), ("error", {})).state == (
            {"output_type": "display_data", "data": {}, "metadata": {}},
            {"output_type": "error", "ename": "", "evalue": "", "traceback": []},
        )

    def test_nothing_is_shared_with_the_message(self) -> None:
        content: dict[str, Any] = {"data": {"application/json": {"a": [1]}}, "metadata": {}}
        outputs = fed(("display_data", content))
        content["data"]["application/json"]["a"].append(2)
        (op,) = outputs.flush()
        assert isinstance(op, Append)
        op.output["data"]["application/json"]["a"].append(3)
        outputs.state[0]["data"].clear()
        assert outputs.state[0]["data"] == {"application/json": {"a": [1]}}

    def test_lone_surrogates_are_replaced(self) -> None:
        # no UTF-8 form: the document could not hold them
        assert text_of("a\ud83db") == "a\ufffdb"
        assert text_of("\ud83d\udc22") == "🐢"
        assert fed(("display_data", {"data": {"\udc22": ["\ud83d"]}})).state[0]["data"] == {"\ufffd": ["\ufffd"]}


class TestClearing:
    def test_clear_now(self) -> None:
        assert fed(out("a"), clear()).state == ()

    def test_clear_waits_for_the_next_output(self) -> None:
        outputs = fed(out("a"), clear(wait=True))
        assert outputs.state == (stream_of("a"),)
        outputs.feed(*display("b"))
        assert outputs.state == (shown("b"),)

    def test_a_waiting_clear_is_used_once(self) -> None:
        assert fed(clear(wait=True), out("a"), err("b")).state == (stream_of("a"), stream_of("b", "stderr"))

    def test_an_update_of_a_display_does_not_end_the_wait(self) -> None:
        outputs = fed(display("a", "x"), clear(wait=True), update("b", "x"))
        assert outputs.state == (shown("b"),)
        outputs.feed(*out("c"))
        assert outputs.state == (stream_of("c"),)


class TestDisplayIds:
    def test_an_update_changes_what_was_shown(self) -> None:
        outputs = fed(display("a", "x"), out("between"))
        assert outputs.update_display(update("b", "x")[1]) is True
        assert outputs.state == (shown("b"), stream_of("between"))

    def test_an_update_of_an_unknown_id_changes_nothing(self) -> None:
        outputs = fed(display("a", "x"))
        assert outputs.update_display(update("b", "y")[1]) is False
        assert outputs.update_display({"data": {}}) is False
        assert outputs.state == (shown("a"),)

    def test_an_updated_result_stays_a_result(self) -> None:
        result = {**display("a", "x")[1], "execution_count": 2}
        (output,) = fed(("execute_result", result), update("b", "x")).state
        assert (output["output_type"], output["execution_count"]) == ("execute_result", 2)
        assert output["data"] == {"text/plain": "b"}

    def test_showing_an_id_again_leaves_the_first_as_jupyterlab_does(self) -> None:
        outputs = fed(display("a", "x"), display("b", "x"))
        assert outputs.state == (shown("a"), shown("b"))
        outputs.feed(*update("c", "x"))
        assert outputs.state == (shown("c"), shown("c"))

    def test_clearing_forgets_ids(self) -> None:
        outputs = fed(display("a", "x"))
        assert outputs.has_display("x")
        outputs.feed(*clear())
        assert not outputs.has_display("x")
        assert not outputs.update_display(update("b", "x")[1])


class TestControlCharacters:
    @pytest.mark.parametrize(
        ("pieces", "text"),
        [
            (["abc\rx"], "xbc"),
            (["abc\r"], "abc"),
            (["abc\r", "\ndef"], "abc\ndef"),
            (["abc\r\r\ndef"], "abc\ndef"),
            (["abc\r", "de"], "dec"),
            (["abc\r", "de", "f\n", "g"], "def\ng"),
            (["one\ntwo\r", "T"], "one\nTwo"),
            (["ab\r\n", "c"], "ab\nc"),
            (["ab\rX\nc"], "Xb\nc"),
            (["ab\b", "c"], "ac"),
            (["a\n\b\bb"], "a\nb"),
            (["漢字🐢\r🐢"], "🐢字🐢"),
        ],
    )
    def test_they_move_a_cursor_in_the_last_line(self, pieces: list[str], text: str) -> None:
        assert text_of(*pieces) == text

    @pytest.mark.parametrize(("pieces", "text"), JUPYTERLAB_TEXT)
    def test_the_text_is_jupyterlabs(self, pieces: list[str], text: str) -> None:
        assert text_of(*pieces) == text

    def test_ansi_escapes_stay(self) -> None:
        assert text_of("\x1b[31mred\x1b[0m\x1b[2K") == "\x1b[31mred\x1b[0m\x1b[2K"


class TestFlush:
    def test_nothing_new_is_no_operation(self) -> None:
        outputs = fed(out("a"), display("b"), out("c"))
        assert then(outputs) == ()

    def test_a_longer_stream_is_an_appended_text(self) -> None:
        assert then(fed(out("one\n")), out("two\n"), out("three")) == (EditStream(4, "two\nthree"),)

    def test_a_progress_bar_changes_its_line_from_the_first_difference_on(self) -> None:
        assert then(fed(out("log\n 10%|#   |")), out("\r 20%|##  |")) == (EditStream(5, "20%|##  |"),)

    def test_a_line_rewritten_as_it_was_is_no_operation(self) -> None:
        assert then(fed(out("a\nsame")), out("\rsa"), out("me")) == ()

    def test_a_line_rewritten_in_two_steps_is_compared_with_what_was_flushed(self) -> None:
        assert then(fed(out("abcd")), out("\rx"), out("y")) == (EditStream(0, "xycd"),)

    def test_a_backspace_keeps_less(self) -> None:
        assert then(fed(out("abc")), out("\b\b")) == (EditStream(1, ""),)

    def test_positions_count_characters(self) -> None:
        assert then(fed(out("🐢漢\n")), out("x")) == (EditStream(3, "x"),)

    def test_a_stream_grows_before_other_outputs_are_appended(self) -> None:
        assert then(fed(out("a")), out("b"), display("c"), out("d")) == (
            EditStream(1, "b"),
            Append(shown("c")),
            Append(stream_of("d")),
        )

    def test_an_update_rewrites_from_there_on(self) -> None:
        outputs = fed(out("a"), display("b", "x"), out("c"), err("d"))
        assert then(outputs, update("B", "x"), err("e")) == (
            Truncate(1),
            Append(shown("B")),
            Append(stream_of("c")),
            Append(stream_of("de", "stderr")),
        )
        assert then(outputs, err("f")) == (EditStream(2, "f"),)

    def test_an_update_that_changes_nothing_is_no_operation(self) -> None:
        assert then(fed(display("b", "x"), out("c")), update("b", "x")) == ()

    def test_an_animation_rewrites_its_stream_in_place(self) -> None:
        outputs = fed(out("step 1\n"))
        assert then(outputs, clear(wait=True), out("step 2\n")) == (EditStream(5, "2\n"),)
        assert then(outputs, clear(), out("step 2\n")) == ()
        assert then(outputs, out("more")) == (EditStream(7, "more"),)
        assert then(outputs, clear()) == (Truncate(0),)

    def test_a_stream_is_never_the_first_thing_after_what_a_truncation_leaves(self) -> None:
        # the page would glue the new stdout to the display: the last output that it added was named so
        outputs = fed(display("a"), out("b"), display("c"), out("d"))
        assert then(outputs, clear(), display("a"), out("B")) == (
            Truncate(0),
            Append(shown("a")),
            Append(stream_of("B")),
        )
        assert then(outputs, clear(), display("a")) == (Truncate(0), Append(shown("a")))

    def test_applying_operations_leaves_the_old_outputs_alone(self) -> None:
        before = [shown("a"), stream_of("b")]
        assert apply([EditStream(0, "c")], before) == [shown("a"), stream_of("c")]
        assert apply([Truncate(0), Append(shown("d"))], before) == [shown("d")]
        assert before == [shown("a"), stream_of("b")]


class TestSizeCap:
    NOTICE = "[output cut by collab-agent at 10 characters]\n"

    def test_what_fits_exactly_is_not_cut(self) -> None:
        outputs = fed(out("12345"), out("67890"), max_stream_chars=10)
        assert not outputs.truncated
        assert outputs.state == (stream_of("1234567890"),)

    def test_more_is_dropped_and_the_last_line_says_so(self) -> None:
        outputs = fed(out("123\n"), out("4567890"), out("x"), err("y"), max_stream_chars=10)
        assert outputs.truncated
        assert outputs.state == (stream_of("123\n456789\n" + self.NOTICE),)

    def test_the_cap_counts_all_streams_together(self) -> None:
        outputs = fed(out("12345"), err("67890"), out("x"), max_stream_chars=10)
        assert outputs.state == (
            stream_of("12345"),
            stream_of("67890", "stderr"),
            stream_of(self.NOTICE),
        )

    def test_what_is_overwritten_does_not_count(self) -> None:
        outputs = fed(*(out(f"\r{i:8d}") for i in range(100)), out("\b" * 8 + "\r" * 99), max_stream_chars=10)
        assert not outputs.truncated

    def test_other_outputs_still_come(self) -> None:
        outputs = fed(out("x" * 11), ("error", {"ename": "E"}), out("y"), max_stream_chars=10)
        assert [output["output_type"] for output in outputs.state] == ["stream", "error"]

    def test_clearing_makes_room(self) -> None:
        outputs = fed(out("x" * 11), clear(wait=True), out("y"), max_stream_chars=10)
        assert not outputs.truncated
        assert outputs.state == (stream_of("y"),)

    def test_the_notice_follows_a_waiting_carriage_return(self) -> None:
        outputs = fed(out("123456789\r\n"), out("x"), max_stream_chars=10)
        assert outputs.state == (stream_of("123456789\n" + self.NOTICE),)


class TestCapOfWhatIsShown:
    def test_more_than_so_many_are_dropped_and_a_line_says_so_once(self) -> None:
        outputs = fed(*(display(str(number)) for number in range(5)), out("done\n"), max_outputs=3)
        notice = "[outputs cut by collab-agent at 3 outputs]\n"
        assert outputs.state == (*(shown(str(number)) for number in range(3)), stream_of(notice + "done\n"))

    def test_streams_that_take_turns_are_so_many_outputs_too(self) -> None:
        outputs = fed(*(each for _ in range(50) for each in (out("o\n"), err("e\n"))), max_outputs=3)
        notice = "[outputs cut by collab-agent at 3 outputs]\n"
        assert [output["text"] for output in outputs.state] == ["o\n", "e\n", "o\n" + notice + "o\n" * 48]

    def test_how_it_ended_still_comes(self) -> None:
        outputs = fed(*(display("x") for _ in range(5)), ("error", {"ename": "E"}), max_outputs=3)
        assert outputs.state[-1]["output_type"] == "error"

    def test_all_that_is_shown_counts_by_its_size(self) -> None:
        outputs = fed(display("x" * 60), display("y" * 60), display("z"), max_shown_chars=200)
        notice = "[outputs cut by collab-agent at 200 characters]\n"
        assert outputs.state == (shown("x" * 60), stream_of(notice), shown("z"))

    def test_an_update_that_grows_too_large_is_dropped(self) -> None:
        outputs = fed(display("b", "x"), update("c" * 200, "x"), update("d", "x"), max_shown_chars=150)
        notice = "[outputs cut by collab-agent at 150 characters]\n"
        assert outputs.state == (shown("d"), stream_of(notice))

    def test_clearing_makes_room(self) -> None:
        outputs = fed(*(display("x" * 60) for _ in range(9)), clear(), display("y" * 60), max_shown_chars=150)
        assert outputs.state == (shown("y" * 60),)


class TestCost:
    def test_a_flush_carries_the_new_text_only(self) -> None:
        outputs = fed(out("the first line\n"))
        outputs.flush()
        end = len("the first line\n")
        for number in range(10_000):
            line = f"line {number}\n"
            outputs.feed(*out(line))
            assert outputs.flush() == (EditStream(end, line),)
            end += len(line)


class TestTranscripts:
    @pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
    def test_the_outputs_of_a_real_run_are_valid_nbformat(self, transcript: Path) -> None:
        outputs = replay(transcript)
        assert outputs
        cell = nbformat.v4.new_code_cell("", outputs=[nbformat.from_dict(output) for output in outputs])
        nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))

    def test_a_progress_bar_ends_as_one_line(self) -> None:
        bar, after, newline = replay(FIXTURES / "iopub" / "progress_bar.json")
        assert bar["text"] == f"100%|{'█' * 20}| 100/100 [00:05<00:00]"
        assert after["text"] == "two\nthree\nFx"
        assert newline["text"] == "\n"

    def test_an_animation_ends_with_its_last_frame(self) -> None:
        assert replay(FIXTURES / "iopub" / "cleared.json") == (
            stream_of("step 4\n"),
            shown("{'step': 4}"),
            shown("'changed before it is cleared'"),
        )

    def test_output_after_idle_is_taken(self) -> None:
        outputs = replay(FIXTURES / "iopub" / "late_threads.json")
        assert outputs[-1] == stream_of("after idle\n")
