"""What a JupyterHub's addresses and refusals mean."""

from __future__ import annotations

import pytest

from collab_agent.errors import ServerRefused, ServerStopped, Unauthorized
from collab_agent.jupyter.hub import HEADER, HubPlace, place_of, refusal

OWN = "https://h.example/b/user/ada/"
NAMED = {HEADER: "6.1.1"}


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (OWN, HubPlace("https://h.example/b/hub/", "ada")),
        ("http://h/user/a%40b/", HubPlace("http://h/hub/", "a@b")),
        ("http://h/user/ada/work/", HubPlace("http://h/hub/", "ada", "work")),
        ("http://h/", None),
        ("http://h/hub/home/", None),
        ("http://h/user/", None),
        ("http://h/user/ada/work/more/", None),
    ],
)
def test_a_users_address_tells_whose_it_is_and_where_the_hub_is(url: str, place: HubPlace | None) -> None:
    assert place_of(url) == place


def test_a_place_knows_what_a_token_needs_and_where_the_server_is_started() -> None:
    assert HubPlace("http://h/hub/", "ada").scope == "access:servers!server=ada/"
    assert HubPlace("http://h/hub/", "ada", "work").scope == "access:servers!server=ada/work"
    assert HubPlace("http://h/hub/", "ada").spawn_page == "http://h/hub/spawn/ada"
    assert HubPlace("http://h/hub/", "ada", "work").spawn_page == "http://h/hub/spawn/ada/work"


def test_a_token_that_does_not_reach_a_server_is_told_the_scope_and_the_page() -> None:
    error = refusal(OWN, "GET /api/status", 403, NAMED, True)
    assert isinstance(error, Unauthorized)
    assert "does not let this token in" in error.message
    assert "access:servers!server=ada/" in error.hint
    assert "https://h.example/b/hub/token" in error.hint
    assert "none is configured" in str(refusal(OWN, "GET /api/status", 403, NAMED, False))


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (302, {"location": "/b/hub/user/ada/api/status"}),
        (302, {"location": "https://h.example/b/hub/user/ada/api/status", **NAMED}),
        (424, {}),
    ],
)
def test_a_server_that_is_not_running_is_told_with_the_page_that_starts_it(
    status: int, headers: dict[str, str]
) -> None:
    error = refusal(OWN, "GET /api/status", status, headers, True)
    assert isinstance(error, ServerStopped)
    assert "not running" in error.message
    assert "https://h.example/b/hub/spawn/ada" in error.hint


@pytest.mark.parametrize("url", ["http://h/b/", "http://h/b/hub/", "http://h/b/hub/home/"])
def test_the_hubs_own_address_is_told_apart_from_a_users(url: str) -> None:
    error = refusal(url, "GET /api", 404, NAMED, True)
    assert isinstance(error, ServerRefused)
    assert "http://h/b/user/NAME/" in error.hint
    assert "http://h/b/hub/token" in error.hint


@pytest.mark.parametrize(
    ("url", "status", "headers"),
    [
        ("http://h/", 403, {}),
        ("http://h/", 302, {"location": "/login?next=%2Fapi"}),
        (OWN, 403, {}),
        (OWN, 302, {"location": "/b/user/ada/login"}),
        (OWN, 500, NAMED),
    ],
)
def test_what_no_hub_says_is_left_to_others(url: str, status: int, headers: dict[str, str]) -> None:
    assert refusal(url, "GET /api", status, headers, True) is None
