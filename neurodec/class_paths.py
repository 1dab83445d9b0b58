"""Which classes a stranger's recipe or folder may name: only where one is expected, and only of trusted packages.

A class may be built where a slot expects one, if it is *defined* in an allowed package and is a subclass of what the
slot takes. Everything else in a recipe is a value and stays one, so a recipe cannot run code of its own.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from neurodec.errors import NeurodecError, reading

ALLOWED = frozenset({"neurodec", "torch", "lightning", "braindecode", "sklearn"})
_VALUES = (str, bytes, int, float, bool, complex, type(None), Path, dict, list, tuple, set, object)
_DEEPEST = 50


def check_class_path(path: str, allow: frozenset[str] | set[str] = frozenset()) -> None:
    """Refuse to import a class of a package that nobody vouched for.

    Raises
    ------
    NeurodecError
        Naming the package and how to allow it.
    """
    package = path.split(".")[0]
    if package not in ALLOWED | set(allow):
        raise NeurodecError(
            f"The class {path} is outside the allowed packages ({', '.join(sorted(ALLOWED))}); naming it runs its "
            f"code, so allow it with --allow {package} if you trust it."
        )


def resolve_class(
    path: Any,
    base: type | tuple[type, ...],
    allow: frozenset[str] | set[str] = frozenset(),
    what: str = "class",
) -> type:
    """Import a class, and nothing else: calling a function such as ``torch.load`` could run a file's code.

    Parameters
    ----------
    path : str
        Import path, such as ``neurodec.encoders.ATM``.
    base : type or tuple of type
        What it must be a subclass of.
    allow : set of str
        Further packages, besides the allowed ones, in which it may be defined.
    what : str
        How messages call it.

    Raises
    ------
    NeurodecError
        If it is no class, of another kind, or defined in another package, whatever leads there.
    """
    if not isinstance(path, str) or not _is_dotted(path):
        raise NeurodecError(
            f"{path!r} is no import path of a class; write one, such as neurodec.encoders.ATM."
        )
    check_class_path(path, allow)
    module, _, name = path.rpartition(".")
    with reading(
        f"The {what} {path}", "", f"it cannot be imported, so install {path.split('.')[0]} or correct it"
    ):
        found = getattr(_imported(module), name)
    bases = base if isinstance(base, tuple) else (base,)
    if not isinstance(found, type):
        raise NeurodecError(f"{path} is no class ({what} expected); name a subclass of {_names(bases)}.")
    if found.__module__.split(".")[0] not in ALLOWED | set(allow):
        raise NeurodecError(
            f"{path} is defined in {found.__module__}, which is outside the allowed packages "
            f"({', '.join(sorted(ALLOWED))}); name a class of these."
        )
    if not issubclass(found, bases):
        raise NeurodecError(f"{path} is no subclass of {_names(bases)}; name another {what}.")
    return found


def _imported(module: str) -> ModuleType:
    """Import a module without its chatter, such as torch's about a compiler that nobody asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return import_module(module)
    finally:
        logging.disable(before)


def named_classes(
    kind: type, arguments: Mapping[str, Any], allow: frozenset[str] | set[str] = frozenset()
) -> dict[str, Any]:
    """Replace import paths by classes, in arguments that take classes (``activation: type[Module]``).

    Raises
    ------
    NeurodecError
        If such a path names another class than the argument takes, or arguments are no dict.
    """
    if not isinstance(arguments, Mapping):
        raise NeurodecError(f"The arguments of {kind.__name__} must be names with values; correct them.")
    hints, found = _hints(kind), dict(arguments)
    for name, value in found.items():
        kinds_of = _slots(hints.get(name, Any))[2]
        if kinds_of and isinstance(value, str) and _is_dotted(value):
            found[name] = resolve_class(value, kinds_of, allow, f"class for {name}")
    return found


def check_arguments(
    kind: Callable[..., Any], values: Any, where: str, folder: Path, allow: frozenset[str] | set[str]
) -> None:
    """Refuse classes in the arguments of `kind` where none is expected, and those that may not be built.

    Parameters
    ----------
    kind : type
        Its signature says which arguments are classes.
    values : dict
        Arguments as a recipe has them.
    where : str
        Key of the recipe that holds them.
    folder : Path
        Of the recipe: a text may name a file beside it.
    allow : set of str
        Further packages.

    Raises
    ------
    NeurodecError
        Naming the key.
    """
    if not isinstance(values, Mapping):
        return
    hints = _hints(kind)
    for name, value in values.items():
        check_value(hints.get(str(name).rstrip("+"), Any), value, f"{where}.{name}", folder, allow)


def check_value(
    hint: Any, value: Any, where: str, folder: Path, allow: frozenset[str] | set[str], depth: int = 0
) -> None:
    """Refuse classes in one argument, given what its annotation takes; see `check_arguments`."""
    if depth > _DEEPEST:
        raise NeurodecError(f"{where} is nested too deeply; simplify it.")
    if value is None or isinstance(value, (bool, int, float)):
        return
    if isinstance(hint, type) and issubclass(hint, (str, Path)):
        return  # a text is a text, whatever it spells
    bases, inner, kinds_of = _slots(hint)
    value = _as_read(value, folder)
    if isinstance(value, str):
        _check_text(value, bases, kinds_of, _takes_text(hint), where, allow)
    elif isinstance(value, Mapping):
        _check_mapping(value, bases, inner, where, folder, allow, depth)
    elif isinstance(value, Sequence):
        for number, item in enumerate(value):
            hints = inner or bases or (Any,)
            joined = hints[0] if len(hints) == 1 else typing.Union[hints]  # noqa: UP007  built from a tuple
            check_value(joined, item, f"{where}.{number}", folder, allow, depth + 1)


