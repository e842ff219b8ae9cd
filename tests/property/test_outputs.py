"""Whatever a kernel sends: the operations give the state, nbclient and an open JupyterLab page end up the same."""

import json
from collections.abc import Iterable
from contextlib import suppress
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete

from collab_agent.notebook.outputs import SPARE, Append, EditStream, Op, Outputs, Truncate, apply

TRANSCRIPTS = sorted((Path(__file__).parents[2] / "fixtures" / "iopub").glob("*.json"))

Message = tuple[str, dict[str, Any]]
Output = dict[str, Any]

PLAIN = st.text(st.sampled_from("ab \n字ż🐢é\x1b\x00\u2028"), max_size=8)
CONTROL = st.text(st.sampled_from("ab\n\r\b字🐢"), max_size=8)
IDS = st.sampled_from([None, "x", "y"])


def streams(text: st.SearchStrategy[str]) -> st.SearchStrategy[Message]:
    names = st.sampled_from(["stdout", "stderr"])
    return st.tuples(st.just("stream"), st.fixed_dictionaries({"name": names, "text": text}))


def bundles(msg_type: str, ids: st.SearchStrategy[str | None], **more: Any) -> st.SearchStrategy[Message]:
    """Messages whose data is one of few, so that outputs can be equal by chance."""

    def message(text: str, display_id: str | None) -> Message:
        transient = {"display_id": display_id} if display_id else {}
        content = {"data": {"text/plain": text}, "metadata": {}, "transient": transient, **more}
        return msg_type, content

    return st.builds(message, st.sampled_from(["a", "b", "🐢"]), ids)


def sequences(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[Message]]:
    error = {"ename": "E", "evalue": "🐢", "traceback": ["\x1b[31ma", "b"], "status": "error"}
    one = st.one_of(
        streams(text),
        streams(text),
        bundles("display_data", IDS),
        bundles("update_display_data", IDS),
        bundles("execute_result", st.none(), execution_count=1),
        st.just(("error", error)),
        st.just(("status", {"execution_state": "busy"})),
        st.booleans().map(lambda wait: ("clear_output", {"wait": wait})),
    )
    return st.lists(one, max_size=25)


def once_shown(messages: Iterable[Message]) -> list[Message]:
    """The messages without second displays of an id.

    nbclient lets such a one change the first display too; JupyterLab, which we follow, does not.
    """
    seen: set[str] = set()
    kept = []
    for msg_type, content in messages:
        display_id = content.get("transient", {}).get("display_id")
        if msg_type == "display_data" and display_id:
            if display_id in seen:
                continue
            seen.add(display_id)
        kept.append((msg_type, content))
    return kept


def by_nbclient(messages: Iterable[Message]) -> list[Output]:
    """The outputs that nbclient makes of the messages, before it joins streams."""
    cell = nbformat.v4.new_code_cell()
    client = NotebookClient(nbformat.v4.new_notebook(cells=[cell]), record_timing=False)
    client.clear_before_next_output = False  # as async_execute_cell does before it listens
    for msg_type, content in deepcopy(list(messages)):
        message = {"msg_type": msg_type, "header": {"msg_type": msg_type}, "content": content}
        with suppress(CellExecutionComplete):
            client.process_message({**message, "parent_header": {"msg_id": "run"}}, cell, 0)
    return [json.loads(json.dumps(output)) for output in cell.outputs]


def jupyterlab_text(text: str) -> str:
    """JupyterLab's processText on the whole text (counting characters)."""
    shown, cursor = "", 0
    for char in text:
        if char == "\n":
            shown += "\n"
            cursor = len(shown)
        elif char == "\r":
            cursor = shown.rfind("\n") + 1
        elif char == "\b":
            if cursor > 0 and shown[cursor - 1] != "\n":
                shown = shown[: cursor - 1] + shown[cursor + 1 :]
                cursor -= 1
        else:
            shown = shown[:cursor] + char + shown[cursor + 1 :]
            cursor += 1
    return shown


def joined(outputs: Iterable[Output]) -> list[Output]:
    """Neighbouring streams of one name as one, with \\r and \\b carried out."""
    result: list[Output] = []
    for output in outputs:
        last = result[-1] if result else {}
        if output["output_type"] == "stream" and output["name"] == last.get("name"):
            result[-1] = {**last, "text": last["text"] + output["text"]}
        else:
            result.append(output)
    return [{**output, "text": jupyterlab_text(output["text"])} if "text" in output else output for output in result]


