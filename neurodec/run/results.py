"""Joining the results of several evaluations, and of several seeds."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurodec.class_paths import resolve_class
from neurodec.data import summary
from neurodec.data.splits import TRAINING
from neurodec.features import Extractor
from neurodec.run.finished import Finished
from neurodec.run.recipe.recipe_parser import sections_of
from neurodec.simulate import command_of
from neurodec.training.trainer import hardware

_TOLD = 12  # lines about the recordings; the rest is in info.json and in the report


def tell_account(account: Sequence[dict[str, Any]], folder: Path) -> None:
    """Print what was read and left out, the first lines of it."""
    lines = summary(account)
    for line in lines[:_TOLD]:
        print(f"  {line}", flush=True)
    if len(lines) > _TOLD:
        print(f"  ... and {len(lines) - _TOLD} more notes in {folder}", flush=True)


def merged(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the sections of the first evaluation, those of others by their names under `further`."""
    (_, first), *others = found.items()
    return {**first, "further": dict(others)} if others else first


def over_seeds(found: dict[int, dict[str, Any]], headlines: Sequence[str]) -> dict[str, Any]:
    """Return the sections of the first seed, and with several seeds mean and standard deviation of the headlines.

    Parameters
    ----------
    found : dict
        Seed to the sections of its folds.
    headlines : sequence of str
        Such as ``retrieval.top1``; see `Evaluation.headlines`.
    """
    first = next(iter(found.values()))
    if len(found) == 1:
        return first
    spread = {}
    for headline in headlines:
        section, _, name = headline.partition(".")
        if name in first.get(section, {}):
            values = [float(sections[section][name]) for sections in found.values()]
            sd = float(np.std(values, ddof=1))
            spread[headline] = {"mean": float(np.mean(values)), "sd": sd, "values": values}
    return {**first, "over_seeds": {"seeds": list(found), **spread}}


def header_of(run: Finished) -> dict[str, Any]:
    """Return what `results.json` tells of a run: data, subjects, system, protocol."""
    recipe, command = run.recipe, command_of(run.root)
    named = recipe.get("encoder") or recipe.get("system")
    system = {} if named is None else {"system": named.class_path.rpartition(".")[2]}
    trained = {"selection": recipe.selection, "protocol": recipe.protocol, "seeds": recipe.seeds}
    groups = run.study.table.groupby("split", sort=False)["stimulus"]
    return {
        "schema": 4,
        "recipe": recipe.name,
        "dataset": recipe.dataset.class_path.rpartition(".")[2],
        "subjects": run.study.subjects,
        "simulated": command is not None,
        "simulation": command,
        "counts": {name: {"trials": len(rows), "stimuli": rows.nunique()} for name, rows in groups},
        "shared": shared_of(run.study.table),
        **system,
        **({**trained, **_of_training(run)} if run.trains else {}),
    }


def shared_of(table: pd.DataFrame) -> dict[str, int]:
    """Count the concepts and stimuli of test trials, and those of them that training trials show; {} without a split.

    Parameters
    ----------
    table : DataFrame
        Of trials, with `concept`, `stimulus` and `split`.
    """
    test = table[table["split"] == "test"]
    train = table[table["split"].isin(TRAINING)]
    found = {}
    for column, plural in (("concept", "concepts"), ("stimulus", "stimuli")) if len(test) else ():
        shown = set(test[column])
        found |= {plural: len(shown & set(train[column])), f"test_{plural}": len(shown)}
    return found


def _of_training(run: Finished) -> dict[str, Any]:
    config = run.system(run.folds[0]).config
    by = config.get("held_out_by", "concept")
    held_out = {"subject": "people"}.get(by, f"{by}s")
    selected_on = (
        "the validation trials of the data's split" if config.get("validation_is_marked") else held_out
    )
    return {"selected_on": selected_on, "targets": _targets_of(run), "folds": _folds_of(run)}


def _targets_of(run: Finished) -> dict[str, str]:
    """Name the extractor of every target and what it was told."""
    found = {}
    for name, target in (sections_of(run.recipe).get("targets") or {}).items():
        kind = resolve_class(target["class_path"], Extractor, run.allow, name)
        usual = {own: one.default for own, one in inspect.signature(kind).parameters.items()}
        told = [
            f"{own} {value}"
            for own, value in (target.get("init_args") or {}).items()
            if isinstance(value, str) and (value != usual.get(own) or own == "model")
        ]
        found[name] = " ".join([kind.__name__, *([f"({', '.join(told)})"] if told else [])])
    return found


def _folds_of(run: Finished) -> dict[str, dict[str, int]]:
    """Count the training and test trials of every fold."""
    return {
        fold.name: {
            "train": len(fold.training(run.study)),
            "test": len(fold.testing(run.study)),
        }
        for fold in run.folds
    }


def speed_of(run: Finished) -> dict[str, Any]:
    """Return how long a run took, on what, and how large its system is."""
    speed: dict[str, Any] = {
        "seconds": run.stamps.seconds,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "hardware": hardware(),
    }
    if run.trains:
        speed["n_parameters"] = run.system(run.folds[0]).n_parameters
    if (run.out / "metrics.csv").exists():
        history = pd.read_csv(run.out / "metrics.csv")
        speed["train_samples_per_s"] = float(history["samples_per_s"].median())
    return speed
