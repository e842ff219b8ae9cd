"""The command line: argv and environment in, settings out; errors in a line, and never a token."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from collab_agent.cli import main, parser, settings_of
from collab_agent.config import Server
from collab_agent.errors import ConfigError

TOKEN = "very-secret-token"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTER_URL", raising=False)
    monkeypatch.delenv("JUPYTER_TOKEN", raising=False)


def test_nothing_configured_means_discovery() -> None:
    settings = settings_of(parser().parse_args([]))
    assert settings.server is None
    assert settings.name is None
    assert settings.embedded
    assert settings.trust_outputs
    assert not settings.mark_cells


def test_the_environment_names_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_URL", "http://localhost:8888/lab")
    monkeypatch.setenv("JUPYTER_TOKEN", TOKEN)
    assert settings_of(parser().parse_args([])).server == Server("http://localhost:8888/", TOKEN)


def test_options_win_and_may_stand_on_either_side_of_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JUPYTER_URL", "http://localhost:1/")
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    options = ["--url", "http://localhost:2/", "--token-file", str(secret), "--name", "Helper", "--no-embedded"]
    options += ["--no-trust-outputs", "--mark-cells"]
    for argv in ([*options, "serve"], ["serve", *options], options):
        settings = settings_of(parser().parse_args(argv))
        assert settings.server == Server("http://localhost:2/", TOKEN)
        assert settings.name == "Helper"
        assert not settings.embedded
        assert not settings.trust_outputs
        assert settings.mark_cells


def test_the_environments_token_goes_to_no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_TOKEN", TOKEN)
    assert settings_of(parser().parse_args(["--url", "http://localhost:2/"])).server == Server(
        "http://localhost:2/", TOKEN
    )
    monkeypatch.setenv("JUPYTER_URL", "http://localhost:1/")
    assert settings_of(parser().parse_args(["--url", "http://localhost:2/"])).server == Server(
        "http://localhost:2/", ""
    )


def test_no_option_takes_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--token", TOKEN], ["serve", "--token", TOKEN], ["doctor", "--token", TOKEN]):
        with pytest.raises(SystemExit):
            parser().parse_args(argv)
    capsys.readouterr()


def test_a_token_file_belongs_to_a_server(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    with pytest.raises(ConfigError, match="needs --url"):
        settings_of(parser().parse_args(["--token-file", str(secret)]))
    with pytest.raises(ConfigError, match="cannot be read"):
        settings_of(parser().parse_args(["--url", "http://localhost:2", "--token-file", str(tmp_path / "none")]))


def test_errors_are_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "not a url"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("collab-agent: ")
    assert "Traceback" not in printed.err


def test_clients_prints_each_snippet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clients"]) == 0
    everything = capsys.readouterr().out
    for client, part in (("goose", "timeout: 600"), ("cursor", "mcpServers"), ("vscode", '"servers"')):
        assert part in everything
        assert main(["clients", client]) == 0
        assert part in capsys.readouterr().out


def test_the_command_line_imports_nothing_heavy_before_it_must() -> None:
    code = (
        "import sys, collab_agent.cli as cli; cli.parser().parse_args([]);"
        "heavy = {'pycrdt', 'jupyter_ydoc', 'jupyter_client', 'httpx2', 'mcp', 'websockets', 'PIL'} & set(sys.modules);"
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_server_module_leaves_what_only_notebooks_need_for_later() -> None:
    code = (
        "import sys, collab_agent.server.stdio;"
        "heavy = {'pycrdt', 'jupyter_ydoc', 'jupyter_client', 'websockets', 'PIL'} & set(sys.modules);"
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
