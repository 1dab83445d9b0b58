"""Parameters of everything in the API reference are documented: ``python docs/check_docstrings.py``, in ``make lint``.

A method that fills a contract of ours (`System.fit`, `Evaluation.run`, ...) is documented there, once.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from numpydoc.validate import validate

CHECKS = {
    "GL08": "no docstring",
    "PR01": "parameters missing",
    "PR02": "unknown parameters",
    "PR03": "another order",
}
FOREIGN = ("sklearn", "torch")


def documented(name: str) -> Iterator[str]:
    """Yield a public object and its own methods.

    Parameters
    ----------
    name : str
        Dotted.
    """
    module, _, own = name.rpartition(".")
    found = getattr(importlib.import_module(module), own)
    if not inspect.isclass(found):
        yield name
        return
    for method, value in vars(found).items():
        is_method = inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)
        contracts = [base for base in found.__mro__[1:] if method in vars(base)]
        elsewhere = any(base.__module__.startswith(("neurodec", *FOREIGN)) for base in contracts)
        if is_method and not method.startswith("_") and (not elsewhere or method == "forward"):
            yield f"{name}.{method}"


def main() -> int:
    """Print what is not documented; return 1 if anything is not."""
    text = (Path(__file__).parent / "reference" / "api.md").read_text(encoding="utf-8")
    names = re.findall(r"^   (neurodec[\w.]+)$", text, re.MULTILINE)
    wrong = [
        f"{own}: {message}"
        for name in names
        for own in documented(name)
        for code, message in validate(own)["errors"]
        if code in CHECKS
    ]
    print("\n".join(wrong) or f"docstrings of {len(names)} public names: ok")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
