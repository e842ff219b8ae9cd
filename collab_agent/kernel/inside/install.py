"""Installs requirements into the environment that the kernel runs in, and verifies them."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
from typing import Any

REASON_LINES = 3
LINE_CHARS = 300
# What pip and uv say first or last, and never is the reason.
NOISE = re.compile(r"\s*(\[?notice|warning:|hint: (see|run)|using python|resolved|defaulting to user)", re.IGNORECASE)

# How pip and uv say what failed; uv goes on with the cause.
REASON = re.compile(r"error|\s+cause", re.IGNORECASE)


class InstallFailed(Exception):
    """Says why, in at most three lines."""


def say(line: str) -> None:
    """Show a line in place of the last one."""
    print("\r\x1b[2K" + line[:LINE_CHARS], end="", flush=True)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def versions() -> dict[str, str]:
    """Distribution name -> version, read from disk anew; the first on the path counts."""
    importlib.invalidate_caches()
    found: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        name = each.metadata["Name"]
        if name:
            found.setdefault(normal(name), each.version)
    return found


def modules_of(name: str) -> set[str]:
    """The top-level modules of a distribution."""
    found = importlib.metadata.distribution(name)
    listed = (found.read_text("top_level.txt") or "").split()
    return set(listed) or {
        path.parts[0].partition(".")[0] for path in found.files or () if path.suffix in (".py", ".so", ".pyd")
    }


def installer() -> list[str]:
    """uv where the machine has it, else the environment's own pip."""
    uv = shutil.which("uv")
    if uv is not None:
        return [uv, "pip", "install", "--no-progress", "--color=never", "--python", sys.executable]
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-input",
            "--progress-bar=off",
            "--disable-pip-version-check",
        ]
    raise InstallFailed(
        "the kernel's environment " + sys.prefix + " has no pip, and there is no uv\n"
        "ask the human to run: " + sys.executable + " -m ensurepip --upgrade\n"
        "(or, in a conda environment: conda install pip)"
    )


def run(command: list[str]) -> None:
    """Run the installer, its last line shown as it comes; ``InstallFailed`` with its reasons."""
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            for line in process.stdout or ():
                if line.strip():
                    lines.append(line.rstrip())
                    say(line.strip())
        except BaseException:
            process.terminate()
            raise
    say("")
    if process.returncode:
        told = [line for line in lines if not NOISE.match(line)]
        errors = [line.strip() for line in told if REASON.match(line)]
        raise InstallFailed("\n".join(line[:LINE_CHARS] for line in (errors or told or lines)[-REASON_LINES:]))


def answer(_namespace: dict[str, Any], requirements: list[str]) -> str:
    """Install; the lines that say what came of it."""
    before, loaded = versions(), {name.partition(".")[0] for name in list(sys.modules)}
    run([*installer(), *requirements])
    after, lines, stale = versions(), [], []
    asked = {normal(re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0]): None for each in requirements}
    for name in asked:
        if name not in after:
            raise InstallFailed(name + " was not found after the installation (importlib.metadata)")
        was = before.get(name)
        what = "was there already" if was == after[name] else "installed" if was is None else "was " + was
        lines.append(name + " " + after[name] + " (" + what + ", verified)")
    others = [name for name in after if name not in asked and before.get(name) != after[name]]
    if others:
        lines.append("also: " + ", ".join(name + " " + after[name] for name in sorted(others)))
    for name in [*asked, *others]:
        if name in before and before[name] != after[name] and modules_of(name) & loaded:
            stale.append(name + " " + before[name])
    lines.append("restart needed: the kernel has imported " + ", ".join(stale) if stale else "no restart needed")
    return "\n".join(lines)
