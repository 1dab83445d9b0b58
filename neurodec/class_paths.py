"""Which classes a stranger's recipe or folder may name: only where one is expected, and only of trusted packages.

A class may be built where a slot expects one, if it is *defined* in an allowed package and is a subclass of what the
slot takes. Everything else in a recipe is a value and stays one, so a recipe cannot run code of its own.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import inspect
import logging
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from neurodec.errors import NeurodecError, reading

ALLOWED = frozenset({"neurodec", "torch", "lightning", "braindecode", "sklearn"})
_VALUES = (str, bytes, int, float, bool, complex, type(None), Path, dict, list, tuple, set, object, Any)
_DEEPEST = 50
_MOST = 200_000  # values in a recipe: a few lines of aliases can stand for billions
_UNKNOWN = object()  # instead of an annotation: the parser may know more of the argument than this module


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
        If it is not a class, of another kind, or defined in another package, whatever leads there.
    """
    if not isinstance(path, str) or not _is_dotted(path):
        raise NeurodecError(
            f"{path!r} is not an import path of a class; write one, such as neurodec.encoders.ATM."
        )
    check_class_path(path, allow)
    module, _, name = path.rpartition(".")
    with reading(
        f"The {what} {path}", "", f"it cannot be imported, so install {path.split('.')[0]} or correct it"
    ):
        inside = _imported(module)
        if not hasattr(inside, name):
            near = get_close_matches(name, dir(inside), 3, 0.5)
            hint = f"do you mean {' or '.join(near)}?" if near else "correct the name."
            raise NeurodecError(f"The {what} {path} does not exist; {hint}")
        found = getattr(inside, name)
    bases = base if isinstance(base, tuple) else (base,)
    if not isinstance(found, type):
        raise NeurodecError(f"{path} is not a class ({what} expected); name a subclass of {_names(bases)}.")
    if found.__module__.split(".")[0] not in ALLOWED | set(allow):
        raise NeurodecError(
            f"{path} is defined in {found.__module__}, which is outside the allowed packages "
            f"({', '.join(sorted(ALLOWED))}); name a class of these."
        )
    if not _is_kind(found, bases):
        raise NeurodecError(f"{path} is not a subclass of {_names(bases)}; name another {what}.")
    return found


def _is_kind(found: type, bases: tuple[type, ...]) -> bool:
    with suppress(TypeError):  # a protocol that does not say
        return issubclass(found, bases)
    return False


def _imported(module: str) -> ModuleType:
    """Import a module without its chatter, such as torch's about a compiler that nobody asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return import_module(module)
    finally:
        logging.disable(before)


def takes_argument(kind: type, name: str) -> bool:
    """Return whether a class's constructor takes an argument of this name, itself or by passing it on."""
    for base in kind.__mro__:
        arguments = inspect.signature(base.__init__).parameters
        if name in arguments:
            return True
        if all(argument.kind != inspect.Parameter.VAR_KEYWORD for argument in arguments.values()):
            return False
    return False


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
        kinds_of = _slots(hints.get(name, Any)).kinds_of
        if kinds_of and isinstance(value, str) and _is_dotted(value):
            found[name] = resolve_class(value, kinds_of, allow, f"class for {name}")
    return found


def build(hint: Any, config: Any, what: str, allow: frozenset[str] | set[str] = frozenset()) -> Any:
    """Build what a section of a recipe, or of a folder, describes.

    Parameters
    ----------
    hint : type or annotation
        What it must be: a class, or a callable that makes one.
    config : dict
        `class_path` and `init_args`.
    what : str
        How messages call it.
    allow : set of str
        Further packages whose classes may be named.

    Raises
    ------
    NeurodecError
        If a class is not allowed, is no such class, or does not take the arguments.
    """
    check_value(hint, config, what, Path(), allow)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--made", type=hint)
    with reading(f"The section {what}", "", "its arguments do not fit, so correct them"):
        try:
            return parser.instantiate_classes(parser.parse_object({"made": copy.deepcopy(config)})).made
        except ArgumentError as error:
            reason = " ".join(str(error).split())[:300]
            raise NeurodecError(
                f"The section {what} does not fit: {reason}; correct its arguments."
            ) from error


