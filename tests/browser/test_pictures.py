"""The pictures of the documentation, taken of a real page; written with ``pytest --update-images`` only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont
from playwright.async_api import expect

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


GATED = """\
import pathlib, time
def load_prices():
    while not pathlib.Path({gate!r}).exists():
        time.sleep(0.02)
    return [3.2, 4.1, 5.0]"""
TYPED = ["prices = load_prices()", "mean(prices)"]
IMPORT = "from statistics import mean"
PANEL = {"x": 10, "y": 104, "width": 546, "height": 210}
"""What is cut out of a page of 600 x 400, in its pixels: the notebook without what is around it."""
MOST_BYTES = 400_000


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
    await page.be("Ada", "var(--jp-collaborator-color4)")
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


async def test_working_together(
    jupyter: Server,
    new_notebook: Callable[..., str],
    page: LabPage,
    goose: Goose,
    user_settings: PutSettings,
    image_path: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """A picture strip: what a human sees from their own first keystroke to the agent's leaving."""
    path, gate = new_notebook([""], name="prices.ipynb"), tmp_path / "gate"
    await user_settings("@jupyterlab/apputils-extension:notification", fetchNews="false", checkForUpdates=False)
    await page.be("Ada", "var(--jp-collaborator-color4)")
    await page.goto(jupyter, path)
    await page.page.set_viewport_size({"width": 600, "height": 400})
    for name in ("application:toggle-left-area", "application:toggle-side-tabbar", "statusbar:toggle"):
        await page.command(name)
    panels: list[Path] = []

    async def take() -> None:
        panels.append(tmp_path / f"{len(panels)}.png")
        await page.page.screenshot(path=panels[-1], clip=PANEL, animations="disabled")

    await goose.setup(path)
    await goose.execute(code=GATED.format(gate=str(gate)))
    await page.click_into(0)
    await page.page.keyboard.type(TYPED[0])
    await page.page.keyboard.press("Enter")
    await page.page.keyboard.type(TYPED[1])
    await take()
    assert "Ada" in await goose.query(query="changes", wait_s=60)  # until she has finished typing
    await goose.query(query="cells")
    await goose.execute(cells=["#1"], wait_s=0)
    await expect(page.cell(0).locator(".jp-InputPrompt")).to_have_text("[*]:")
    await page.visible_flag("Goose").wait_for()
    await take()
    gate.touch()
    await goose.query(query="runs", wait_s=60)
    await expect(page.cell(0).locator(".jp-OutputArea-output")).to_contain_text("NameError")
    await take()
    await goose.modify({"op": "write", "cell": "#1", "source": "\n".join([IMPORT, *TYPED])})
    await page.tint(0).first.wait_for()
    await page.visible_flag("Goose").wait_for()
    await take()
    await goose.execute(cells=["#1"], wait_s=60)
    await expect(page.cell(0).locator(".jp-OutputArea-executeResult .jp-OutputArea-output")).to_have_text("4.1")
    await take()
    await goose.setup(path, "leave")
    await expect(page.caret(0)).to_have_count(0)
    await page.page.keyboard.type("  # euros")
    await take()
    strip(panels, image_path("working-together.png"))


def strip(panels: list[Path], picture: Path) -> None:
    """The panels, numbered, in two columns and one picture: in a README of 900 pixels each is 440 wide."""
    images = [Image.open(panel).convert("RGB") for panel in panels]
    width, height, gap = *images[0].size, 24
    whole = Image.new("RGB", (2 * width + 3 * gap, 3 * height + 4 * gap), "#d0d7de")
    font = ImageFont.load_default(36)
    for number, image in enumerate(images):
        left, top = gap + number % 2 * (width + gap), gap + number // 2 * (height + gap)
        whole.paste(image, (left, top))
        draw = ImageDraw.Draw(whole)
        middle = (left + width - 44, top + 44)
        draw.circle(middle, 28, fill="#24292f")
        draw.text(middle, str(number + 1), fill="white", font=font, anchor="mm")
    picture.parent.mkdir(exist_ok=True)
    whole.quantize(192).save(picture, optimize=True)
    assert picture.stat().st_size < MOST_BYTES
