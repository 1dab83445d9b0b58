"""Running the command line on a small study, and what every refusal must look like."""

import re

import yaml
from small_studies import STUDIES

from neurodec.cli import main


def write_recipe(path, study, changes=None, **sections):
    dataset = STUDIES[study][1]
    dataset = {**dataset, "init_args": {**dataset["init_args"], **(changes or {})}}
    path.write_text(yaml.safe_dump({"name": "test", "dataset": dataset, **sections}))
    return path


def arguments(verb, root, out="out"):
    """Return the command line for `recipe.yaml` beside a data root."""
    beside = root.parent
    return [verb, str(beside / "recipe.yaml"), "--data-root", str(root), "--out", str(beside / out)]


def refused(capsys, command):
    """Run a command that must fail as bad input does, and return its sentence."""
    capsys.readouterr()
    assert main([str(word) for word in command]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"neurodec: error: [^\n]{20,}\n", error)
    assert "Traceback" not in error
    return error


def partials(folder):
    return [path for path in folder.rglob("*") if ".partial." in path.name]
