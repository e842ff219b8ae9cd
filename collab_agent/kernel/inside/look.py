"""Looks at the variables of a Python kernel; nothing of the user's is called.

The rule: of an object, only its type is asked, and a type only by what ``type`` itself defines.  No property getter,
no ``__repr__``, ``__len__``, ``__eq__``, ``__class__`` or metaclass of the user's is run.  More is said of builtins (by
the unbound methods of the builtin type, so that no override is called), of numpy arrays (likewise), and of *exactly*
pandas', polars' and torch's own classes.  Whatever fails is left out.
"""

from __future__ import annotations

import abc
import collections
import datetime
import decimal
import fractions
import inspect
import itertools
import pathlib
import sys
import types
import uuid
from typing import Any

WIDTH = 60
MOST_NAMES = 50_000
ITEMS = 5
COLUMNS = 8
DOC_CHARS = 20_000
SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset, collections.deque)
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
DESCRIPTORS = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
# Exactly these: a subclass of the user's may override what ``str`` runs.
PLAIN = (
    decimal.Decimal,
    fractions.Fraction,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    uuid.UUID,
    datetime.date,
    datetime.timedelta,
    range,
)


# Types.


def among(cls: Any, *classes: Any) -> bool:
    """As ``cls in classes``, but without ``==``, which a metaclass can define."""
    return any(cls is each for each in classes)


def mro(cls: Any) -> Any:
    """The classes that a class inherits from, whatever its metaclass says."""
    return type.__dict__["__mro__"].__get__(cls)


def is_a(obj: Any, *classes: Any) -> bool:
    """As ``isinstance``, but blind to ``__class__`` and to ``__instancecheck__``."""
    return any(among(base, *classes) for base in mro(type(obj)))


def module_of(cls: Any) -> str:
    module = type.__dict__["__module__"].__get__(cls)
    return module if type(module) is str else "builtins"


def type_name(cls: Any) -> str:
    """``int``, ``Model``, ``pandas.DataFrame``."""
    name, top = type.__dict__["__qualname__"].__get__(cls), module_of(cls).partition(".")[0]
    return cut(name if top in ("builtins", "__main__") else top + "." + name.rpartition(".")[2], 80)


def member(module: str, name: str) -> Any:
    """What an imported module holds under a name; None where it is not imported."""
    found = sys.modules.get(module)
    return found.__dict__.get(name) if type(found) is types.ModuleType else None


def is_exactly(obj: Any, module: str, *names: str) -> bool:
    """Whether an object's type is this class of this module, which then is imported already."""
    return any(found is not None and type(obj) is found for found in (member(module, name) for name in names))


# Values.


