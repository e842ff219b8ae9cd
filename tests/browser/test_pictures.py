"""The pictures of the documentation, taken of a real page; written with ``pytest --update-images`` only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.async_api import Route, expect

from collab_agent.config import Server

if TYPE_CHECKING:
    from .conftest import Goose, LabPage, PutSettings

INTRODUCTION = """\
# Can you taste who grew it?
178 Italian wines of three growers, 13 measurements each."""
LOAD = """\
%config InlineBackend.figure_format = "retina"
from sklearn.datasets import load_wine
wine = load_wine(as_frame=True).frame
wine["grower"] = wine.pop("target").map({0: "A", 1: "B", 2: "C"})
wine.groupby("grower")[["alcohol", "flavanoids", "color_intensity"]].mean().round(2)"""
PLOT = """\
import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(7, 2.3))
for grower, group in wine.groupby("grower"):
    ax.scatter(group.flavanoids, group.color_intensity, s=16, label=grower)
ax.legend(frameon=False)
ax.set(xlabel="flavanoids", ylabel="colour");"""
OLD, NEW = '"colour")', '"colour", title="Three growers")'
TRIES = 5
"""The name pill fades after two seconds; on a busy machine the picture may come too late."""


async def as_ada(route: Route) -> None:
    """The human of the picture has a name."""
    response = await route.fetch()
    me = await response.json()
    me["identity"] |= {"name": "Ada", "display_name": "Ada", "initials": "A", "color": "var(--jp-collaborator-color4)"}
    await route.fulfill(response=response, body=json.dumps(me))


async def test_pairing(
    jupyter: Server,
    new_notebook: Callable[..., str],
    page: LabPage,
    goose: Goose,
    user_settings: PutSettings,
    image_path: Callable[[str], Path],
) -> None:
    path = new_notebook([("markdown", INTRODUCTION), LOAD, PLOT], name="wine.ipynb")
    await user_settings("@jupyterlab/apputils-extension:notification", fetchNews="false", checkForUpdates=False)
    await page.page.route("**/api/me*", as_ada)
    await page.page.set_viewport_size({"width": 1200, "height": 900})
    await page.goto(jupyter, path)
    await page.open_collaborators()
    await goose.setup(path)
    await goose.execute(cells=["all"], wait_s=60)
    await goose.query(query="cells")
    await expect(page.cell(2).locator(".jp-RenderedImage img")).to_be_visible()
    await page.collaborator("Goose").locator(".jp-CollaboratorHeader").click()
    await page.page.get_by_role("heading", name="User info Section").click()
    await page.click_into(1)
    picture = image_path("pairing.png")
    picture.parent.mkdir(exist_ok=True)
    for _ in range(TRIES):
        await goose.modify({"op": "replace", "cell": "#3", "old": OLD, "new": NEW})
        await page.tint(2).first.wait_for()
        await page.visible_flag("Goose").wait_for()
        await page.page.screenshot(path=picture)
        if await page.tint(2).count() and await page.visible_flag("Goose").count():
            break
        await goose.modify({"op": "replace", "cell": "#3", "old": NEW, "new": OLD})
    else:
        raise AssertionError("The page never showed the agent for long enough.")
    with Image.open(picture) as image:
        assert image.size == (2400, 1800)
