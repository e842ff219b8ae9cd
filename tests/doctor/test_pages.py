"""What a server tells its pages, and what follows from it: as real servers told it (versions in the fixture)."""

from __future__ import annotations

import json

import pytest

from collab_agent.config import Server
from collab_agent.doctor.kernels import lacking
from collab_agent.doctor.server import Patient, judge_collaboration, judge_pages
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.models import KernelSpec
from collab_agent.jupyter.pages import Pages, pages_of

SERVER = Server("http://127.0.0.1:1/", "t0k3n")
PATIENT = Patient(JupyterApi(SERVER), SERVER)
NEEDED = frozenset({"@jupyter/docprovider-extension", "@jupyter/collaboration-extension"})


def html(config: object) -> str:
    return f'<body><script id="jupyter-config-data" type="application/json">\n{json.dumps(config)}</script>'


def test_what_a_server_tells_its_pages_is_read_without_the_token() -> None:
    config = {
        "appVersion": "4.6.6",
        "token": "t0k3n",
        "disableRTC": False,
        "federated_extensions": [{"name": "a"}, {"load": "x"}, 3],
        "disabledExtensions": ["b:c", None],
    }
    told = pages_of(html(config))
    assert told == Pages("4.6.6", frozenset({"a"}), frozenset({"b:c"}), True)
    assert "t0k3n" not in repr(told)


@pytest.mark.parametrize("text", ["", "<html>", html([]), html(None), html({})[:-20], html("x" * 9)])
def test_what_is_no_page_of_jupyterlab_tells_nothing(text: str) -> None:
    assert pages_of(text) is None


@pytest.mark.parametrize("config", [{}, {"federated_extensions": 3, "disabledExtensions": {"a": True}}])
def test_a_page_that_tells_little_is_read_all_the_same(config: object) -> None:
    assert pages_of(html(config)) == Pages("", frozenset(), frozenset(), True)


@pytest.mark.parametrize(
    ("pages", "part"),
    [
        (None, "not known whether its pages"),
        (Pages("4.6.6", NEEDED, frozenset(), True), "come into the rooms"),
        (
            Pages("4.6.6", NEEDED, frozenset({"@jupyter/docprovider-extension:notebook-cell-executor"}), True),
            "come into",
        ),
        (Pages("4.6.6", NEEDED, frozenset({"@jupyter/docprovider-extension:content-provider"}), True), "leave out"),
        (Pages("4.6.6", NEEDED, frozenset({"@jupyter/collaboration-extension"}), True), "leave out"),
        (Pages("4.6.6", frozenset(), frozenset(), True), "do not have"),
        (Pages("4.6.6", NEEDED, frozenset(), False), "turned off for pages"),
        (Pages("4.3.9", NEEDED, frozenset(), True), "JupyterLab 4.3.9 is older"),
        (Pages("5.0.0a1", NEEDED, frozenset(), True), "come into the rooms"),
    ],
)
def test_pages_that_are_not_in_the_rooms_are_told(pages: Pages | None, part: str) -> None:
    (finding,) = judge_pages(pages, PATIENT)
    assert part in finding.text
    assert finding.level == ("note" if pages is None else "ok" if "come into" in part else "BAD")
    assert finding.level != "BAD" or finding.remedy


def test_an_old_collaboration_is_told_apart() -> None:
    assert judge_collaboration("5.0.4", PATIENT).ok
    assert judge_collaboration(None, PATIENT).ok
    assert judge_collaboration("10.1", PATIENT).ok
    old = judge_collaboration("3.1.0", PATIENT)
    assert not old.ok
    assert old.remedy.startswith("pip install 'jupyter-collaboration>=5,<6'   # where the server is installed")


@pytest.mark.parametrize(
    ("language", "argv", "part"),
    [
        ("python", ("python", "-m", "ipykernel_launcher"), ""),
        ("python", ("xpython",), "does not start ipykernel"),
        ("R", ("R",), "not while code runs"),
        ("typescript", ("tslab",), "variables cannot be shown"),
        ("", (), "of no known language"),
    ],
)
def test_what_a_kernel_cannot_show_is_told(language: str, argv: tuple[str, ...], part: str) -> None:
    told = lacking(KernelSpec("k", "K", language, argv))
    assert part in told
    assert bool(told) == bool(part)
