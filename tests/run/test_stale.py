"""What `results.json` says was made by this recipe from these data, after any kill and any order of verbs."""

import json
import os
from itertools import count

import pytest
from linear_studies import write_recipe, write_study

import neurodec.files
from neurodec.cli import main
from neurodec.errors import NeurodecError
from neurodec.run.stages import run_recipe

RIDGE = {"system": {"class_path": "neurodec.systems.RidgeSystem"}}
NETWORK = {
    "encoder": {"class_path": "neurodec.encoders.NICE"},
    "data": {"batch_size": 40},
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
}
VERBS = ("prepare", "targets", "fit", "predict", "retrieve", "evaluate", "report")


class Killed(BaseException):
    """Nothing catches it, and nothing cleans up after it but what a kill would leave too."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stale")
    write_study(folder / "data", {"anna": 4})
    write_recipe(folder / "ridge.yaml", **RIDGE)
    write_recipe(folder / "network.yaml", **NETWORK)
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path_factory.getbasetemp() / "stale-cache"))


def run(root, recipe, out, *overrides, only=None):
    """Do one verb, or all but the report, whose figures take most of the time."""
    for verb in VERBS[:-1] if only is None else (only,):
        run_recipe(root / f"{recipe}.yaml", root / "data", root / out, overrides=list(overrides), only=verb)


def scores(root, out):
    results = json.loads((root / out / "results.json").read_text())
    return {name: part for name, part in results.items() if name != "speed"}


def killed_at(monkeypatch, number, *, before):
    """Kill the process at its n-th rename: right before it, or right after."""
    calls, original = count(), os.replace

    def replace(source, target):
        place = next(calls)
        if place == number and before:
            raise Killed
        original(source, target)
        if place == number:
            raise Killed

    monkeypatch.setattr(neurodec.files.os, "replace", replace)


@pytest.mark.quality
def test_a_kill_at_any_write_leaves_nothing_stale(root, monkeypatch):
    """After it, `evaluate` either refuses or tells the truth, and the same command ends as an unbroken one.

    Every write is a rename; the process is killed before one and after the next.
    """
    run(root, "ridge", "whole")
    expected = scores(root, "whole")
    for number in count():
        out = f"killed-{number}"
        with monkeypatch.context() as patch:
            killed_at(patch, number, before=number % 2 == 0)
            try:
                run(root, "ridge", out)
                break  # there is no such write any more
            except Killed:
                pass
        try:
            run(root, "ridge", out, only="evaluate")
            assert scores(root, out) == expected
        except NeurodecError:
            pass
        run(root, "ridge", out)
        assert scores(root, out) == expected, number
    assert number > 20


@pytest.mark.quality
def test_a_kill_while_a_finished_run_is_extended(root, monkeypatch):
    """Results of one epoch under a recipe of two were there for ever, with exit code 0."""
    two = ("--trainer.max_epochs", "2")
    run(root, "network", "two", *two)
    expected = scores(root, "two")
    for number in range(0, 40, 4):
        out = f"extended-{number}"
        run(root, "network", out)
        with monkeypatch.context() as patch:
            killed_at(patch, number, before=False)
            try:
                run(root, "network", out, *two)
                break
            except Killed:
                pass
        for verb in ("predict", "evaluate"):
            try:
                run(root, "network", out, *two, only=verb)
            except NeurodecError:
                continue
            assert verb != "evaluate" or scores(root, out) == expected
        run(root, "network", out, *two)
        assert scores(root, out) == expected, number


@pytest.mark.slow
def test_verbs_in_any_order_tell_the_truth_or_refuse(root):
    """From every state on the way from one finished run to another, every verb."""
    one, two = (), ("--trainer.max_epochs", "2")
    run(root, "network", "orders-two", *two)
    expected = scores(root, "orders-two")
    done = 2  # prepare and targets are the same for both
    run(root, "network", "orders", *one)
    while done < len(VERBS):
        for verb in VERBS[done + 1 :]:
            try:
                run(root, "network", "orders", *two, only=verb)
            except NeurodecError:
                continue
            assert verb in ("retrieve", "evaluate", "report"), verb  # the first two do not need each other
            if verb != "retrieve":
                assert scores(root, "orders") == expected
        run(root, "network", "orders", *two, only=VERBS[done])
        done += 1
    assert scores(root, "orders") == expected


def test_a_verb_of_another_recipe_is_refused(root, capsys):
    run(root, "ridge", "changed")
    words = ["--data-root", str(root / "data"), "--out", str(root / "changed")]
    for changes, verb, sentence in (
        (["--system.init_args.per_value", "true"], "evaluate", "finished stage"),
        (["--targets.image.init_args.normalize", "false"], "fit", "another configuration"),
        (["--dataset.init_args.tmin", "0.1"], "evaluate", "prepared with another section `dataset`"),
    ):
        assert main([verb, str(root / "ridge.yaml"), *words, *changes]) == 2
        assert sentence in capsys.readouterr().err
