"""How Python code names classes: as such, by a partial, a path or a dict, all turned into what recipes have."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from neurodec.class_paths import ALLOWED
from neurodec.errors import NeurodecError
from neurodec.files import key_of


def described(given: Any, what: str) -> dict[str, Any]:
    """Return `class_path` and `init_args` of what Python code names: a class, a partial of one, its path, or a dict.

    Parameters
    ----------
    given : type, functools.partial, str or dict
    what : str
        How messages call it.

    Raises
    ------
    NeurodecError
        If it is something else, or a class that cannot be found again by its name.
    """
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, str):
        return {"class_path": given}
    kind = given.func if isinstance(given, partial) else given
    if not isinstance(kind, type) or (isinstance(given, partial) and given.args):
        raise NeurodecError(
            f"The {what} is {given!r}; give a class, functools.partial(Class, name=value), an import path, or a dict "
            "of class_path and init_args."
        )
    if "<locals>" in kind.__qualname__:
        raise NeurodecError(
            f"{kind.__qualname__} is defined within a function; define the {what} at the top of a module or notebook."
        )
    found = {"class_path": path_of(kind)}
    return {**found, "init_args": dict(given.keywords)} if isinstance(given, partial) else found


def path_of(kind: type) -> str:
    """Return the shortest import path of a class: that of the package which exports it, where one does."""
    module, name = kind.__module__, kind.__qualname__
    while "." in (above := module.rpartition(".")[0]) and getattr(import_module(above), name, None) is kind:
        module = above
    return f"{module}.{name}"


def own_code(section: Any) -> list[str]:
    """Return keys of the text of all classes of one's own that a section names: where it changes, so does what they do.

    Functions and constants beside a class are not looked at.
    """
    if isinstance(section, Mapping):
        path = section.get("class_path")
        found = [key for value in section.values() for key in own_code(value)]
        return [*code_of(path), *found] if isinstance(path, str) else found
    return [key for value in section for key in own_code(value)] if isinstance(section, list) else []


def code_of(path: str) -> list[str]:
    """Return a key of the text of a class, unless it is of an allowed package, whose versions count."""
    module, _, name = path.rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    if not isinstance(kind, type):
        return []
    own = [
        one for one in kind.__mro__ if one.__module__.partition(".")[0] not in {*ALLOWED, "builtins", "abc"}
    ]
    texts = []
    for one in own:
        with suppress(OSError, TypeError):  # made in a console
            texts.append(inspect.getsource(one))
    return [key_of(texts)] if texts else []


def packages_of(*given: Any) -> set[str]:
    """Return the packages of classes that Python code handed over, which it thereby vouches for."""
    kinds = [one.func if isinstance(one, partial) else one for one in given]
    kinds = [one if isinstance(one, type) else type(one) for one in kinds if callable(one)]
    return {kind.__module__.partition(".")[0] for kind in kinds}
