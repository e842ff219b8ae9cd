"""Bring the real notebooks that ``tests/integration/test_real_notebooks.py`` runs into ``fixtures/real/``.

    python tests/fetch_notebooks.py          nothing is fetched again that is there

They are what others ship: ``statsmodels/`` is Debian's ``python-statsmodels-doc``, ``nbclient/`` and ``nbconvert/`` are
the test files of these projects' source distributions.  None of them is part of this repository.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REAL = Path(__file__).parents[1] / "fixtures" / "real"
SOURCES = ("statsmodels", "nbclient", "nbconvert")


def fetch(folder: Path = REAL) -> Path:
    """Fill what is missing of ``folder``; the folder.  ``CalledProcessError``: no network, no such package."""
    for source in SOURCES:
        if (folder / source).is_dir():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            found = Path(scratch) / "found"
            found.mkdir()
            files = _from_debian(Path(scratch)) if source == "statsmodels" else _from_pypi(source, Path(scratch))
            for file in files:
                shutil.copy(file, found / file.name)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(found, folder / source)  # whole or not at all
    return folder


def _from_debian(scratch: Path) -> list[Path]:
    package = "python-statsmodels-doc"
    download = ["apt-get", "-qq", "-o", "Acquire::Retries=3", "-o", "APT::Sandbox::User=root", "download", package]
    if subprocess.run(download, cwd=scratch, check=False).returncode:
        # a machine that has not yet got Debian's lists
        subprocess.run(["apt-get", "-qq", "-o", "Acquire::Retries=3", "update"], check=True)
        subprocess.run(download, cwd=scratch, check=True)
    (archive,) = scratch.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, scratch / "tree"], check=True)
    return sorted((scratch / "tree" / "usr/share/doc" / package / "examples/notebooks").glob("*.ipynb"))


def _from_pypi(project: str, scratch: Path) -> list[Path]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", project, project]
    subprocess.run([*command, "--dest", scratch], check=True)
    (archive,) = scratch.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(scratch / "tree", filter="data")
    (tests,) = scratch.glob("tree/*/tests")
    # The other copies of a name (HelloWorld.ipynb) are the same notebook.
    return sorted({file.name: file for file in sorted(tests.rglob("*.ipynb"))}.values())


if __name__ == "__main__":
    print(fetch())