def check_size(content: Any, source: str) -> None:
    """Refuse a YAML file whose aliases unfold to more values than a recipe can have.

    Raises
    ------
    NeurodecError
        Naming the file.
    """
    waiting, n_values = [content], 0
    while waiting:
        value = waiting.pop()
        n_values += 1
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += inner
        if n_values + len(waiting) > _MOST:
            raise NeurodecError(f"{source} holds more than {_MOST} values; write it without so many aliases.")


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
    hints, defaults = _hints(kind), _defaults(kind)
    for name, value in values.items():
        name = str(name).rstrip("+")
        if "." in name:
            raise NeurodecError(
                f"{where} has the key {name}; write its parts below each other, without dots."
            )
        if defaults.get(name, _UNKNOWN) is not value:  # a default may be a function
            check_value(hints.get(name, _UNKNOWN), value, f"{where}.{name}", folder, allow)


def check_value(
    hint: Any, value: Any, where: str, folder: Path, allow: frozenset[str] | set[str], depth: int = 0
) -> None:
    """Refuse classes in one argument, given what its annotation takes; see `check_arguments`."""
    if depth > _DEEPEST:
        raise NeurodecError(f"{where} is nested too deeply; simplify it.")
    if value is None or isinstance(value, (bool, int, float)):
        return
    if isinstance(value, str) and _is_plain(hint):
        return  # a text is a text, whatever it spells
    slots = _slots(hint)
    value, folder = _as_read(value, folder)
    if isinstance(value, str):
        _check_text(value, slots, hint, where, allow)
    elif isinstance(value, Mapping):
        _check_mapping(value, slots, where, folder, allow, depth)
    elif isinstance(value, Sequence):
        hints = slots.inner or slots.bases or (hint if hint is _UNKNOWN else Any,)
        joined = hints[0] if len(hints) == 1 else typing.Union[hints]  # noqa: UP007  built from a tuple
        for number, item in enumerate(value):
            check_value(joined, item, f"{where}.{number}", folder, allow, depth + 1)
    elif isinstance(value, type) and slots.kinds_of:
        resolve_class(f"{value.__module__}.{value.__qualname__}", slots.kinds_of, allow, f"class of {where}")
    elif callable(value):
        raise NeurodecError(f"{where} names {value}, but takes no class or function; give a plain value.")


def _check_text(text: str, slots: _Slots, hint: Any, where: str, allow: frozenset[str] | set[str]) -> None:
    if not _is_dotted(text):
        return
    known = text.split(".")[0] in ALLOWED | set(allow)
    takes_text = hint is not _UNKNOWN and _takes_text(hint)
    if slots.bases or slots.kinds_of:
        if known or not takes_text or _importable(text):
            resolve_class(text, (*slots.bases, *slots.kinds_of), allow, f"class of {where}")
    elif (slots.functions or not takes_text) and (known or _importable(text)):
        raise NeurodecError(f"{where} names {text}, but takes no class or function; give a plain value.")


def _check_mapping(
    value: Mapping[str, Any],
    slots: _Slots,
    where: str,
    folder: Path,
    allow: frozenset[str] | set[str],
    depth: int,
) -> None:
    bases, inner = slots.bases, slots.inner
    if "class_path" in value:
        if not bases:
            raise NeurodecError(
                f"{where} is a plain value, so no class can be built there; remove `class_path`."
            )
        named = value["class_path"]
        if isinstance(named, str) and not _is_dotted(named):
            if not named.isidentifier():
                raise NeurodecError(f"{where}.class_path is {named!r}, which is not a class; correct it.")
            kind = next((found for found in _subclasses(bases) if found.__name__ == named), None)
        else:
            kind = resolve_class(named, bases, allow, f"class of {where}")
        arguments = {
            key: item for key, item in value.items() if key not in ("class_path", "init_args", "dict_kwargs")
        }
        for more in (value.get("init_args"), value.get("dict_kwargs")):
            more = _as_read(more, folder)[0]
            arguments |= dict(more) if isinstance(more, Mapping) else {}
        check_arguments(kind if kind is not None else _nothing, arguments, where, folder, allow)
        return
    for base in bases:
        if dataclasses.is_dataclass(base):
            check_arguments(base, value, where, folder, allow)
            return
    hint = inner[-1] if inner else _UNKNOWN if bases else Any
    for key, item in value.items():
        check_value(hint, item, f"{where}.{key}", folder, allow, depth + 1)


