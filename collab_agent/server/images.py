"""Pictures, made small enough for a model."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from ..config import Limits
from ..notebook.display import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_SMALLEST = 64
_FITS = ("image/png", "image/jpeg", "image/gif", "image/webp")


def downscale(image: Image, limits: Limits) -> tuple[str, str] | None:
    """A picture as (MIME type, base64) within the limits on pixels and bytes; None if it cannot be read."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(image.data)) as picture:
            fits = max(picture.size) <= limits.image_pixels and len(image.data) <= limits.image_bytes
            if fits and image.mime in _FITS:
                picture.verify()
                return image.mime, base64.b64encode(image.data).decode()
            picture.seek(0)
            small = picture.convert("RGBA" if picture.mode in ("RGBA", "LA", "P", "PA") else "RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Pillow.DecompressionBombError):
        return None
    return _fitted(small, limits)


def _fitted(picture: Picture, limits: Limits) -> tuple[str, str] | None:
    """PNG while it fits, for lines and letters stay sharp; else JPEG; else smaller."""
    side = limits.image_pixels
    while side >= _SMALLEST:
        picture.thumbnail((side, side))
        for mime, data in (("image/png", _png(picture)), ("image/jpeg", _jpeg(picture))):
            if len(data) <= limits.image_bytes:
                return mime, base64.b64encode(data).decode()
        side = int(side * 0.75)
    return None


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _jpeg(picture: Picture) -> bytes:
    from PIL import Image as Pillow

    flat = Pillow.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
