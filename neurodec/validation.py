"""Scores in Python: of a fitted system on held-out trials, and by cross-validation. The recipe calls the same parts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.base import clone

from neurodec.data import Study, check_leakage
from neurodec.data.fold_whitening import whitened
from neurodec.data.folding import drawn, labels_of, marked
from neurodec.data.splits import TRAINING
from neurodec.data.twins import NO_CONCEPTS, no_concepts
from neurodec.errors import NeurodecError
from neurodec.evaluation import Retrieval
from neurodec.evaluation.figures import intervals
from neurodec.evaluation.presentation import Section, Table, percent, words
from neurodec.evaluation.section import Evaluation, Fitted
from neurodec.features import Features, as_targets
from neurodec.files import track
from neurodec.preprocessing.eeg import Whitening
from neurodec.report.thumbnails import data_url
from neurodec.systems import LinearSystem, System, linear_baseline


@dataclass(frozen=True)
class Results:
    """What an evaluation found, with chance, intervals and controls.

    Parameters
    ----------
    sections : dict
        As in ``results.json``: `retrieval`, `controls`, `baselines`, ...
    name : str
        Of the system.
    evaluation : Evaluation
        That found them, and says what there is to show.
    folds : list of dict
        Of a cross-validation: the groups that were left out, and `sections` of this fold alone.
    """

    sections: dict[str, Any]
    name: str
    evaluation: Evaluation
    folds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The leading score, such as top-1 accuracy; NaN where the evaluation has none."""
        rows = self.shown.rows
        return float(rows[0].value) if rows else float("nan")

    @cached_property
    def shown(self) -> Section:
        """What there is to show: headline, rows, tables, figures."""
        return self.evaluation.section(self.sections, self.name)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per decoder and control: `name, kind, value, ci95_low, ci95_high, p`, and chance."""
        rows = self.shown.rows
        table = pd.DataFrame([vars(row) for row in rows], columns=["name", "kind", "value", "p"])
        bounds = [row.ci95 or (np.nan, np.nan) for row in rows]
        return table.assign(
            ci95_low=[low for low, _ in bounds],
            ci95_high=[high for _, high in bounds],
            chance=self.shown.chance,
            measure=self.shown.score,
        )

    def fold_scores(self) -> pd.DataFrame:
        """Return the leading score of every fold of a cross-validation, beside what was left out."""
        rows = []
        for fold in self.folds:
            alone = Results(fold["sections"], self.name, self.evaluation)
            rows.append({"left_out": ", ".join(fold["left_out"][:5]), "n_groups": len(fold["left_out"])})
            rows[-1]["score"] = alone.score
        return pd.DataFrame(rows)

    def figure(self) -> Figure:
        """Draw the scores with their intervals and chance."""
        return intervals(self.shown.rows, self.shown.chance, words(self.shown.score))

    def __repr__(self) -> str:
        table = self.to_frame()
        if table.empty:
            return f"<Results of {self.name}: {', '.join(self.sections)}>"
        first = table.iloc[0]
        interval = f"[{percent(first['ci95_low'])}, {percent(first['ci95_high'])}]"
        folds = f", {len(self.folds)} folds" if self.folds else ""
        measure = first["measure"].replace("_", " ")
        return (
            f"<Results of {self.name}: {measure} {percent(first['value'])} {interval}, chance "
            f"{percent(first['chance'], 2)}{folds}>"
        )

    def _repr_html_(self) -> str:
        table = self.to_frame()
        if table.empty:
            tables = [
                pd.DataFrame(block.lines, columns=list(block.columns)).to_html(index=False)
                for block in self.shown.blocks
                if isinstance(block, Table)
            ]
            return f"<p>Results of {self.name}: {', '.join(self.sections)}</p>{''.join(tables)}"
        shares = ["value", "ci95_low", "ci95_high", "chance"]
        shown = table.assign(**{name: [percent(own) for own in table[name]] for name in shares})
        page = shown.to_html(index=False, float_format=lambda value: f"{value:.3g}", na_rep="")
        picture = BytesIO()
        self.figure().savefig(picture, format="png")
        return f'{page}<img src="{data_url(picture.getvalue(), "image/png")}" width="620">'


def evaluate(
    system: System,
    study: Study,
    targets: Any,
    evaluation: Evaluation | None = None,
    *,
    name: str | None = None,
) -> Results:
    """Score a fitted system on the test trials of a study.

    Parameters
    ----------
    system : System
        Fitted to the training trials of `study`.
    study : Study
        With trials of the splits "train" and "test".
    targets : Features, array, Extractor, or dict of these
        See `neurodec.features.as_targets`.
    evaluation : Evaluation, optional
        `Retrieval` by default.
    name : str, optional
        Of the system; that of its encoder or class by default.

    Returns
    -------
    Results

    Raises
    ------
    NeurodecError
        If the system is not fitted, there are no test trials, or training and test share what they must not.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec import RidgeSystem, Study, evaluate
    >>> rng = np.random.default_rng(0)
    >>> targets = rng.normal(size=(60, 4))
    >>> responses = targets @ rng.normal(size=(4, 30)) + 0.1 * rng.normal(size=(60, 30))
    >>> split = ["train"] * 40 + ["test"] * 20
    >>> study = Study.from_arrays(responses, [f"picture{i:02d}" for i in range(60)], split=split)
    >>> system = RidgeSystem().fit(study.part("train"), targets)
    >>> evaluate(system, study, targets).score
    1.0
    """
    evaluation = evaluation or Retrieval()
    run = _run(system, study, as_targets(targets, study.stimuli), evaluation, name)
    return Results(evaluation.results([run]), name or name_of(system), evaluation)


def cross_validate(
    system: System,
    study: Study,
    targets: Any,
    evaluation: Evaluation | None = None,
    *,
    groups: str | Sequence[Any] = "concept",
    n_folds: int = 5,
    seed: int = 0,
    whiten: Whitening = "none",
    name: str | None = None,
) -> Results:
    """Score a system by cross-validation: in every fold a copy of it is fitted without the trials that are tested.

    Parameters
    ----------
    system : System
        Fitted or not; it stays as it is.
    study : Study
    targets : Features, array, Extractor, or dict of these
        See `neurodec.features.as_targets`.
    evaluation : Evaluation, optional
        `Retrieval` by default.
    groups : str or sequence
        Column of the trials (`concept`, `stimulus`, `subject`, `session`, `run`, ...), or one value per trial, whose
        groups are left out whole.
    n_folds : int
        Into which the groups are drawn.
    seed : int
        Of that draw.
    whiten : {"none", "mvnn-epochs", "mvnn-time", "zscore", "robust"}
        Fitted to the training trials of every fold, session by session.
    name : str, optional

    Returns
    -------
    Results
        Scores over all trials, although candidates differ between folds, and of every fold.

    Raises
    ------
    NeurodecError
        If there are fewer groups than folds, or training and test share what the evaluation generalises over.

    Notes
    -----
    Folds share training trials, so their errors go together: of candidates that differ between folds, variances are
    multiplied by ``1 + n_folds * n_test / n_train`` (Nadeau and Bengio 2003), which is more than enough.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec import RidgeSystem, Study, cross_validate
    >>> rng = np.random.default_rng(0)
    >>> targets = rng.normal(size=(60, 4))
    >>> responses = targets @ rng.normal(size=(4, 30)) + 0.1 * rng.normal(size=(60, 30))
    >>> study = Study.from_arrays(responses, [f"picture{i:02d}" for i in range(60)])
    >>> cross_validate(RidgeSystem(), study, targets).score
    1.0
    """
    evaluation = evaluation or Retrieval()
    named = as_targets(targets, study.stimuli)
    folds, runs = [], []
    if isinstance(groups, str) and groups == "concept" and no_concepts(study.table):
        warnings.warn(f"{NO_CONCEPTS}.", stacklevel=2)
    divided = list(drawn(labels_of(study, groups), n_folds, seed))
    for left_out in track(divided, "folds", total=len(divided)):
        fold = whitened(marked(study, groups, left_out), whiten)
        fitted = clone(system).fit(fold.part("train"), named)
        runs.append(_run(fitted, fold, named, evaluation, name))
        folds.append({"left_out": sorted(left_out), "sections": evaluation.results([runs[-1]])})
    return Results(evaluation.results(runs), name or name_of(system), evaluation, folds)


def name_of(system: System) -> str:
    """Return how results call a system: by its encoder, where it has one."""
    encoder = system.get_params().get("encoder")
    if isinstance(encoder, dict) and "class_path" in encoder:
        return str(encoder["class_path"]).rpartition(".")[2]
    encoder = getattr(encoder, "func", encoder)
    if isinstance(encoder, str):
        return encoder.rpartition(".")[2]
    if encoder is None or isinstance(encoder, dict):
        return type(system).__name__
    return encoder.__name__ if isinstance(encoder, type) else type(encoder).__name__


def _run(
    system: System, study: Study, targets: dict[str, Features], evaluation: Evaluation, name: str | None
) -> Any:
    if not evaluation.needs_system:
        raise NeurodecError(
            f"{type(evaluation).__name__} fits decoders of its own; call its `of_trials(study.trials)` instead."
        )
    if not getattr(system, "config", None):
        raise NeurodecError(
            f"{type(system).__name__} is not fitted; call fit(study.part('train'), targets) first."
        )
    check_leakage(study.table, evaluation.level, study.stimuli)
    test, train = study.part("test"), study.part(TRAINING)
    if not len(test):
        raise NeurodecError(
            'No trial has the split "test"; give `split` when the study is made, or take cross_validate.'
        )
    fitted = Fitted(name or name_of(system), system, train, targets, partial(_linear, system, train, targets))
    predictions = {rows: system.predict(trials) for rows, trials in evaluation.inputs(test).items()}
    return evaluation.run(predictions, test, fitted)


def _linear(system: System, train: Study, targets: dict[str, Features], head: str) -> LinearSystem | None:
    """Return the linear baseline on the same trials; none beside a linear system."""
    if isinstance(system, LinearSystem):
        return None
    return linear_baseline(head, targets).fit(train, targets)
