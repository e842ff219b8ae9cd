"""What the two do in ``wine.ipynb``, in six acts.

Each act is one thing that goes wrong where an agent edits the file, or the whole cell, under a human's hands.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

import anyio

from ..errors import CollabAgentError
from .goose import ScriptedAgent
from .report import Report
from .tempo import Tempo
from .typist import Typist

IMPORTS, LOAD, MARKERS, PLOT = "3e7a51f0", "a1f93b62", "f48d2c9e", "58c6f7d1"
SPLIT, SCORE, FINDINGS, APART = "b73f1e58", "0d82c4a6", "84e1d7cf", "70b5e9a4"

ON_SCALES = """\
# Scaled first: proline counts in hundreds, hue in tenths.
X, y = data[wine.feature_names], data["cultivar"]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=7)
model = make_pipeline(StandardScaler(), LogisticRegression())
model.fit(X_train, y_train)
print(f"learned from {len(y_train)} wines, {len(y_test)} are held out")"""


class Script:
    """The acts, in order."""

    def __init__(self, ada: Typist, goose: ScriptedAgent, report: Report, tempo: Tempo) -> None:
        self._ada = ada
        self._goose = goose
        self._report = report
        self._tempo = tempo

    async def play(self) -> None:
        """All acts."""
        acts = (
            ("1. Both type in one cell  (under “1 · The data”)", self.one_cell),
            ("2. Cells move under their hands  (the last cell, and above “2 · What sets …”)", self.cells_move),
            ("3. A run fails; the agent reads the error and mends it  (under “2 · What sets …”)", self.mend),
            ("4. Where the two would touch, nothing is written  (the plot)", self.touch),
            ("5. A whole cell is rewritten from a text that has changed since  (under “3 · A model”)", self.rewrite),
            ("6. The findings  (the last cell, and “3 · A model”)", self.findings),
        )
        for title, act in acts:
            await anyio.sleep(self._tempo.act_s)
            self._report.title(title)
            await act()

    async def one_cell(self) -> None:
        """Four edits around a comment that is being typed, three of them in lines next to it."""
        edits = (
            _replace(LOAD, 'print(len(data), "wines,", data.shape[1] - 1, "measurements each")',
                     'print(f"{len(data)} wines, {data.shape[1] - 1} measurements each")'),
            _replace(LOAD, "data.head()", "data.sample(5, random_state=7)"),
            _replace(LOAD, "wine = load_wine(as_frame=True)",
                     'names = ["Barolo", "Grignolino", "Barbera"]\nwine = load_wine(as_frame=True)'),
            _replace(LOAD, '{0: "Barolo", 1: "Grignolino", 2: "Barbera"}', "dict(enumerate(names))"),
        )  # fmt: skip
        text = "  # les cépages 葡萄 🍇 are counted 0, 1, 2 in the data set"
        async with self._ada.typing(LOAD, text, after='columns={"target": "cultivar"})'):
            for edit in edits:
                await self._goose.edits(edit)
        await self._ada.sees("Goose")

    async def cells_move(self) -> None:
        """Cells come above the one in which a human types, and between an agent's look and its edit."""
        text = "\n- colour and flavanoids all but part the three cépages 🍇; プロリン (proline) sets Barolo apart"
        gaps = 'gaps = int(data.isna().sum().sum())\nprint(f"{gaps} of {data.size:,} values are missing")'
        async with self._ada.typing(FINDINGS, text, after="What the measurements show:"):
            answer = await self._goose.edits(
                {"op": "insert", "type": "markdown", "source": "### Is it all there? 🔎", "before": APART},
                {"op": "insert", "source": gaps, "before": APART},
            )
            await self._goose.edits(
                _replace(FINDINGS, "What the model can do:", "What the model can do, and how well:")
            )
            new = re.findall(r"^inserted (\S+) \(code", answer.text, re.MULTILINE)
            await self._goose.runs(IMPORTS, LOAD, *new)
        await self._goose.lists()
        note = "> 🥂 乾杯! Notes of Ada, who shares this page with Goose."
        await self._ada.inserts(1, note)
        await self._goose.hears("Notes of Ada", of="Ada")
        self._report.line("Goose", f"means {PLOT[:4]} by #9, as it was listed, though that is the tenth cell now")
        answer = await self._goose.edits(_replace("#9", "ax.legend()", 'ax.legend(title="cépage")'), to=PLOT)
        if f"edited {PLOT[:4]}" not in answer.text:
            raise CollabAgentError(f"#9, as listed, is {PLOT[:4]}; the edit went elsewhere: {answer.text}")

    async def mend(self) -> None:
        """The notebook's bug, found from its error alone."""
        text = "  # 平均: what a typical bottle of each cépage holds"
        async with self._ada.typing(MARKERS, text, after=".mean().round(2)"):
            failed = await self._goose.runs(MARKERS, fails=True)
            missing = re.search(r"KeyError: .*?'([^']+)'", failed.text)
            if missing is None:
                raise CollabAgentError(f"The sample's bug did not show:\n{failed.text}")
            columns = re.findall(r"'([^']+)'", await self._goose.asks("list(data.columns)"))
            meant = get_close_matches(missing[1], columns, 1)
            if not meant:
                raise CollabAgentError(f"No column of {columns} is like {missing[1]!r}.")
            await self._goose.runs(edits=[_replace(MARKERS, missing[1], meant[0])])

    async def touch(self) -> None:
        """Two hands on the same words: the human's stay, the agent is told."""
        async with self._ada.typing(PLOT, ", 178 vins de Piémont", after="Colour against flavanoids"):
            await self._goose.hears("flavanoids, 178", of="Ada")
            title = _replace(PLOT, "Colour against flavanoids", "Flavanoids and colour")
            await self._goose.is_refused(title)
            await self._goose.edits(_replace(PLOT, "alpha=0.7", 'alpha=0.7, edgecolor="white"'))
        await self._goose.hears("178 vins de Piémont", of="Ada")
        answer = await self._goose.runs(PLOT)
        if not answer.images:
            raise CollabAgentError(f"The plot brought no picture:\n{answer.text}")

    async def rewrite(self) -> None:
        """A whole cell is written from the text that was read at first, while a human types in the midst of it."""
        warned = await self._goose.runs(SPLIT)
        if "ConvergenceWarning" in warned.text:
            self._report.line("Goose", "sees ConvergenceWarning: … You might also want to scale the data")
        text = "  # X: 化学 🧪, treize mesures; y: le cépage"
        pipeline = "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler"
        split = "from sklearn.model_selection import train_test_split"
        async with self._ada.typing(SPLIT, text, after=', data["cultivar"]'):
            await self._goose.hears("# X: 化", of="Ada")
            await self._goose.edits(
                _replace(IMPORTS, split, f"{split}\n{pipeline}"), {"op": "write", "cell": SPLIT, "source": ON_SCALES}
            )
            await self._goose.edits(_replace(SPLIT, "hue in tenths", "色相 (hue) in tenths"))
        await self._goose.hears("y: le cépage", of="Ada")
        await self._goose.runs(IMPORTS, SPLIT)
        self._report.line("", f"{SPLIT[:4]} holds both now, and Ada's caret has stayed behind her last letter:")
        self._report.text(self._ada.human.source(SPLIT))

    async def findings(self) -> None:
        """The agent writes down what its run has shown, beside the human's last words."""
        score = 'print(f"accuracy {(predicted == y_test).mean():.3f} on {len(y_test)} held-out wines")'
        weights = (
            "weights = pd.DataFrame(model[-1].coef_.T, X_train.columns, model.classes_)\n"
            "weights.abs().max(axis=1).nlargest(3).round(2)"
        )
        text = "\n- merci, Goose: one wrong letter, o for a 😅"
        async with self._ada.typing(FINDINGS, text, after="sets Barolo apart"):
            answer = await self._goose.runs(
                edits=[
                    _replace(SCORE, 'print("accuracy:", (predicted == y_test).mean())', score),
                    {"op": "insert", "source": weights, "after": SCORE},
                ]
            )
            found = re.search(r"accuracy (\S+) on (\d+) held-out wines", answer.text)
            if found is None:
                raise CollabAgentError(f"The model's accuracy is not in the output:\n{answer.text}")
            words = f"scaled first, it names the cépage of {float(found[1]):.1%} of {found[2]} held-out bottles ✅"
            await self._goose.edits(_replace(FINDINGS, "_to be written_", words))


def _replace(cell: str, old: str, new: str) -> dict[str, Any]:
    return {"op": "replace", "cell": cell, "old": old, "new": new}
