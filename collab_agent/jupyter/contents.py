"""Notebook files, as the server's contents API sees them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from collab_agent.errors import NotebookNotFound, NotebookUnreadable, ServerRefused
from collab_agent.jupyter.address import quote_path
from collab_agent.jupyter.models import KernelSpec, KernelSpecs, Listing, NotebookFile, kernelspecs_of, text_of
from collab_agent.jupyter.rest import Rest
from collab_agent.notebook.soundness import unsound, unwritable

WRITTEN_S = 1.0
"""For so long a file may be no JSON because somebody is writing it."""
REREAD_S = 0.1
RESTS_S = 60.0
"""A file that was not written for so long is taken for one that nobody is writing."""


class ContentsApi:
    """The part of ``JupyterApi`` that is about files.  All paths are normalised ones."""

    _rest: Rest
    _slow: Rest
    """For requests that may take long, of a server that answers others meanwhile."""

    async def kernelspecs(self) -> KernelSpecs:
        """The kinds of kernels that the server can start."""
        return kernelspecs_of(self._rest.object(await self._rest.request("GET", "api/kernelspecs")))

    async def check_notebook(self, path: str) -> None:
        """Make sure that ``path`` is a notebook that the server can open as one.

        This comes before every join: a room for a missing path stops all open rooms from broadcasting (rtc facts,
        section 1), and one whose cells are none never opens.  Raises NotebookNotFound, or NotebookUnreadable for a
        folder, another file, broken JSON, or what no room can hold.
        """
        model = await self._contents(path, content="0")
        if model.get("type") != "notebook":
            kind = "a folder" if model.get("type") == "directory" else "not a notebook"
            raise NotebookUnreadable(f"{path!r} is {kind}.", "Choose another path, ending in .ipynb.")
        local = await anyio.to_thread.run_sync(_read_local, self._rest.server.root_dir, path)
        if not isinstance(local, dict) or local.get("nbformat") != 4:
            local = await self.read_notebook(path)  # not on this machine, or to be upgraded or refused by the server
        if problem := await anyio.to_thread.run_sync(lambda: unsound(local) or unwritable(local)):
            raise NotebookUnreadable(
                f"{path!r} cannot be opened as a notebook: {problem}. No room was opened for it.",
                "Repair the file, or choose another path; it was left as it is.",
            )

    async def read_notebook(self, path: str) -> dict[str, Any]:
        """The notebook as the file holds it now; of an older format, as the server upgrades it to nbformat 4.

        Texts may be lists of lines, as files have them.  It is read as text: a server that is asked for a *notebook*
        while it writes it may find half of it; then it moves the file aside, as ``.invalid``, and puts back what was
        there before, or nothing at all where the write has ended meanwhile (jupyter_server 2.21, ``_read_notebook``).
        What is no JSON yet is read again for a second.
        """
        deadline = anyio.current_time() + WRITTEN_S
        while True:
            try:
                content = await self._parsed(path)
                break
            except NotebookUnreadable:
                if anyio.current_time() >= deadline:
                    raise
                await anyio.sleep(REREAD_S)
        return content if is_notebook(content) else await self._upgraded(path)

    async def _parsed(self, path: str) -> Any:
        """The JSON of the file's text."""
        text = (await self._contents(path, self._slow, content="1", type="file", format="text")).get("content")
        try:
            return await anyio.to_thread.run_sync(json.loads, text if isinstance(text, str) else "")
        except (ValueError, RecursionError) as exc:
            raise NotebookUnreadable(
                f"{path!r} cannot be read as a notebook: it is no JSON ({exc}). No room was opened for it.",
                "Repair the file, or choose another path; it was left as it is.",
            ) from None

    async def _upgraded(self, path: str) -> dict[str, Any]:
        """The file as the server reads it as a notebook: never one that a server may be writing."""
        content = (await self._contents(path, self._slow, content="1", type="notebook")).get("content")
        if not isinstance(content, dict) or not is_notebook(content):
            raise NotebookUnreadable(f"{path!r} came as no notebook.", "See the server's log.")
        return content

    async def notebook_on_disk(self, path: str) -> tuple[dict[str, Any], str]:
        """As ``read_notebook``; read here, where the server's root folder is on this machine, then with its SHA-256."""
        local, sha = await anyio.to_thread.run_sync(_read_and_hash, self._rest.server.root_dir, path)
        return (local, sha) if is_notebook(local) else (await self.read_notebook(path), "")

    async def untrusted_cells(self, path: str, most_bytes: int) -> tuple[int, int]:
        """How many code cells of the notebook pages do not trust, and how many there are.

        (0, 0) of a larger file, and of one that was written within the last minute, and may be again (``_upgraded``).
        """
        model = await self._contents(path, content="0")
        if int(model.get("size") or 0) > most_bytes or _age_s(str(model.get("last_modified"))) < RESTS_S:
            return 0, 0
        cells = [cell for cell in (await self._upgraded(path)).get("cells") or [] if isinstance(cell, dict)]
        trusted = [(cell.get("metadata") or {}).get("trusted") for cell in cells if cell.get("cell_type") == "code"]
        return trusted.count(False), len(trusted)

    async def modified(self, path: str) -> str:
        """When the file was last written, as ISO 8601 in the server's own precision."""
        return str((await self._contents(path, content="0")).get("last_modified", ""))

    async def file_sha(self, path: str) -> str:
        """SHA-256 of the file's bytes, in hex, as the server reads it now."""
        model = await self._contents(path, content="0", hash="1")
        if not isinstance(sha := model.get("hash"), str):
            raise ServerRefused("The server does not tell a file's hash.", "Run: pip install -U 'jupyter-server>=2.11'")
        return sha

    async def exists(self, path: str) -> bool:
        """Whether there is a file or folder at ``path``."""
        answer = await self._rest.request("GET", _contents_url(path), query={"content": "0"}, accept=(404,))
        return answer.status_code != 404

    async def create_notebook(self, path: str, kernelspec: str | None = None) -> bool:
        """Write an empty notebook, with the folders above it; whether it was made.

        What is there already is left alone.  ``kernelspec`` None: the server's default.  Raises NoKernel for an
        unknown one, before anything is written.
        """
        if await self.exists(path):
            return False
        spec = await self._spec_for_new(kernelspec)
        await self._make_folders(path)
        body = {"type": "notebook", "format": "json", "content": _empty_notebook(spec)}
        await self._rest.request("PUT", _contents_url(path), json_body=body)
        return True

    async def contents_listing(
        self,
        folder: str = "",
        *,
        folders: int = 100,
        notebooks: int = 500,
        wanted: Callable[[str], object] = lambda _path: True,
    ) -> Listing:
        """The notebooks in ``folder`` and below, nearest first; hidden ones are left out by the server.

        Looks into at most ``folders`` folders and returns at most ``notebooks`` notebooks, of those whose path is
        ``wanted``.
        """
        found: list[NotebookFile] = []
        queue = [folder]
        for current in queue:  # grows while it is walked: breadth first
            if len(found) > notebooks or folders <= 0:
                break
            folders -= 1
            items = (await self._contents(current, content="1", type="directory")).get("content") or []
            items = filter(_is_object, items if isinstance(items, list) else [])
            for item in sorted(items, key=lambda item: str(item.get("path"))):
                if item.get("type") == "directory":
                    queue.append(text_of(item, "path"))
                elif item.get("type") == "notebook" and wanted(text_of(item, "path")):
                    found.append(
                        NotebookFile(text_of(item, "path"), int(item.get("size") or 0), text_of(item, "last_modified"))
                    )
        else:
            return Listing(tuple(found[:notebooks]), len(found) <= notebooks)
        return Listing(tuple(found[:notebooks]), False)

    async def _contents(self, path: str, rest: Rest | None = None, **query: str) -> dict[str, Any]:
        answer = await (rest or self._rest).request("GET", _contents_url(path), query=query, accept=(400, 404, 500))
        if answer.status_code == 500:
            if query.get("type") != "notebook":
                raise self._rest.refusal("GET", _contents_url(path), answer)
            raise NotebookUnreadable(
                f"The server fails at reading {path!r} as a notebook (500). No room was opened for it.",
                "See the server's log; repair the file, or choose another path. It was left as it is.",
            )
        if answer.status_code == 404:
            raise NotebookNotFound(
                f"The server has no {path!r}.",
                "See query_notebook(query='server') for its notebooks, or make it with setup_notebook.",
            )
        if answer.status_code == 400:
            said = self._rest.said(answer)
            raise NotebookUnreadable(
                f"{path!r} cannot be read as asked. The server says: {said}.",
                "Repair or remove the file, or choose another path; it was left as it is.",
            )
        return await anyio.to_thread.run_sync(self._rest.object, answer)

    async def _spec_for_new(self, name: str | None) -> KernelSpec | None:
        specs = await self.kernelspecs()
        return specs.pick(name) if name or specs.specs else None

    async def _make_folders(self, path: str) -> None:
        parts = path.split("/")[:-1]
        for end in range(1, len(parts) + 1):
            folder = "/".join(parts[:end])
            answer = await self._rest.request("GET", _contents_url(folder), query={"content": "0"}, accept=(404,))
            if answer.status_code == 404:
                await self._rest.request("PUT", _contents_url(folder), json_body={"type": "directory"})
            elif self._rest.object(answer).get("type") != "directory":
                raise NotebookUnreadable(f"{folder!r} is a file, not a folder.", "Choose another path.")


