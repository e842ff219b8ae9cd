"""The agent is seen on the page: in the collaborators panel, and in the cell where it works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from playwright.async_api import Locator, expect

from collab_agent.config import Identity, Server

if TYPE_CHECKING:
    from .conftest import Goose, LabPage, PutSettings

THEMES = ("JupyterLab Light", "JupyterLab Dark")
READABLE = 4.5
"""WCAG 2's contrast for text (AA)."""
VISIBLE = 3.0
"""WCAG 2's contrast for what is not text (AA)."""
GONE_MS = 2_000
"""Gone at once, and not only when a state expires (30 s)."""

CONTRAST = """([text, ground]) => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const probe = document.body.appendChild(document.createElement('i'));
  const draw = colors => {
    for (const color of colors) {
      probe.style.color = color;
      canvas.fillStyle = getComputedStyle(probe).color;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(c => c / 255);
  };
  const luminance = rgb => {
    const [r, g, b] = rgb.map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [low, high] = [luminance(draw([ground])), luminance(draw([ground, text]))].sort((a, b) => a - b);
  probe.remove();
  return (high + 0.05) / (low + 0.05);
}"""
"""JavaScript: WCAG 2's contrast of a colour with the one that it is drawn over."""


@pytest.fixture(params=THEMES)
async def theme(request: pytest.FixtureRequest, user_settings: PutSettings) -> str:
    """A page that is opened now has this theme."""
    theme = str(request.param)
    await user_settings("@jupyterlab/apputils-extension:themes", theme=theme)
    return theme


async def style(of: Locator, name: str) -> str:
    """A computed style."""
    return str(await of.evaluate("(element, name) => getComputedStyle(element)[name]", name))


async def color_of_page(page: LabPage, css: str) -> str:
    """What the page's theme makes of a colour."""
    return str(
        await page.page.evaluate(
            "css => { const probe = document.body.appendChild(document.createElement('i'));"
            " probe.style.color = css; const color = getComputedStyle(probe).color; probe.remove(); return color }",
            css,
        )
    )


async def contrast(page: LabPage, text: str, ground: str) -> float:
    """WCAG 2's contrast of two CSS colours as this page draws them."""
    return float(await page.page.evaluate(CONTRAST, [text, ground]))


async def test_the_panel_lists_the_agent_with_readable_initials(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose, theme: str
) -> None:
    path = new_notebook(["x = 1"])
    await page.goto(jupyter, path)
    await page.page.locator(f'body[data-jp-theme-name="{theme}"]').wait_for(state="attached")
    await page.open_collaborators()
    await goose.setup(path)
    entry = page.collaborator("Goose")
    await expect(entry).to_be_visible()
    badge = entry.locator(".jp-CollaboratorIcon")
    initials = badge.locator("span")
    await expect(initials).to_have_text("G")
    ground = await style(badge, "backgroundColor")
    assert ground == await color_of_page(page, Identity.named("Goose").badge_color)
    assert await contrast(page, await style(initials, "color"), ground) >= READABLE
    await entry.locator(".jp-CollaboratorHeader").click()
    await expect(entry.locator(".jp-CollaboratorFile")).to_contain_text(path)


async def test_the_colours_of_all_agents_can_be_read_in_panel_and_pill(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, theme: str
) -> None:
    """The colours that the panel and the pill write on are read off the page that the tests above look at."""
    await page.goto(jupyter, new_notebook(["x = 1"]))
    await page.page.locator(f'body[data-jp-theme-name="{theme}"]').wait_for(state="attached")
    identities = {each.color: each for each in (Identity.named(f"Agent {number}") for number in range(100))}
    assert len(identities) == 7
    for color, identity in identities.items():
        badge, caret = identity.badge_color, identity.caret_color
        assert await contrast(page, "var(--jp-ui-font-color1)", badge) >= READABLE, color
        assert await contrast(page, "var(--jp-ui-inverse-font-color1)", caret) >= READABLE, color
        for ground in ("var(--jp-cell-editor-background)", "var(--jp-cell-editor-active-background)"):
            assert await contrast(page, caret, ground) >= VISIBLE, color


async def test_a_page_that_comes_later_finds_the_agent_in_its_panel(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["x = 1"])
    await goose.setup(path)
    await page.goto(jupyter, path)
    await page.open_collaborators()
    await expect(page.collaborator("Goose")).to_be_visible()