def _check_text(
    text: str,
    bases: tuple[type, ...],
    kinds_of: tuple[type, ...],
    takes_text: bool,
    where: str,
    allow: frozenset[str] | set[str],
) -> None:
    if not _is_dotted(text):
        return
    known = text.split(".")[0] in ALLOWED | set(allow)
    if bases or kinds_of:
        if known or not takes_text or _importable(text):
            resolve_class(text, (*bases, *kinds_of), allow, f"class of {where}")
    elif not takes_text and (known or _importable(text)):
        raise NeurodecError(f"{where} names {text}, but takes no class or function; give a plain value.")


def _check_mapping(
    value: Mapping[str, Any],
    bases: tuple[type, ...],
    inner: tuple[Any, ...],
    where: str,
    folder: Path,
    allow: frozenset[str] | set[str],
    depth: int,
) -> None:
    if "class_path" in value:
        if not bases:
            raise NeurodecError(
                f"{where} is a plain value, so no class can be built there; remove `class_path`."
            )
        named = value["class_path"]
        if isinstance(named, str) and not _is_dotted(named):
            if not named.isidentifier():
                raise NeurodecError(f"{where}.class_path is {named!r}, which is no class; correct it.")
            kind = next((found for found in _subclasses(bases) if found.__name__ == named), None)
        else:
            kind = resolve_class(named, bases, allow, f"class of {where}")
        arguments = {
            key: item for key, item in value.items() if key not in ("class_path", "init_args", "dict_kwargs")
        }
        for more in (value.get("init_args"), value.get("dict_kwargs")):
            arguments |= dict(more) if isinstance(more, Mapping) else {}
        check_arguments(kind if kind is not None else _nothing, arguments, where, folder, allow)
        return
    for base in bases:
        if dataclasses.is_dataclass(base):
            check_arguments(base, value, where, folder, allow)
            return
    hint = inner[-1] if inner else Any
    for key, item in value.items():
        check_value(hint, item, f"{where}.{key}", folder, allow, depth + 1)


def _nothing() -> None:
    """Stands for a class that nobody knows: none of its arguments takes a class."""


def _hints(kind: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a constructor, and of those that it passes arguments on to."""
    hints: dict[str, Any] = {}
    for base in inspect.getmro(kind) if isinstance(kind, type) else (kind,):
        with suppress(Exception):  # an annotation that cannot be read takes no class
            hints = {**typing.get_type_hints(base.__init__ if isinstance(base, type) else base), **hints}
    return hints


def _slots(hint: Any) -> tuple[tuple[type, ...], tuple[Any, ...], tuple[type, ...]]:
    """Return the classes that an annotation builds, the annotations of its items, and those whose types it takes."""
    bases: list[type] = []
    inner: list[Any] = []
    kinds_of: list[type] = []
    for part in _parts(hint):
        origin, arguments = typing.get_origin(part), typing.get_args(part)
        if origin is type:
            kinds_of += [argument for argument in arguments if isinstance(argument, type)]
        elif origin is not None:
            is_callable = origin in (Callable, typing.get_origin(Callable[..., Any]))
            inner += (
                [] if is_callable or origin is typing.Literal else [a for a in arguments if a is not Ellipsis]
            )
        elif isinstance(part, type) and part not in _VALUES and not issubclass(part, (str, Path)):
            bases.append(part)
    return tuple(bases), tuple(inner), tuple(kinds_of)


def _parts(hint: Any) -> Iterator[Any]:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType":
        for argument in arguments:
            yield from _parts(argument)
    elif typing.get_origin(hint) is typing.Annotated:
        yield from _parts(arguments[0])
    else:
        yield hint


def _takes_text(hint: Any) -> bool:
    return (
        any(isinstance(part, type) and issubclass(part, (str, Path)) for part in _parts(hint)) or hint is Any
    )


def _subclasses(bases: tuple[type, ...]) -> Iterator[type]:
    for base in bases:
        yield base
        yield from _subclasses(tuple(type.__subclasses__(base)))


def _as_read(value: Any, folder: Path) -> Any:
    """Return what the parser makes of a text: it also reads YAML and JSON in it, or the file that it names."""
    if not isinstance(value, str):
        return value
    text = value
    for file in (Path(value), folder / value):
        with suppress(OSError, ValueError):
            text = file.read_text(encoding="utf-8") if file.is_file() else text
    with suppress(yaml.YAMLError, RecursionError):
        parsed = yaml.safe_load(text)
        return parsed if isinstance(parsed, (dict, list)) else value
    return value


def _is_dotted(text: str) -> bool:
    names = text.split(".")
    return len(names) > 1 and all(name.isidentifier() for name in names)


def _importable(text: str) -> bool:
    with suppress(Exception):
        return find_spec(text.split(".")[0]) is not None
    return False


def _names(bases: tuple[type, ...]) -> str:
    return " or ".join(base.__name__ for base in bases)
