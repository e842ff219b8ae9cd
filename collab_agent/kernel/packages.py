"""Installing packages into the environment of the kernel itself.

Requirements are parsed (PEP 508) and handed on as an argument list, never through a shell; options, paths, URLs and
repositories are refused, so that a name is all that a model can give.  The installer runs inside the kernel
(``inside/install.py``): only there is it certain whose environment it is, and that it sees the user's settings.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from packaging.requirements import InvalidRequirement, Requirement

from ..errors import InvalidEdit

MOST = 30
_SAFE = re.compile(r"[A-Za-z0-9._\-\[\], <>=!~+*()]+")


def parse(packages: object) -> list[str]:
    """Requirement strings, each as ``packaging`` writes it; ``InvalidEdit`` where one is no plain requirement."""
    if not isinstance(packages, Sequence) or isinstance(packages, str) or not packages:
        raise InvalidEdit(
            "action=install needs packages, a list of requirements. Nothing was installed.",
            'E.g. packages=["polars>=1"].',
        )
    if len(packages) > MOST:
        raise InvalidEdit(
            f"packages holds more than {MOST} requirements. Nothing was installed.", "Take several calls."
        )
    return [_requirement(text) for text in packages]


def _requirement(text: object) -> str:
    shown = repr(text if isinstance(text, str) and len(text) <= 100 else str(text)[:100])
    if not isinstance(text, str):
        raise _refused(shown, "it is no string")
    if text.strip().startswith("-"):
        raise _refused(shown, "options are not taken")
    try:
        found = Requirement(text)
    except InvalidRequirement:
        raise _refused(shown, "it is no requirement (paths, URLs and several in one string are not taken)") from None
    if found.url is not None:
        raise _refused(shown, "URLs, paths and repositories are not taken")
    if found.marker is not None or not _SAFE.fullmatch(text):
        raise _refused(shown, "markers and special characters are not taken")
    return str(found)


def _refused(shown: str, why: str) -> InvalidEdit:
    return InvalidEdit(
        f"packages: {shown} was refused: {why}. Nothing was installed.",
        'Give names with versions, e.g. ["polars", "scikit-learn>=1.4,<2", "dask[dataframe]"].',
    )


def magic(requirements: Sequence[str]) -> str:
    """The cell that says what was installed: ``%pip`` hands its line to a shell, so it is quoted."""
    return f"%pip install {shlex.join(requirements)}"
