"""The process of a Jupyter server on this machine: how it was started, and where it reads its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_ASKED = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH", "JUPYTER_NO_CONFIG")
"""All that is kept of its environment, which holds secrets."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """``env``: those of ``_ASKED`` that are set.  ``cwd``: where it runs."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path

    @property
    def python(self) -> Path | None:
        """The Python that it runs on, by the name that leads to its environment; None where that is not told."""
        first = Path(self.argv[0]) if self.argv else Path()
        return first if first.is_absolute() and "python" in first.name and first.exists() else None

    @property
    def config_folders(self) -> list[Path]:
        """Where it reads its configuration (``jupyter --paths``), the user's own folder first."""
        home = Path(self.env.get("HOME") or Path.home())
        own = Path(self.env.get("JUPYTER_CONFIG_DIR") or home / ".jupyter")
        if self.env.get("JUPYTER_NO_CONFIG"):
            return []
        named = [Path(folder) for folder in self.env.get("JUPYTER_CONFIG_PATH", "").split(":") if folder]
        prefix = [] if self.python is None else [self.python.parent.parent / "etc" / "jupyter"]
        of_system = [Path("/usr/local/etc/jupyter"), Path("/etc/jupyter")]
        return list(dict.fromkeys([own, *named, home / ".local/etc/jupyter", *prefix, *of_system]))


def process_of(pid: int) -> ServerProcess | None:
    """The process of this number; None where that cannot be read (only Linux tells, and only of the user's own)."""
    folder = _PROC / str(pid)
    try:
        argv = _words(folder / "cmdline")
        env = dict(word.partition("=")[::2] for word in _words(folder / "environ"))
        cwd = (folder / "cwd").readlink()
    except OSError:
        return None
    return ServerProcess(tuple(argv), {name: env[name] for name in _ASKED if name in env}, cwd)


def _words(file: Path) -> Sequence[str]:
    return file.read_bytes().decode("utf-8", "surrogateescape").rstrip("\0").split("\0")


def config_files(process: ServerProcess, named: Sequence[str]) -> list[Path]:
    """Its configuration files: all that it may read in its folders, and those ``named`` on its command line."""
    patterns = ("jupyter*_config.py", "jupyter*_config.json", "jupyter*_config.d/*.json")
    found = [file for folder in process.config_folders for pattern in patterns for file in sorted(folder.glob(pattern))]
    return list(dict.fromkeys([*found, *(process.cwd / name for name in named)]))