def _nothing() -> None:
    """Stands for a class that nobody knows: none of its arguments takes a class."""


def _hints(kind: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a constructor and of those that it passes arguments on to."""
    hints: dict[str, Any] = {}
    for base in inspect.getmro(kind) if isinstance(kind, type) else (kind,):
        with suppress(Exception):  # an annotation that cannot be read takes no class
            hints = {**typing.get_type_hints(base.__init__ if isinstance(base, type) else base), **hints}
    return hints


def _defaults(kind: Callable[..., Any]) -> dict[str, Any]:
    """Return the default arguments of a constructor and of those that it passes arguments on to."""
    defaults: dict[str, Any] = {}
    for base in inspect.getmro(kind) if isinstance(kind, type) else (kind,):
        with suppress(TypeError, ValueError):
            own = inspect.signature(base.__init__ if isinstance(base, type) else base).parameters
            defaults = {**{name: argument.default for name, argument in own.items()}, **defaults}
    return defaults


class _Slots(typing.NamedTuple):
    """What an annotation takes: classes that it builds, items, types of classes, and whether functions."""

    bases: tuple[type, ...]
    inner: tuple[Any, ...]
    kinds_of: tuple[type, ...]
    functions: bool


def _slots(hint: Any) -> _Slots:
    bases: list[type] = []
    inner: list[Any] = []
    kinds_of: list[type] = []
    functions = False
    for part in _parts(hint):
        origin, arguments = typing.get_origin(part), typing.get_args(part)
        if Callable in (part, origin):
            made = arguments[-1] if arguments else None  # a class to be called later, such as an optimiser's
            if isinstance(made, type) and made not in _VALUES:
                bases.append(made)
            else:
                functions = True
        elif origin is type:
            kinds_of += [argument for argument in arguments if isinstance(argument, type)]
        elif origin is not None:
            inner += [] if origin is typing.Literal else [a for a in arguments if a is not Ellipsis]
        elif isinstance(part, type) and part not in _VALUES and not issubclass(part, (str, Path)):
            bases.append(part)
    return _Slots(tuple(bases), tuple(inner), tuple(kinds_of), functions)


def _is_plain(hint: Any) -> bool:
    """Return whether an annotation takes nothing but values, so that no text in it is ever imported."""
    if hint is _UNKNOWN:
        return False
    slots, parts = _slots(hint), list(_parts(hint))
    free = any(part in (Any, object, dict, list) for part in parts)
    return not (free or slots.bases or slots.kinds_of or slots.functions) and all(map(_is_plain, slots.inner))


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
    return any(
        part in (Any, object) or (isinstance(part, type) and issubclass(part, (str, Path)))
        for part in _parts(hint)
    )


def _subclasses(bases: tuple[type, ...]) -> Iterator[type]:
    for base in bases:
        yield base
        yield from _subclasses(tuple(type.__subclasses__(base)))


def _as_read(value: Any, folder: Path) -> tuple[Any, Path]:
    """Return what the parser makes of a text, which it also reads as YAML or as the name of a file, and its folder."""
    if isinstance(value, argparse.Namespace):
        return vars(value), folder
    if not isinstance(value, str):
        return value, folder
    for file in (Path(value), folder / value):
        with suppress(OSError, ValueError, RuntimeError):  # RuntimeError: a home that nobody has
            file = file.expanduser()
            if file.is_file():
                parsed = _yaml(_yaml(file.read_text(encoding="utf-8")))
                check_size(parsed, str(file))
                return parsed, file.parent
    parsed = _yaml(value)
    check_size(parsed, "A value of the recipe")
    return (parsed if isinstance(parsed, (dict, list)) else value), folder


def _yaml(text: Any) -> Any:
    with suppress(yaml.YAMLError, RecursionError):
        return yaml.safe_load(text) if isinstance(text, str) else text
    return text


def _is_dotted(text: str) -> bool:
    names = text.split(".")
    return len(names) > 1 and all(name.isidentifier() for name in names)


def _importable(text: str) -> bool:
    with suppress(Exception):
        return find_spec(text.split(".")[0]) is not None
    return False


def _names(bases: tuple[type, ...]) -> str:
    return " or ".join(base.__name__ for base in bases)
