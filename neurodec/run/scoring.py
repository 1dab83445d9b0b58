"""Each evaluation on each fold, once (in ``retrieve`` or ``evaluate``), beside the linear baseline of ``fit``."""

from __future__ import annotations

from functools import partial
from typing import Any

from neurodec.evaluation.section import Fitted
from neurodec.run.finished import Finished
from neurodec.run.folds import Fold
from neurodec.run.results import over_seeds
from neurodec.systems import LinearSystem, linear_baseline


class Scoring:
    """Scores the folds of a run.

    Parameters
    ----------
    run : Finished
    """

    def __init__(self, run: Finished) -> None:
        self.run = run

    def fitted(self, fold: Fold) -> Fitted:
        """Return the system of a fold and what it was fitted to."""
        run = self.run
        named = run.recipe.get("encoder") or run.recipe.get("system")
        name, train = named.class_path.rpartition(".")[2], fold.training(run.study)
        return Fitted(name, run.system(fold), train, run.features, partial(self.baseline, fold))

    def baseline(self, fold: Fold, head: str) -> LinearSystem | None:
        """Return the linear baseline of a fold for a head, fitted once; none beside a linear system."""
        run = self.run
        if isinstance(run.fitted_system(fold), LinearSystem):
            return None
        linear = linear_baseline(head, run.features, run.objects.data)
        return linear.fit(
            fold.training(run.study), run.features, out=run.out, name=f"{fold.name}.ridge-{head}"
        )

    def evaluated(self, name: str) -> dict[str, Any]:
        """Return the sections of one evaluation, of folds that are scored already or now."""
        run = self.run
        evaluation = run.evaluations[name]
        if not evaluation.needs_system:
            return evaluation.results([evaluation.run({}, run.study, None)])
        found: dict[int, list[Any]] = {}
        for fold in run.folds:
            found.setdefault(fold.seed, []).append(self.run_of(name, fold))
        results = {seed: evaluation.results(own) for seed, own in found.items()}
        return over_seeds(results, evaluation.headlines)

    def run_of(self, name: str, fold: Fold) -> Any:
        """Return what an evaluation found in a fold, evaluated already or now."""
        run = self.run
        evaluation, key = run.evaluations[name], run.keys.evaluation(name)
        further = () if name == next(iter(run.evaluations)) else ("further", name)
        folder = run.out.joinpath("evaluation", *further, fold.name)
        stamp = f"evaluate {name} {fold.name}"
        if run.stamps[stamp] != key or not folder.exists():
            fitted = self.fitted(fold)  # first: a damaged model is reported as such
            own = evaluation.run(run.predictions(fold), fold.testing(run.study), fitted)
            with run.stamps.making(stamp, key):
                evaluation.save(own, folder)
        return evaluation.load(folder)
