"""Record the fixtures that ``notebook/outputs.py`` is judged by.  Not a test; run it by hand.

    python tests/record_iopub.py             every fixture
    python tests/record_iopub.py threads     one of them

``fixtures/iopub/NAME.json``: the iopub messages that a real ipykernel sends for the code of ``SNIPPETS[NAME]``,
from ``busy`` to ``idle`` and, for ``late_threads``, beyond.

``fixtures/jupyterlab_text.json``: what JupyterLab's own ``processText`` (taken out of the bundle of the installed
JupyterLab, run in node) makes of random pieces of stream text: ``[[piece, …], text]``.
"""

from __future__ import annotations

import json
import queue
import random
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

FIXTURES = Path(__file__).parent.parent / "fixtures"

SNIPPETS = {
    "prints": """
        for i in range(20):
            print("line", i, flush=True)
        print("żółw 漢字 🐢", end="", flush=True)
        print("\\x1b[31mred\\x1b[0m")
        """,
    "interleaved": """
        import sys
        for i in range(4):
            print("out", i, flush=True)
            print("err", i, file=sys.stderr, flush=True)
        print("out", end="", flush=True)
        print("more out")
        """,
    "progress_bar": """
        import sys, time
        for i in range(0, 101, 5):
            sys.stderr.write(f"\\r{i:3d}%|{'█' * (i // 5):<20}| {i}/100 [00:0{i // 20}<00:00]")
            sys.stderr.flush()
            time.sleep(0.002)
        sys.stderr.write("\\n")
        print("one\\rtwo\\r\\nthree\\r", end="", flush=True)
        print("\\nfour\\r", end="", flush=True)
        print("FO", end="", flush=True)
        for _ in range(3):
            print("\\bx", end="", flush=True)
        """,
    "updated_display": """
        from IPython.display import HTML, display
        first = display(HTML("<b>0</b>"), display_id="first")
        print("between", flush=True)
        second = display("second", display_id=True)
        for i in range(3):
            first.update(HTML(f"<b>{i}</b>"))
        second.update({"a": [1, 2]})
        print("after", flush=True)
        """,
    "cleared": """
        from IPython.display import clear_output, display
        print("gone at once", flush=True)
        clear_output()
        for i in range(5):
            clear_output(wait=True)
            print("step", i, flush=True)
            display({"step": i})
        handle = display("kept", display_id="kept")
        clear_output(wait=True)
        handle.update("changed before it is cleared")
        """,
    "figure": """
        %matplotlib inline
        import matplotlib.pyplot as plt
        figure, axes = plt.subplots(figsize=(1.2, 0.8), dpi=40)
        axes.plot([1, 4, 2])
        plt.show()
        """,
    "data_frame": """
        import pandas as pd
        pd.DataFrame({"город": ["Oslo", "東京"], "n": [1, 2]})
        """,
    "error": """
        print("before", flush=True)
        def fail(x):
            return 1 / x
        fail(0)
        """,
    "threads": """
        import threading
        def work(name):
            for i in range(10):
                print(name, i, flush=True)
        threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """,
    "late_threads": """
        import threading
        threading.Timer(0.3, lambda: print("after idle", flush=True)).start()
        print("before idle")
        42
        """,
}


def record(client: Any, code: str, quiet_s: float) -> list[dict[str, Any]]:
    """The iopub messages of one run, until ``idle`` and then until nothing came for ``quiet_s`` seconds."""
    parent = client.execute(code, stop_on_error=False)
    messages: list[dict[str, Any]] = []
    wait_s = 60.0
    while True:
        try:
            message = client.get_iopub_msg(timeout=wait_s)
        except queue.Empty:
            break
        if message["parent_header"].get("msg_id") != parent:
            continue
        messages.append({"msg_type": message["msg_type"], "content": message["content"]})
        if message["content"].get("execution_state") == "idle":
            wait_s = quiet_s
    return messages


def record_kernel(names: list[str]) -> None:
    import ipykernel
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        for name in names:
            code = dedent(SNIPPETS[name]).strip()
            messages = record(client, code, 1.5 if name == "late_threads" else 0.05)
            fixture = {"kernel": f"ipykernel {ipykernel.__version__}", "code": code, "messages": messages}
            write(FIXTURES / "iopub" / f"{name}.json", fixture)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def jupyterlab_function() -> tuple[str, str]:
    """JupyterLab's version, and ``processText`` with the helper that it calls, as JavaScript."""
    import jupyterlab

    for bundle in (Path(jupyterlab.__file__).parent / "static").glob("jlab_core.*.js"):
        found = re.search(
            r"(function \w+\(\w,\w,\w\)\{let \w=\w\.slice\(\w\)\.search\(\w\);return[^}]*\})"
            r"function (\w+)(\(\w+,\w+,\w+\)\{if\(.*?throw Error\(\"This should not happen\"\)\}.*?\})function",
            bundle.read_text(),
        )
        if found:
            code = f"{found[1]}\nconst processText = function {found[2]}{found[3]}"
            return jupyterlab.__version__, code
    raise SystemExit("processText was not found in JupyterLab's bundle")


def record_jupyterlab_text() -> None:
    version, function = jupyterlab_function()
    dice = random.Random(20261122)
    alphabet = ["\r", "\b", "\n", "\r\n", "a", "bc", "漢字", "ż", " ", "\x1b[1m", "12345"]
    runs = [
        ["".join(dice.choices(alphabet, k=dice.randrange(1, 7))) for _ in range(dice.randrange(1, 6))]
        for _ in range(400)
    ]
    script = f"""{function}
        const runs = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const judge = pieces => pieces.reduce(
            (seen, piece) => processText(seen.index, piece, seen.text), {{text: "", index: 0}}).text;
        console.log(JSON.stringify(runs.map(pieces => [pieces, judge(pieces)])));"""
    ran = subprocess.run(["node", "-e", script], input=json.dumps(runs), capture_output=True, text=True, check=True)
    write(FIXTURES / "jupyterlab_text.json", {"jupyterlab": version, "cases": json.loads(ran.stdout)})


def write(path: Path, fixture: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fixture, ensure_ascii=False, indent=1, default=str) + "\n")
    print(path)


if __name__ == "__main__":
    wanted = sys.argv[1:] or [*SNIPPETS, "jupyterlab_text"]
    record_kernel([name for name in wanted if name in SNIPPETS])
    if "jupyterlab_text" in wanted:
        record_jupyterlab_text()
