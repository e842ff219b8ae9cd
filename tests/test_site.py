"""The documentation builds as a site in which every link leads somewhere, and says of the code what the code says."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import tools_page

CONFIG = Path(__file__).parents[1] / "docs" / "site" / "mkdocs.yml"


def test_the_site_builds_and_no_link_is_broken(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(CONFIG)]
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path)],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clients" / "goose" / "index.html").is_file()


def test_the_page_of_tool_definitions_is_what_the_code_gives() -> None:
    assert tools_page.PAGE.read_text("utf-8") == tools_page.page(), "write it anew: python tests/tools_page.py"


@pytest.mark.parametrize("module", ["collab_agent", "collab_agent.testing"])
def test_the_library_page_has_every_public_name(module: str) -> None:
    page = (CONFIG.parents[1] / "library.md").read_text("utf-8")
    names = importlib.import_module(module).__all__
    assert [name for name in names if not re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", page)] == []