async def test_a_panel_that_is_opened_later_lists_the_agent(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["x = 1"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.modify({"op": "replace", "cell": "#1", "old": "1", "new": "2"})
    await page.wait_for_text(0, "x = 2")
    await page.open_collaborators()
    await expect(page.collaborator("Goose")).to_be_visible()


async def test_caret_and_name_stand_in_the_cell_where_the_agent_works(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose, theme: str
) -> None:
    path = new_notebook(["first = 1", "second = 2", "third = 3"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    flag = page.flag("Goose")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(page.visible_flag("Goose").wait_for)
        await goose.modify({"op": "replace", "cell": "#2", "old": "second", "new": "the_second"})
    await expect(page.caret(1)).to_have_count(1)
    assert await stands_at(flag, page.caret(1))
    avatar = flag.locator(".jp-remote-userFlag-avatar")
    await expect(avatar).to_have_text("G")
    color = await color_of_page(page, Identity.named("Goose").caret_color)
    assert await style(page.caret(1), "borderLeftColor") == color
    assert await style(flag, "borderTopColor") == color
    assert await style(avatar, "backgroundColor") == color
    assert await contrast(page, await style(avatar, "color"), color) >= READABLE
    ground = "var(--jp-layout-color1)"
    assert await contrast(page, await style(flag.locator(".jp-remote-userFlag-name"), "color"), ground) >= READABLE
    for other in (0, 2):
        await expect(page.caret(other)).to_have_count(0)
    await expect(flag).to_have_class(re.compile("jp-mod-idle"))
    # The caret goes along to the next edit.
    await goose.modify({"op": "replace", "cell": "#3", "old": "third", "new": "the_third"})
    await expect(page.caret(2)).to_have_count(1)
    await expect(page.caret(1)).to_have_count(0)
    assert await stands_at(flag, page.caret(2))


async def test_reading_moves_nothing_and_running_puts_the_caret_into_the_cell_that_runs(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose, tmp_path: Path
) -> None:
    path, gate = new_notebook(["first = 1", "second = 2", ""]), tmp_path / "gate"
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.modify(
        {"op": "replace", "cell": "#1", "old": "1", "new": "one"},
        {
            "op": "write",
            "cell": "#3",
            "source": f"import pathlib\nwhile not pathlib.Path({str(gate)!r}).exists(): pass",
        },
        {"op": "replace", "cell": "#2", "old": "2", "new": "two"},
    )
    await expect(page.caret(1)).to_have_count(1)
    await expect(page.tint(1)).to_have_count(0, timeout=60_000)
    await expect(page.flag("Goose")).to_have_class(re.compile("jp-mod-idle"))
    before = await page.notebook(AWARENESS)
    for query in ("outline", "cells", "outputs", "changes", "runs"):
        await goose.query(query=query)
    await goose.query(query="search", pattern="first")
    await goose.setup(path)
    await goose.execute(code="1")  # aside
    await expect(page.caret(1)).to_have_count(1)
    assert await page.notebook(AWARENESS) == before
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(page.visible_flag("Goose").wait_for)
        await goose.execute(cells=["#3"], wait_s=0)
        await expect(page.cell(2).locator(".jp-InputPrompt")).to_have_text("[*]:")
        await expect(page.caret(2)).to_have_count(1)
    await expect(page.caret(1)).to_have_count(0)
    await page.page.screenshot(path=tmp_path / "running.png")
    gate.touch()
    assert "ok" in await goose.query(query="runs", wait_s=60)


AWARENESS = """[...nb.model.sharedModel.awareness.getStates().values()]
  .filter(state => state.collab_agent).map(state => state.cursors)"""
"""JavaScript: where the agents' carets are, as the page gets it."""


async def stands_at(flag: Locator, caret: Locator) -> bool:
    """Whether the name pill is drawn right above the caret."""
    above, below = await flag.bounding_box(), await caret.bounding_box()
    assert above is not None
    assert below is not None
    return abs(above["x"] - below["x"]) < 5 and 0 <= below["y"] - (above["y"] + above["height"]) + 5 < 15


async def test_what_the_agent_inserted_is_tinted_and_then_only_the_caret_stays(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["value = mass + 1"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.modify({"op": "replace", "cell": "#1", "old": "mass", "new": "length"})
    await expect(page.tint(0)).to_have_count(1)
    assert await style(page.tint(0), "backgroundColor") == await color_of_page(
        page, Identity.named("Goose").caret_color
    )
    assert await covered_text(page, 0) == "length"
    await expect(page.tint(0)).to_have_count(0, timeout=60_000)
    await expect(page.caret(0)).to_have_count(1)
    source = await page.text(0)
    assert source == "value = length + 1"
    assert source[: await caret_offset(page, 0)].endswith("length")


async def covered_text(page: LabPage, index: int) -> str:
    """The text under the tint, by where the page has drawn it."""
    return str(
        await page.cell(index).evaluate("""cell => {
            const content = cell.querySelector('.cm-content');
            const view = (content.cmTile ?? content.cmView).view;
            const box = cell.querySelector('.jp-remote-selection').getBoundingClientRect();
            const middle = (box.top + box.bottom) / 2;
            const [from, to] = [box.left + 1, box.right + 1].map(x => view.posAtCoords({x, y: middle}, false));
            return view.state.sliceDoc(from, to) }""")
    )


async def caret_offset(page: LabPage, index: int) -> int:
    """Before which UTF-16 unit of the source the page has drawn the agent's caret."""
    return int(
        await page.cell(index).evaluate("""cell => {
            const content = cell.querySelector('.cm-content');
            const view = (content.cmTile ?? content.cmView).view;
            const box = cell.querySelector('.jp-remote-cursor').getBoundingClientRect();
            return view.posAtCoords({x: box.left + 1, y: (box.top + box.bottom) / 2}, false) }""")
    )


async def test_caret_is_drawn_right_behind_emoji_and_accents(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(['greeting = "é😀 hello"'])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.modify({"op": "replace", "cell": "#1", "old": "hello", "new": "👩‍🔬 salut"})
    await expect(page.tint(0)).to_have_count(1)
    assert await covered_text(page, 0) == "👩‍🔬 salut"
    await expect(page.tint(0)).to_have_count(0, timeout=60_000)
    before = (await page.text(0)).encode("utf-16-le")[: 2 * await caret_offset(page, 0)].decode("utf-16-le")
    assert before == 'greeting = "é😀 👩‍🔬 salut'


async def test_leaving_takes_entry_and_caret_away_at_once(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["x = 1"])
    await page.goto(jupyter, path)
    await page.open_collaborators()
    await goose.setup(path)
    await goose.modify({"op": "replace", "cell": "#1", "old": "1", "new": "2"})
    await expect(page.caret(0)).to_have_count(1)
    await expect(page.collaborator("Goose")).to_have_count(1)
    await goose.setup(path, "leave")
    await expect(page.caret(0)).to_have_count(0, timeout=GONE_MS)
    await expect(page.page.locator(".jp-remote-userFlag")).to_have_count(0, timeout=GONE_MS)
    await expect(page.collaborator("Goose")).to_have_count(0, timeout=GONE_MS)
    # And comes back as the same collaborator.
    await goose.setup(path)
    await expect(page.collaborator("Goose")).to_have_count(1)


async def test_two_agents_are_told_apart(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose, another_agent: Goose
) -> None:
    path = new_notebook(["x = 1", "y = 2"])
    await page.goto(jupyter, path)
    await page.open_collaborators()
    await goose.setup(path)
    await another_agent.setup(path)
    await goose.modify({"op": "replace", "cell": "#1", "old": "1", "new": "10"})
    await another_agent.modify({"op": "replace", "cell": "#2", "old": "2", "new": "20"})
    for index, name in enumerate(("Goose", "Cursor")):
        await expect(page.caret(index)).to_have_count(1)
        await expect(page.flag(name)).to_have_count(1)
        assert await stands_at(page.flag(name), page.caret(index))
    await expect(page.collaborator("Goose")).to_be_visible()
    await expect(page.collaborator("Cursor")).to_be_visible()


async def test_a_page_without_an_agent_is_quiet_and_its_errors_would_be_heard(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage
) -> None:
    """The control: nothing is filtered from what every other test here demands to be empty."""
    await page.goto(jupyter, new_notebook(["x = 1"]))
    assert page.errors == []
    async with page.page.expect_event("pageerror"):
        await page.page.evaluate("() => { console.error('said'); setTimeout(() => { throw new Error('thrown') }) }")
    assert [text in error for text, error in zip(("said", "thrown"), page.errors, strict=True)] == [True, True]
    page.errors.clear()