def cut(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def brief(obj: Any, depth: int = 2) -> str:
    """A short text for a value; for what is not known, its type in angle brackets."""
    cls = type(obj)
    if obj is None or obj is Ellipsis or among(cls, bool, float, complex):
        return repr(obj)
    if cls is int:
        return repr(obj) if obj.bit_length() <= 200 else "about 2**" + str(obj.bit_length())
    if among(cls, str, bytes, bytearray):
        return cut(repr(obj[:WIDTH]))
    if among(cls, *PLAIN):
        return cut(str(obj))
    if among(cls, datetime.datetime, datetime.time):
        known = obj.tzinfo is None or type(obj.tzinfo) is datetime.timezone
        return str(obj) if known else str(obj.replace(tzinfo=None))
    if is_a(obj, member("numpy", "generic")) and obj.dtype.kind in "biufcmM":
        return str(obj)
    if is_exactly(obj, "pandas", "Timestamp", "Timedelta"):
        return str(obj)
    if among(cls, list, tuple, set, frozenset, dict, collections.deque) and depth > 0:
        return cut(items_of(obj, depth))
    return "<" + type_name(cls) + ">"


def items_of(obj: Any, depth: int) -> str:
    """The first items of a builtin container."""
    length = len(obj)
    if is_a(obj, dict):
        pairs = itertools.islice(dict.items(obj), ITEMS)
        parts = [brief(key, 0) + ": " + brief(value, depth - 1) for key, value in pairs]
    else:
        parts = [brief(item, depth - 1) for item in itertools.islice(iter(obj), ITEMS)]
    inside = ", ".join([*parts, "…"] if length > ITEMS else parts)
    brackets = "()" if is_a(obj, tuple) else "[]" if is_a(obj, list, collections.deque) else "{}"
    return brackets[0] + inside + brackets[1]


def columns(pairs: Any, total: int) -> str:
    texts = [(name if type(name) is str else brief(name, 1)) + " " + kind for name, kind in pairs]
    return ", ".join([cut(text, 40) for text in texts] + (["…"] if total > len(texts) else []))


def pandas_dtype(dtype: Any) -> str:
    """A dtype's name; of a third party's only that of its class."""
    return cut(str(dtype), 30) if module_of(type(dtype)).partition(".")[0] in ("pandas", "numpy") else "extension"


def of_pandas(obj: Any) -> dict[str, Any]:
    if is_exactly(obj, "pandas", "DataFrame"):
        dtypes = [pandas_dtype(dtype) for dtype in obj.dtypes.iloc[:COLUMNS]]
        rows, width = obj.shape
        found: dict[str, Any] = {"shape": [rows, width]}
        found["preview"] = columns(zip(list(obj.columns[:COLUMNS]), dtypes), width)  # noqa: B905 (Python 3.9)
        if width <= COLUMNS and "extension" not in dtypes:
            found["bytes"] = int(obj.memory_usage(index=False).sum())
        return found
    dtype = pandas_dtype(obj.dtype)
    known = dtype not in ("extension", "category") and not dtype.startswith(("interval", "Sparse"))
    found = {"shape": list(obj.shape), "dtype": dtype}
    if known:
        values = obj.iloc[:ITEMS].tolist() if is_exactly(obj, "pandas", "Series") else obj[:ITEMS].tolist()
        found.update(bytes=int(obj.nbytes), preview=listed(values, len(obj)))
    return found


def listed(values: list[Any], total: int) -> str:
    texts = [brief(value, 0) for value in values]
    return cut(", ".join([*texts, "…"] if total > len(values) else texts))


def of_polars(obj: Any) -> dict[str, Any]:
    def kind(dtype: Any) -> str:
        return type_name(dtype if type(dtype) is not None and is_a(dtype, type) else type(dtype)).rpartition(".")[2]

    if is_exactly(obj, "polars", "DataFrame"):
        names, dtypes = obj.columns, obj.dtypes
        pairs = [(name, kind(dtype)) for name, dtype in zip(names[:COLUMNS], dtypes[:COLUMNS])]  # noqa: B905
        found = {"shape": list(obj.shape), "preview": columns(pairs, len(names))}
    elif is_exactly(obj, "polars", "Series"):
        found = {
            "shape": [obj.len()],
            "dtype": kind(obj.dtype),
            "preview": listed(obj.head(ITEMS).to_list(), obj.len()),
        }
    else:
        return {}  # what a LazyFrame holds would have to be computed
    return {**found, "bytes": int(obj.estimated_size())}


def of_numpy(obj: Any) -> dict[str, Any]:
    array: Any = member("numpy", "ndarray")
    shape, dtype = (array.__dict__[name].__get__(obj) for name in ("shape", "dtype"))
    found = {
        "shape": list(shape),
        "dtype": cut(str(dtype), 30),
        "bytes": int(array.__dict__["nbytes"].__get__(obj)),
    }
    if type(obj) is array and dtype.kind in "biufcmMSU" and dtype.itemsize <= 256:
        found["preview"] = cut(
            ", ".join([str(item) for item in obj.flat[:ITEMS]] + (["…"] if obj.size > ITEMS else []))
        )
    return found


def of_torch(obj: Any) -> dict[str, Any]:
    return {
        "shape": list(obj.shape),
        "dtype": str(obj.dtype).rpartition(".")[2],
        "bytes": obj.numel() * obj.element_size(),
        "preview": "on " + str(obj.device),
    }


def of_builtin(obj: Any) -> dict[str, Any]:
    base: Any = next((base for base in mro(type(obj)) if among(base, *SIZED)), None)
    if base is None:
        return {"preview": brief(obj)}
    return {"length": base.__len__(obj), "preview": brief(obj) if type(obj) is base else ""}


def details(obj: Any) -> dict[str, Any]:
    if is_exactly(obj, "pandas", "DataFrame", "Series", "Index", "RangeIndex", "DatetimeIndex"):
        return of_pandas(obj)
    if is_exactly(obj, "polars", "DataFrame", "Series"):
        return of_polars(obj)
    if member("numpy", "ndarray") is not None and is_a(obj, member("numpy", "ndarray")):
        return of_numpy(obj)
    if is_exactly(obj, "torch", "Tensor") or is_exactly(obj, "torch.nn.parameter", "Parameter"):
        return of_torch(obj)
    return of_builtin(obj)


def row(name: str, obj: Any) -> dict[str, Any]:
    """What is said of one variable: name, type, and as far as known shape or length, dtype, bytes, preview."""
    found = {"name": name, "type": type_name(type(obj))}
    try:
        more = details(obj)
    except Exception:  # somebody else's library, or the value changed meanwhile
        return found
    if more.get("preview") == "<" + found["type"] + ">":
        del more["preview"]
    return {**found, **more}


# Questions.


def kind_of(obj: Any) -> str:
    if type(obj) is types.ModuleType:
        return "module"
    if is_a(obj, type):
        return "class"
    return "function" if among(type(obj), *FUNCTIONS) else "data"


def names(namespace: dict[str, Any]) -> dict[str, Any]:
    """The user's names by what they are; neither IPython's own nor those that begin with an underscore."""
    module: Any = sys.modules.get("IPython.core.getipython")
    shell = None if module is None else module.get_ipython()
    hidden = {} if shell is None else dict(shell.user_ns_hidden)
    own = [
        (name, obj)
        for name, obj in dict(namespace).items()
        if type(name) is str and not name.startswith("_") and (name not in hidden or hidden[name] is not obj)
    ]
    found: dict[str, Any] = {"data": [], "module": [], "function": [], "class": [], "total": len(own)}
    for name, obj in own[:MOST_NAMES]:
        found[kind_of(obj)].append(cut(name, 200))
    return found


def rows(namespace: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    """A row for each of these names that is still there."""
    there = dict(namespace)
    return {"rows": [row(name, there[name]) for name in wanted if name in there]}


def find(namespace: dict[str, Any], name: str) -> tuple[bool, Any, Any]:
    """Whether a dotted name leads anywhere, to what, and the object before the last dot; no getter is run."""
    first, *rest = name.split(".")
    builtins = sys.modules["builtins"].__dict__
    if first not in namespace and first not in builtins:
        return False, None, None
    obj, parent = (namespace if first in namespace else builtins)[first], None
    for part in rest:
        parent = obj
        holder = next((holder for holder in holders(obj) if part in holder), None)
        if holder is None:
            return False, None, parent
        obj = holder[part]
        if among(type(obj), staticmethod, classmethod):
            obj = obj.__func__
    return True, obj, parent


def holders(obj: Any) -> Any:
    """The dictionaries that hold an object's attributes, as they are; ``inspect.getattr_static`` asks the metaclass."""
    dict_of: Any = type.__dict__["__dict__"]
    if type(obj) is types.ModuleType:
        yield obj.__dict__
        return
    if is_a(obj, type):
        yield from (dict_of.__get__(base) for base in mro(obj))
    found = [dict_of.__get__(base) for base in mro(type(obj))]
    yield from found
    own = next((each["__dict__"] for each in found if "__dict__" in each), None)
    if type(own) is types.GetSetDescriptorType and not is_a(obj, type):
        yield own.__get__(obj)


def signature(obj: Any) -> str:
    """A signature whose default values are brief texts: no repr of them is computed."""

    class Text:
        def __init__(self, text: str) -> None:
            self.text = text

        def __repr__(self) -> str:
            return self.text

    if is_a(obj, type) and not among(type(obj), type, abc.ABCMeta):  # signature would ask the metaclass
        obj = next((holder["__init__"] for holder in holders(obj) if "__init__" in holder), None)
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return ""
    parameters = []
    for each in found.parameters.values():
        if each.default is not each.empty:
            each = each.replace(default=Text(brief(each.default, 1)))
        if not among(type(each.annotation), str, type):
            each = each.replace(annotation=each.empty)
        parameters.append(each)
    result = found.return_annotation
    known = result if among(type(result), str, type) else inspect.Signature.empty
    return cut(str(found.replace(parameters=parameters, return_annotation=known)), 2_000)


def text_of(doc: Any) -> str:
    return inspect.cleandoc(doc)[:DOC_CHARS] if type(doc) is str else ""


def inspected(namespace: dict[str, Any], name: str) -> dict[str, Any]:
    """Documentation and signature of a dotted name.

    ``safe``: whether the kernel's own ``inspect_request``, which runs ``str`` and ``len``, would harm nobody.
    """
    there, obj, parent = find(namespace, name)
    if not there:
        return {"found": False, "safe": parent is not None and kind_of(parent) in ("module", "class")}
    kind, found = kind_of(obj), {"found": True, "safe": False, "type": type_name(type(obj))}
    if type(obj) is property:
        return {**found, "doc": text_of(obj.__doc__), "note": "a property; its value was not computed"}
    if kind == "class":
        doc = type.__dict__["__doc__"].__get__(obj)
        return {**found, "type": "class " + type_name(obj), "signature": signature(obj), "doc": text_of(doc)}
    if kind == "module":
        return {**found, "doc": text_of(obj.__dict__.get("__doc__")), "file": str(obj.__dict__.get("__file__") or "")}
    if kind == "function" or among(type(obj), *DESCRIPTORS):
        code = getattr(obj, "__code__", None) if type(obj) is types.FunctionType else None
        where = "" if code is None else code.co_filename + ":" + str(code.co_firstlineno)
        return {**found, "signature": signature(obj), "doc": text_of(obj.__doc__), "file": where}
    if parent is not None and kind_of(parent) == "module":
        return {**found, "safe": module_of(type(obj)) != "__main__"}
    return {**found, "row": row(name, obj), "doc": text_of(type.__dict__["__doc__"].__get__(type(obj)))}


def answer(namespace: dict[str, Any], question: dict[str, Any]) -> dict[str, Any]:
    """``{"ask": "names"}``, ``{"ask": "rows", "names": […]}`` or ``{"ask": "inspect", "name": …}``."""
    if question["ask"] == "names":
        return names(namespace)
    if question["ask"] == "rows":
        return rows(namespace, question["names"])
    return inspected(namespace, question["name"])
