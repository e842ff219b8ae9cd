"""Paths and addresses: what is accepted, what is refused, and that quoting is exact."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.errors import ConfigError, TargetError
from collab_agent.jupyter.address import base_url, is_loopback, normalise_path, quote_path, same_server


@pytest.mark.parametrize(
    ("given_path", "path"),
    [
        ("demo", "demo.ipynb"),
        ("demo.ipynb", "demo.ipynb"),
        (" demo.ipynb\n", "demo.ipynb"),
        ("./a//b/./demo", "a/b/demo.ipynb"),
        ("v1.2", "v1.2.ipynb"),
        ("été 2026/ß #1?.ipynb", "été 2026/ß #1?.ipynb"),
        ("100%.ipynb", "100%.ipynb"),
        ("50%25 of it", "50%25 of it.ipynb"),
        ("12:30.ipynb", "12:30.ipynb"),
        ("..hidden/...ipynb", "..hidden/...ipynb"),
    ],
)
def test_a_good_path_is_kept_and_completed(given_path: str, path: str) -> None:
    assert normalise_path(given_path) == path
    assert normalise_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "  ",
        ".",
        "..",
        "/etc/passwd",
        "//host/share",
        "~/x.ipynb",
        "C:/x.ipynb",
        "C:\\x.ipynb",
        "a\\..\\x.ipynb",
        "../x.ipynb",
        "a/../../x.ipynb",
        "a/..",
        "%2e%2e/x.ipynb",
        "a/%2E%2E/x.ipynb",
        "..%2fx.ipynb",
        "%252e%252e%252fx.ipynb",
        "%2fetc/passwd",
        "a%5c..%5cx",
        "a%00.ipynb",
        "a\0.ipynb",
        "a\nb.ipynb",
        "\ud800.ipynb",
        "folder/",
        ".ipynb",
        "folder/.ipynb",
        "http://evil.example/x.ipynb",
        "file:///etc/passwd",
        "x" * 1_001,
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(TargetError) as caught:
        normalise_path(path)
    assert caught.value.hint
    assert len(caught.value.message) < 250
    assert caught.value.message.isprintable()


@given(st.text(st.sampled_from(list("ab./\\%2eEfF5cC0~: é\0#?")), max_size=24))
def test_whatever_is_accepted_stays_below_the_root(path: str) -> None:
    try:
        result = normalise_path(path)
    except TargetError:
        return
    assert normalise_path(result) == result
    text = result
    while True:
        parts = text.split("/")
        assert ".." not in parts
        assert not text.startswith("/")
        assert "\\" not in text
        assert "\0" not in text
        if (decoded := unquote(text)) == text:
            break
        text = decoded


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_quoted_path_comes_back_exactly_and_is_nothing_but_a_path(path: str) -> None:
    parts = urlsplit("http://host/api/contents/" + quote_path(path))
    assert unquote(parts.path) == "/api/contents/" + path
    assert parts.query == ""
    assert parts.fragment == ""


@pytest.mark.parametrize(
    ("pasted", "url"),
    [
        ("http://localhost:8888", "http://localhost:8888/"),
        ("http://localhost:8888/lab?token=secret", "http://localhost:8888/"),
        ("http://localhost:8888/lab/tree/a/b.ipynb#x", "http://localhost:8888/"),
        ("https://hub.example/user/me/lab/", "https://hub.example/user/me/"),
        ("https://me:secret@hub.example/user/me", "https://hub.example/user/me/"),
        ("https://hub.example/b/user/me/work/lab/tree/x.ipynb", "https://hub.example/b/user/me/work/"),
        ("https://hub.example/user/lab", "https://hub.example/user/lab/"),
        ("https://hub.example/user/tree/lab/tree/x.ipynb", "https://hub.example/user/tree/"),
        ("https://hub.example/b/hub/user/me/lab", "https://hub.example/b/user/me/"),
        ("http://0.0.0.0:8888/", "http://127.0.0.1:8888/"),
        ("http://[::1]:8888/base", "http://[::1]:8888/base/"),
        ("http://hub.example/labs/tree-house", "http://hub.example/labs/tree-house/"),
    ],
)
def test_a_pasted_address_becomes_the_servers(pasted: str, url: str) -> None:
    assert base_url(pasted) == url
    assert base_url(url) == url


@pytest.mark.parametrize(
    "bad", ["", "localhost:8888", "ftp://secret@host/", "http://", "http://h:secret/", "file:///x"]
)
def test_an_address_of_another_kind_is_refused_without_being_repeated(bad: str) -> None:
    with pytest.raises(ConfigError) as caught:
        base_url(bad)
    assert "secret" not in str(caught.value)


def test_the_names_of_the_loopback_interface_are_one_server() -> None:
    assert same_server("http://localhost:8888/", "http://127.0.0.1:8888")
    assert same_server("https://hub.example/", "https://hub.example:443/")
    assert not same_server("http://localhost:8888/", "http://localhost:8889/")
    assert not same_server("http://localhost:8888/", "http://localhost:8888/base/")
    assert is_loopback("http://[::1]:8888/")
    assert not is_loopback("http://127.evil.example/")
