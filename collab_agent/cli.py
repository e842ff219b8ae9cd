"""The command line: argv and environment -> ``Settings``.  The only reader of ``os.environ``.

Start-up time matters: a client waits for ``initialize``.  So each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, AsyncExitStack, closing, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from .audit import AuditLog
from .clients import CLIENTS, snippet
from .config import Server, Settings
from .errors import CollabAgentError, ConfigError
from .policy import Policy

if TYPE_CHECKING:
    from .agent import FindServer
    from .server.gate import HttpSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.  An error is a line or two on stderr, never a traceback."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return 130
    except CollabAgentError as exc:
        print(f"collab-agent: {exc}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The command line of the contract, section 1."""
    top = argparse.ArgumentParser(
        prog="collab-agent",
        description="An AI assistant as a real-time collaboration peer in your JupyterLab notebook. "
        "Without a command: serves MCP on stdio.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"collab-agent {version('collab-agent')}")
    _server_options(top, is_default=True)
    top.set_defaults(run=_serve, http=None)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve MCP on stdio, or over HTTP", allow_abbrev=False)
    _http_options(serve)
    _server_options(serve)
    serve.set_defaults(run=_serve)

    demo = commands.add_parser("demo", help="watch a scripted agent and a scripted human share a notebook")
    demo.add_argument("--no-browser", action="store_true", help="do not open the page, and do not wait for eyes")
    demo.set_defaults(run=_demo)

    lab = commands.add_parser("lab", help="start JupyterLab with collaboration, ready to be joined")
    lab.add_argument("dir", nargs="?", default=".", metavar="DIR", help="its root folder (default: this one)")
    lab.add_argument("--no-browser", action="store_true", help="do not open the page")
    lab.set_defaults(run=_lab)

    doctor = commands.add_parser("doctor", help="which server would be joined, and what is missing", allow_abbrev=False)
    _server_options(doctor)
    doctor.set_defaults(run=_doctor)

    clients = commands.add_parser("clients", help="print the configuration for an MCP client")
    clients.add_argument("client", nargs="?", choices=CLIENTS)
    clients.set_defaults(run=_clients)
    _add_suggestions(commands)
    return top


def _http_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("--http", metavar="HOST:PORT", help="serve streamable HTTP instead of stdio, at /mcp")
    for option, meta, what in (
        (
            "--http-token-file",
            "FILE",
            "bearer secrets of the clients, one per line, each alone or behind a client's name",
        ),
        ("--tls-cert", "FILE", "certificate (PEM): serve over TLS, which is needed beyond this machine"),
        ("--tls-key", "FILE", "its key (PEM)"),
    ):
        to.add_argument(option, metavar=meta, help=what)
    for option, meta, what in (
        (
            "--allow-host",
            "NAME",
            "a further name, NAME or NAME:PORT, by which clients may call this server; repeatable",
        ),
        ("--allow-origin", "ORIGIN", "a web page's origin that may speak to this server; repeatable (default: none)"),
    ):
        to.add_argument(option, action="append", default=[], metavar=meta, help=what)
    to.add_argument("--max-clients", type=int, default=50, metavar="N", help="clients at once (default: 50)")


def _add_suggestions(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    suggestions = commands.add_parser(
        "suggestions",
        help="merge or drop what an agent has suggested, one by one",
        description="Shows each open suggestion as a diff and asks for a key: merge, drop, skip or quit. Ends with 0, "
        "or with 1 where something was refused or failed.",
        allow_abbrev=False,
    )
    suggestions.add_argument("notebook", nargs="?", metavar="NOTEBOOK", help="only of this notebook (default: of all)")
    suggestions.add_argument("--list", action="store_true", help="only show them")
    for option, meta, what in (
        ("--url", "URL", "address of the Jupyter server (default: JUPYTER_URL, else found)"),
        ("--token-file", "FILE", "file that holds the server's token"),
        ("--ca-file", "FILE", "authority (PEM) of the server's certificate"),
        ("--name", "NAME", "your name, as the agent is told it (default: the one that you are logged in with)"),
    ):
        suggestions.add_argument(option, default=argparse.SUPPRESS, metavar=meta, help=what)
    suggestions.set_defaults(run=_suggestions)


def _server_options(to: argparse.ArgumentParser, *, is_default: bool = False) -> None:
    """The options may stand before or behind the command; a command must not undo what stood before it."""
    fallback = None if is_default else argparse.SUPPRESS
    to.add_argument("--url", default=fallback, help="address of the Jupyter server (default: JUPYTER_URL, else found)")
    to.add_argument("--token-file", default=fallback, metavar="FILE", help="file that holds the server's token")
    to.add_argument("--name", default=fallback, help="the agent's display name (default: the MCP client's)")
    to.add_argument("--ca-file", default=fallback, metavar="FILE", help="authority (PEM) of the server's certificate")
    to.add_argument("--audit", default=fallback, metavar="FILE", help="log every call, edit and run (JSON lines)")
    for switch, what in (
        ("--no-embedded", "never start a JupyterLab of our own"),
        ("--mark-cells", "say in the metadata of cells that the agent makes or changes who did it, and when"),
        ("--interrupt-on-exit", "interrupt the agent's own run when it ends, even if no call waits for it"),
        ("--read-only", "let the agent look, but neither write nor run anything"),
        ("--no-run", "let the agent edit, but not run code or use the kernel"),
        ("--audit-contents", "write texts into the audit log, too, not only their length and SHA-256"),
    ):
        to.add_argument(switch, action="store_true", default=False if is_default else argparse.SUPPRESS, help=what)
    to.add_argument(
        "--trust-outputs",
        action=argparse.BooleanOptionalAction,
        default=True if is_default else argparse.SUPPRESS,
        help="let pages show HTML, scripts and widgets of cells that the agent itself inserted (default: on)",
    )
    to.add_argument(
        "--allow",
        action="append",
        metavar="GLOB",
        default=None if is_default else argparse.SUPPRESS,
        help="let the agent open only notebooks that match, e.g. 'work/**/*.ipynb'; may be repeated",
    )


def settings_of(arguments: argparse.Namespace) -> Settings:
    """``--url``/``--token-file``, else ``JUPYTER_URL``/``JUPYTER_TOKEN``, else to be discovered."""
    return Settings(
        server=_server(arguments),
        name=arguments.name,
        ca_file=getattr(arguments, "ca_file", None),
        embedded=not arguments.no_embedded,
        trust_outputs=arguments.trust_outputs,
        mark_cells=arguments.mark_cells,
        interrupt_on_exit=arguments.interrupt_on_exit,
        policy=Policy(arguments.read_only, arguments.no_run, tuple(arguments.allow or ())),
    )


def _server(arguments: argparse.Namespace) -> Server | None:
    of_environment = os.environ.get("JUPYTER_URL")
    token = os.environ.get("JUPYTER_TOKEN", "")
    if arguments.url and of_environment and arguments.url != of_environment:
        token = ""  # the environment's token is that of the environment's server
    if arguments.token_file is not None:
        if arguments.url is None and not of_environment:
            raise ConfigError("--token-file needs --url: a token belongs to one server.")
        try:
            token = Path(arguments.token_file).expanduser().read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"The token file cannot be read ({type(exc).__name__}).", "Check --token-file.") from None
    url = arguments.url or of_environment
    if not url:
        return None
    from .jupyter.discovery import configured

    return configured(url, token)


def finder(settings: Settings) -> FindServer:
    """Finds the server when the first notebook is opened; starts one where none is found and none is forbidden."""

    async def find(stack: AsyncExitStack) -> Server:
        from .jupyter.discovery import find_server

        found = await find_server(settings, os.environ, Path.cwd())
        if found is not None:
            return found
        if not settings.embedded:
            raise ConfigError(
                "No running Jupyter server was found, and --no-embedded forbids to start one.",
                "Start JupyterLab (`collab-agent lab`), or set JUPYTER_URL and JUPYTER_TOKEN.",
            )
        from .jupyter.embedded import embedded_lab

        lab = await stack.enter_async_context(embedded_lab(Path.cwd(), env=os.environ))
        return lab.server

    return find


def _serve(arguments: argparse.Namespace) -> int:
    import anyio

    settings = settings_of(arguments)
    with _audit(arguments) as log:
        if arguments.http is None:
            from .server.stdio import serve_stdio

            anyio.run(serve_stdio, settings, finder(settings), log)
        else:
            from .server.http import serve_http

            anyio.run(serve_http, settings, finder(settings), _http_settings(arguments, settings), log)
    return 0


def _audit(arguments: argparse.Namespace) -> AbstractContextManager[AuditLog | None]:
    """The audit log, if one is wanted; ``ConfigError`` where it cannot be written."""
    if arguments.audit is None:
        if arguments.audit_contents:
            raise ConfigError("--audit-contents needs --audit FILE.")
        return nullcontext()
    return closing(AuditLog.open(Path(arguments.audit).expanduser(), contents=arguments.audit_contents))


def _http_settings(arguments: argparse.Namespace, settings: Settings) -> HttpSettings:
    """Secrets come from ``--http-token-file``, else ``COLLAB_AGENT_HTTP_TOKEN``, else one is made, kept and named."""
    from .server.gate import HttpSettings, address
    from .server.secret import kept_secret, read_secrets, refuse_shared, secrets_of

    host, port = address(arguments.http)
    cert, key = (None if name is None else Path(name).expanduser() for name in (arguments.tls_cert, arguments.tls_key))
    if arguments.http_token_file is not None:
        secrets = secrets_of(Path(arguments.http_token_file).expanduser())
    elif of_environment := os.environ.get("COLLAB_AGENT_HTTP_TOKEN"):
        secrets = read_secrets(of_environment)
    else:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        secrets, file = kept_secret(Path(state) / "collab-agent")
        print(f"clients need the bearer secret in {file}", file=sys.stderr)
    if settings.server is not None:
        refuse_shared(settings.server.token, secrets)
    return HttpSettings(
        host,
        port,
        secrets,
        cert,
        key,
        hosts=tuple(arguments.allow_host),
        origins=tuple(arguments.allow_origin),
        most_clients=arguments.max_clients,
    )


def _demo(arguments: argparse.Namespace) -> int:
    import anyio

    from .demo import run_demo

    return anyio.run(run_demo, not arguments.no_browser, dict(os.environ))


def _lab(arguments: argparse.Namespace) -> int:
    import anyio

    anyio.run(_run_lab, Path(arguments.dir).expanduser().resolve(), not arguments.no_browser)
    return 0


async def _run_lab(folder: Path, open_browser: bool) -> None:
    import anyio

    from .ending import in_time
    from .jupyter.embedded import embedded_lab
    from .jupyter.environment import passed_over, python_of

    async with in_time() as ending:
        with ending.scope:
            async with embedded_lab(folder, env=os.environ, open_browser=open_browser) as lab:
                print(f"JupyterLab runs at {lab.server.url}lab on {folder}; what it prints goes to {lab.log_path}")
                print(f"Notebooks run on {python_of(os.environ)}")
                if active := passed_over(os.environ):
                    print(f"  and not in {active}, which has no ipykernel (there: pip install ipykernel)")
                print("`jupyter server list` shows the address with its token.  Ctrl-C ends it.\n")
                print("An agent that is started in this folder finds it without any configuration, e.g.:\n")
                print(snippet("goose", _command()), flush=True)
                await anyio.sleep_forever()


def _doctor(arguments: argparse.Namespace) -> int:
    import anyio

    return anyio.run(_examine, settings_of(arguments))


async def _examine(settings: Settings) -> int:
    """Print each finding as soon as it is there: the doctor may listen for a while."""
    from .doctor import examine

    well = True
    async for finding in examine(settings, os.environ, Path.cwd()):
        print(finding, flush=True)
        well &= finding.ok
    return 0 if well else 1


def _suggestions(arguments: argparse.Namespace) -> int:
    from functools import partial

    import anyio

    from .terminal import decide

    settings, only_list = settings_of(arguments), arguments.list
    return anyio.run(partial(decide, only_list=only_list), settings, os.environ, Path.cwd(), arguments.notebook)


def _clients(arguments: argparse.Namespace) -> int:
    for client in [arguments.client] if arguments.client else CLIENTS:
        print(snippet(client, _command()))
    return 0


def _command() -> list[str]:
    """How a client starts us: by full path, for clients that are started from a desktop have another PATH."""
    beside = Path(sys.executable).parent / "collab-agent"
    return [str(beside)] if beside.exists() else ["collab-agent"]


if __name__ == "__main__":
    sys.exit(main())
