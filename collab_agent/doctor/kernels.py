"""Kernels: which there are, and what can be looked at in each (docs/reference.md, "Kernels")."""

from __future__ import annotations

from collab_agent.doctor.finding import Finding
from collab_agent.doctor.server import Patient
from collab_agent.errors import CollabAgentError
from collab_agent.jupyter.models import KernelSpec
from collab_agent.notebook.plain import inline

_RUN = "Running and outputs work"
_OTHERWISE = "for variables at any time and for installing, choose a Python kernel (ipykernel)"


async def kernels(patient: Patient) -> list[Finding]:
    """One finding for the list, and one for each kernelspec whose kernels cannot be looked into as ipykernel can."""
    try:
        specs = await patient.api.kernelspecs()
    except CollabAgentError as error:
        return [Finding("BAD", error.message)]
    if not specs.specs:
        return [Finding("BAD", "The server has no kernelspec, so nothing can run.", patient.pip("install ipykernel"))]
    names = ", ".join(f"{inline(s.name)} (default)" if s.name == specs.default else inline(s.name) for s in specs.specs)
    limits = [Finding("note", text, _OTHERWISE) for spec in specs.specs if (text := lacking(spec))]
    return [Finding("ok", f"Kernelspecs: {names}."), *limits]


def lacking(spec: KernelSpec) -> str:
    """What inspection a kernel of this spec does not have, going by its language and its command; empty: nothing."""
    name = f"Kernelspec {inline(spec.name)} ({inline(spec.language, 30) or 'of no known language'})"
    match spec.language.lower():
        case "python" if any("ipykernel" in word for word in spec.argv):
            return ""
        case "python":
            return f"{name} does not start ipykernel: {_RUN}; it is tried with variables, but not while code runs."
        case "r":
            return f"{name}: {_RUN}, and variables; not while code runs, and packages are not installed into it."
        case _:
            return f"{name}: {_RUN}, and documentation of names; variables cannot be shown, nor packages installed."
