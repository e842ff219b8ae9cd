"""Options that endanger notebooks: found where they are set, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.doctor.options import Option, config_files_on, in_file, on_command_line
from collab_agent.doctor.process import ServerProcess, config_files, process_of

TTL = "document_ttl"


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("c.SQLiteYStore.document_ttl = 3600", [(TTL, "3600", True)]),
        ("# c.SQLiteYStore.document_ttl = 3600", []),
        ("c.SQLiteYStore.document_ttl = None", [(TTL, "None", False)]),
        ("x = 1\nc.MyStore.squash_after_inactivity_of=60", [("squash_after_inactivity_of", "60", True)]),
        ("c.SQLiteYStore.document_ttl = 60 * 60", [(TTL, "an expression", True)]),
        ("c.YDocExtension.document_load_progressively = True", [("document_load_progressively", "True", True)]),
        ("c.YDocExtension.document_load_progressively = False", [("document_load_progressively", "False", False)]),
        ("'c.SQLiteYStore.document_ttl = 3600'", []),
        ("c.SQLiteYStore.document_ttl = ", []),
        ("", []),
    ],
)
def test_only_options_that_a_python_file_sets_count(config: str, options: list[tuple[str, str, bool]]) -> None:
    assert [(o.name, o.value, o.judged) for o in in_file(config, is_json=False)] == options


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ('{"SQLiteYStore": {"document_ttl": 60}}', [(TTL, True)]),
        ('{"SQLiteYStore": {"document_ttl": null}}', [(TTL, False)]),
        ('{"YDocExtension": {"document_load_progressively": true}}', [("document_load_progressively", True)]),
        ('{"document_ttl": 60}', []),
        ("[1]", []),
        ("{", []),
    ],
)
def test_only_options_that_a_json_file_sets_count(config: str, options: list[tuple[str, bool]]) -> None:
    assert [(o.name, o.judged) for o in in_file(config, is_json=True)] == options


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--SQLiteYStore.document_ttl=60"], {"--SQLiteYStore.document_ttl=60": Option(TTL, "60")}),
        (["--SQLiteYStore.document_ttl", "60"], {"--SQLiteYStore.document_ttl 60": Option(TTL, "60")}),
        (
            ["--SQLiteYStore.document_ttl=60", "--SQLiteYStore.document_ttl=None"],
            {"--SQLiteYStore.document_ttl=None": Option(TTL, "None")},
        ),
        (["document_ttl=60", "/data/x.document_ttl"], {}),
        (["--SQLiteYStore.document_ttl"], {"--SQLiteYStore.document_ttl": Option(TTL, "")}),
    ],
)
def test_the_command_line_is_read_as_the_server_reads_it(words: list[str], found: dict[str, Option]) -> None:
    assert on_command_line(["python", "-m", "jupyterlab", *words]) == found


def test_configuration_files_that_the_command_line_names_are_read() -> None:
    argv = ["jupyter-lab", "--config=a.py", "--JupyterApp.config_file", "b.json", "-f", "c.py", "--config"]
    assert config_files_on(argv) == ["a.py", "b.json", "c.py"]


@given(st.lists(st.text(max_size=40), max_size=5), st.text(max_size=200), st.booleans())
def test_nothing_in_them_makes_the_doctor_fail(argv: list[str], text: str, is_json: bool) -> None:
    on_command_line(argv)
    config_files_on(argv)
    in_file(text, is_json=is_json)


def test_a_servers_own_folders_are_searched_and_not_ours(tmp_path: Path) -> None:
    (tmp_path / "jupyter_server_config.d").mkdir()
    files = [
        tmp_path / "jupyter_server_config.py",
        tmp_path / "jupyter_server_config.d" / "a.json",
        tmp_path / "own.py",
    ]
    for file in files:
        file.write_text("")
    process = ServerProcess(("/no/such/python",), {"HOME": "/nowhere", "JUPYTER_CONFIG_DIR": str(tmp_path)}, tmp_path)
    assert process.python is None
    assert config_files(process, ["own.py"]) == files


def test_a_process_that_is_not_there_tells_nothing() -> None:
    assert process_of(2**22 + 1) is None
