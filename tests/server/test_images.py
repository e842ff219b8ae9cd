"""Pictures for a model: at most 1024 pixels on the long side and 150 kB, whatever the kernel sent."""

from __future__ import annotations

import base64
import io
import random

import pytest
from PIL import Image as Pillow

from collab_agent.config import Limits
from collab_agent.notebook.display import Image
from collab_agent.server.images import downscale

LIMITS = Limits()


def picture(size: tuple[int, int], kind: str = "PNG", mode: str = "RGB", noise: bool = False) -> Image:
    made = Pillow.new(mode, size, "steelblue" if mode != "P" else 3)
    if noise:
        made = Pillow.frombytes("RGB", size, random.Random(1).randbytes(size[0] * size[1] * 3))
    buffer = io.BytesIO()
    made.save(buffer, kind)
    return Image(f"image/{kind.lower()}", buffer.getvalue(), "a plot")


def opened(small: tuple[str, str] | None) -> Pillow.Image:
    assert small is not None
    data = base64.b64decode(small[1])
    assert len(data) <= LIMITS.image_bytes
    image = Pillow.open(io.BytesIO(data))
    assert Pillow.MIME[image.format or ""] == small[0]
    return image


def test_a_small_picture_is_left_as_it_is() -> None:
    image = picture((300, 200))
    assert downscale(image, LIMITS) == ("image/png", base64.b64encode(image.data).decode())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_large_picture_keeps_its_proportions(kind: str) -> None:
    assert opened(downscale(picture((4_000, 1_000), kind), LIMITS)).size == (1024, 256)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "L", "CMYK", "1", "I;16"])
def test_every_mode_can_be_made_smaller(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    made = Pillow.new(mode, (2_000, 2_000))
    buffer = io.BytesIO()
    made.save(buffer, kind)
    assert opened(downscale(Image("image/png", buffer.getvalue(), ""), LIMITS)).size == (1024, 1024)


def test_noise_that_no_png_can_pack_still_fits() -> None:
    image = opened(downscale(picture((1_000, 1_000), noise=True), LIMITS))
    assert max(image.size) <= 1024
    assert image.format == "JPEG"


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_cannot_be_read_is_no_picture(data: bytes) -> None:
    assert downscale(Image("image/png", data, ""), LIMITS) is None


def test_a_picture_that_is_cut_off_is_no_picture() -> None:
    whole = picture((2_000, 2_000), noise=True)
    assert downscale(Image("image/png", whole.data[: len(whole.data) // 2], ""), LIMITS) is None