def _contents_url(path: str) -> str:
    return ("api/contents/" + quote_path(path)).rstrip("/")


def _empty_notebook(spec: KernelSpec | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if spec is not None:
        metadata = {
            "kernelspec": {
                "name": spec.name,
                "display_name": spec.display_name,
                "language": spec.language,
            },
            "language_info": {"name": spec.language},
        }
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": []}


def _read_local(root_dir: str | None, path: str) -> Any:
    """The file's JSON where the server's root folder is on this machine; None if it is not, or does not parse."""
    return _read_and_hash(root_dir, path)[0]


def _read_and_hash(root_dir: str | None, path: str) -> tuple[Any, str]:
    if root_dir is None:
        return None, ""
    try:
        content = (Path(root_dir) / path).read_bytes()
        return json.loads(content), hashlib.sha256(content).hexdigest()
    except (OSError, ValueError, RecursionError):
        return None, ""


def _age_s(modified: str) -> float:
    """Seconds since a moment in ISO 8601, by this machine's clock; 0 where it is none."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(modified)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def is_notebook(content: Any) -> bool:
    """Whether the server will read this JSON as a notebook, told without a schema; false when in doubt."""
    return (
        isinstance(content, dict)
        and content.get("nbformat") == 4
        and isinstance(content.get("metadata"), dict)
        and isinstance(content.get("cells"), list)
        and all(isinstance(cell, dict) and "cell_type" in cell for cell in content["cells"])
    )


def _is_object(item: Any) -> bool:
    return isinstance(item, dict)