class Page:
    """JupyterLab's OutputAreaModel behind ``CodeCellModel._onSharedModelChanged`` (4.6.6), one transaction a time."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self._last_stream_name = ""

    def receive(self, ops: tuple[Op, ...], before: list[Output]) -> None:
        for op in ops:
            if isinstance(op, EditStream):
                last = self.outputs[-1]
                cut = len(before[-1]["text"]) - op.keep
                last["text"] = last["text"][: len(last["text"]) - cut] + op.text
        for op in ops:
            if isinstance(op, Truncate):
                for _ in before[op.index :]:
                    del self.outputs[op.index]
        for op in ops:
            if isinstance(op, Append):
                self._add(deepcopy(op.output))

    def _add(self, output: Output) -> None:
        if output["output_type"] != "stream":
            self._last_stream_name = ""
        elif output["name"] == self._last_stream_name and self.outputs:
            self.outputs[-1]["text"] = self.outputs[-1].get("text", "glued to no stream:") + output["text"]
            return
        else:
            self._last_stream_name = output["name"]
        self.outputs.append(output)


def follow(steps: Iterable[tuple[Message, bool]]) -> None:
    """Feed the messages, flush where it says True, and compare document and page with the state each time."""
    outputs, page = Outputs(), Page()
    document: list[Output] = []
    for message, flush in [*steps, (("status", {}), True)]:
        outputs.feed(*message)
        if flush:
            ops = outputs.flush()
            page.receive(ops, document)
            changed = apply(ops, document)
            assert bool(ops) == (changed != document)
            document = changed
            assert document == list(outputs.state)
            assert page.outputs == document
            assert outputs.flush() == ()


@given(sequences(PLAIN | CONTROL), st.lists(st.booleans(), min_size=25, max_size=25))
def test_replayed_operations_equal_the_state_in_the_document_and_on_the_page(
    messages: list[Message], flushes: list[bool]
) -> None:
    follow(zip(messages, flushes, strict=False))


@given(st.lists(st.tuples(streams(st.text(st.sampled_from("ab\r\b\n"), max_size=4)), st.booleans())))
def test_operations_follow_a_line_that_is_rewritten(steps: list[tuple[Message, bool]]) -> None:
    follow(steps)


FRAME = st.lists(
    st.sampled_from(
        [
            ("stream", {"name": "stdout", "text": "a"}),
            ("stream", {"name": "stdout", "text": "b"}),
            ("stream", {"name": "stderr", "text": "a"}),
            ("display_data", {"data": {"text/plain": "a"}}),
            ("display_data", {"data": {"text/plain": "b"}}),
        ]
    ),
    max_size=4,
)


@given(st.lists(st.tuples(FRAME, st.booleans()), max_size=4))
def test_operations_follow_an_animation(frames: list[tuple[list[Message], bool]]) -> None:
    steps: list[tuple[Message, bool]] = []
    for frame, wait in frames:
        steps += [(("clear_output", {"wait": wait}), False), *((message, False) for message in frame)]
        steps.append((("status", {}), True))
    follow(steps)


@given(sequences(PLAIN), st.lists(st.booleans(), min_size=25, max_size=25))
def test_an_edit_comes_first_and_excludes_a_truncation(messages: list[Message], flushes: list[bool]) -> None:
    outputs = Outputs()
    for message, flush in zip(messages, flushes, strict=False):
        outputs.feed(*message)
        if flush:
            assert all(isinstance(op, Append) for op in outputs.flush()[1:])


@given(sequences(PLAIN | CONTROL))
def test_flushing_in_between_changes_nothing(messages: list[Message]) -> None:
    often, never = Outputs(), Outputs()
    for message in messages:
        often.feed(*message)
        often.flush()
        never.feed(*message)
    assert often.state == never.state
    assert apply(never.flush(), []) == list(never.state)


@given(sequences(PLAIN | CONTROL).map(once_shown))
def test_nbclient_makes_the_same_of_any_messages(messages: list[Message]) -> None:
    outputs = Outputs()
    for message in messages:
        outputs.feed(*message)
    assert list(outputs.state) == joined(by_nbclient(messages))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
def test_nbclient_makes_the_same_of_a_recorded_run(transcript: Path) -> None:
    recorded = [(m["msg_type"], m["content"]) for m in json.loads(transcript.read_text())["messages"]]
    outputs = Outputs()
    document: list[Output] = []
    for message in recorded:
        outputs.feed(*message)
        document = apply(outputs.flush(), document)
    assert document == list(outputs.state) == joined(by_nbclient(recorded))


@given(st.lists(CONTROL, max_size=8))
def test_where_messages_are_cut_makes_no_difference(pieces: list[str]) -> None:
    outputs = Outputs()
    for piece in pieces:
        outputs.feed("stream", {"name": "stdout", "text": piece})
    assert "".join(output["text"] for output in outputs.state) == jupyterlab_text("".join(pieces))


@given(sequences(PLAIN | CONTROL), st.integers(0, 20))
def test_streams_stay_within_the_cap(messages: list[Message], cap: int) -> None:
    outputs = Outputs(max_stream_chars=cap)
    notice = f"[output cut by collab-agent at {cap} characters]\n"
    for message in messages:
        outputs.feed(*message)
    texts = [output["text"] for output in outputs.state if output["output_type"] == "stream"]
    notices = sum(text.count(notice) for text in texts)
    assert notices == int(outputs.truncated)
    assert sum(map(len, texts)) <= cap + notices * (len(notice) + 1)


@given(sequences(PLAIN | CONTROL), st.integers(0, 4), st.integers(0, 200))
def test_with_any_caps_operations_lead_to_the_state_without_twin_neighbours(
    messages: list[Message], most: int, chars: int
) -> None:
    outputs, document = Outputs(max_outputs=most, max_shown_chars=chars), list[Output]()
    for message in messages:
        outputs.feed(*message)
        document = apply(outputs.flush(), document)
    assert document == list(outputs.state)
    names = [output.get("name") for output in document]
    assert all(a != b or a is None for a, b in pairwise(names))
    assert len(document) <= most + SPARE


@given(sequences(PLAIN | CONTROL))
def test_the_state_is_valid_nbformat_without_twin_neighbours(messages: list[Message]) -> None:
    outputs = Outputs()
    for message in messages:
        outputs.feed(*message)
    names = [output.get("name") for output in outputs.state]
    assert all(a != b or a is None for a, b in pairwise(names))
    cell = nbformat.v4.new_code_cell("", outputs=[nbformat.from_dict(output) for output in outputs.state])
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))
