"""What the server was told when it was started, as far as this machine knows it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from collab_agent.doctor.finding import Finding
from collab_agent.doctor.options import config_files_on, finding_of, in_file, on_command_line
from collab_agent.doctor.process import ServerProcess, config_files
from collab_agent.doctor.server import Patient


def settings(patient: Patient, env: Mapping[str, str]) -> list[Finding]:
    """The options that endanger a notebook; that they cannot be read, where that is so.  Reads files.

    ``env``: of this process; it stands for the server's, where that cannot be read.
    """
    if patient.here is None:
        return [
            Finding(
                "note",
                "The server does not run here, or not as you, and no server tells its settings over the network: "
                "whether it forgets the history of notebooks (squash_after_inactivity_of, document_ttl), or loads them "
                "progressively, is not known.",
                "run `collab-agent doctor` where the server runs",
            )
        ]
    process = patient.process or ServerProcess((), env, Path.cwd())
    found = _dangers(process)
    if patient.process is None:
        text = "The server's command line cannot be read on this system: only configuration files were looked at."
        found.append(Finding("note", text, "see that it sets none of squash_after_inactivity_of, document_ttl"))
    return found or [Finding("ok", "Its settings keep the history of notebooks.")]


def _dangers(process: ServerProcess) -> list[Finding]:
    there = on_command_line(process.argv)
    overridden = {option.name for option in there.values()}
    found = [
        finding_of(option, "The server's command line", f"start it without {shlex.quote(words)}")
        for words, option in there.items()
        if option.judged
    ]
    for file in config_files(process, config_files_on(process.argv)):
        try:
            text = file.read_text("utf-8", "replace")
        except OSError:
            continue
        for option in in_file(text, is_json=file.suffix == ".json"):
            if option.judged and option.name not in overridden:
                finding = finding_of(option, str(file), f"take {option.name} out of {shlex.quote(str(file))}")
                found.append(finding)
    return [replace(finding, remedy=f"{finding.remedy}, then restart the server") for finding in found]
