"""The `evaluation:` section of a speech recipe: which segment was heard, among all of the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.data.responses import select, typical_rms
from neurodec.data.splits import Level
from neurodec.errors import NeurodecError
from neurodec.evaluation.capabilities import companions_of
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.retrieval.centring import mean_of, projected
from neurodec.evaluation.retrieval.similarity import Centre
from neurodec.evaluation.section import Evaluation, Fitted, Predictor, required
from neurodec.evaluation.segments.segment_scores import NoiseResponses, SegmentScores, segment_scores
from neurodec.evaluation.segments.segment_section import segment_section
from neurodec.evaluation.segments.segment_summary import Candidates, compared, summary_of
from neurodec.features import Features
from neurodec.files import atomic_path, read_json, read_own_table, write_json, write_table

_CENTRED_BY = 1024  # training windows whose mean prediction and target are taken off
_TEXT = dict.fromkeys(("stimulus", "block", "word", "sentence", "subject", "session", "run"), str)


@dataclass(frozen=True)
class SegmentsRun:
    """What one fold found.

    Parameters
    ----------
    scores : dict of SegmentScores
        Of the system ("system"), of "ridge", of companions by name, and of the system on noise ("noise").
    candidates : DataFrame
        `stimulus`, `block`, `word`, `sentence` of every candidate.
    """

    scores: dict[str, SegmentScores]
    candidates: pd.DataFrame


@dataclass(frozen=True)
class Segments(Evaluation):
    """Zero-shot retrieval of segments of speech: which of all test segments was heard, and which word it begins with.

    Parameters
    ----------
    head : str, optional
        Which of the system's predictions is compared with the target of its name; the system's own choice by default.
    leakage : str
        What training and test must not share: the column of texts.
    word : str
        Column of the word that a segment begins with.
    context : int
        Windows of so many words before and after, of the same text, are scored together, in a row of their own; 0
        leaves it out.
    n_frequent : int
        Words are also decoded among this many most frequent ones.
    n_permutations : int
        Draws behind p values; whole texts are exchanged.
    seed : int
        Of every draw here.

    Notes
    -----
    All decoders are ranked by one rule: the cosine of a prediction with a candidate, each less its mean over training
    windows. Candidates have one length. Noise in place of the brain goes through the same system: if it scored above
    chance, candidates could be told apart without one.

    References
    ----------
    Défossez et al. (2023), Nature Machine Intelligence 5:1097, Methods.

    Examples
    --------
    >>> from neurodec import evaluate
    >>> from neurodec.evaluation import Segments
    >>> found = evaluate(system, study, targets, Segments(n_permutations=1000))  # doctest: +SKIP
    """

    head: str | None = None
    leakage: Level = "block"
    word: str = "word"
    context: int = 3
    n_frequent: int = 50
    n_permutations: int = 2000
    seed: int = 0

    needs_system: ClassVar[bool] = True
    headlines: ClassVar[tuple[str, ...]] = ("segments.top10", "segments.top1")

    @property
    def level(self) -> Level:
        """What training and test must not share."""
        return self.leakage

    def check(self, study: Study) -> None:
        """Refuse stimuli that have no texts or words."""
        missing = [name for name in (self.leakage, self.word) if name not in study.stimuli]
        if missing:
            raise NeurodecError(
                f"Segments of speech need the column {missing[0]} of the stimuli, which have "
                f"{', '.join(study.stimuli)}; take a reader of speech, or name the columns by `leakage` and `word`."
            )

    def compared_heads(self, head: str) -> list[str]:
        """Return the head that is ranked."""
        return [self.head or head]

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> SegmentsRun:
        """Score one fold; see `Evaluation.run`. Sequences are predicted and scored block by block, and not kept."""
        if not len(study):
            raise NeurodecError('There are no test windows; give some texts the split "test".')
        fitted = required(fitted, type(self).__name__)
        head = self.head or fitted.system.head
        own, candidates = fitted.targets[head], self._candidates(study)
        decoders: dict[str, Predictor] = {"system": fitted.system, **companions_of(fitted.system)}
        ridge = None if fitted.baseline is None else fitted.baseline(head)
        if ridge is not None:
            decoders["ridge"] = ridge
        scores = {
            name: self._scored(system, head, own, candidates, study, fitted.train)
            for name, system in decoders.items()
        }
        noise = self._of_noise(study)
        scores["noise"] = self._scored(fitted.system, head, own, candidates, noise, fitted.train)
        return SegmentsRun(scores, candidates)

    def _scored(
        self,
        system: Predictor,
        head: str,
        own: Features,
        candidates: pd.DataFrame,
        study: Study,
        train: Study,
    ) -> SegmentScores:
        features = projected(system, head, own)
        names = candidates["stimulus"].tolist()
        values = select(features.values, features.rows(names))
        return segment_scores(system, head, study, values, names, self._centre(system, head, features, train))

    def _centre(self, system: Predictor, head: str, features: Features, train: Study) -> Centre:
        """Return the mean prediction and target of training windows, drawn once."""
        rng = np.random.default_rng(self.seed)
        share = min(1.0, _CENTRED_BY / len(train))
        rows = {
            name: np.sort(rng.permutation(len(trials))[: max(1, round(share * len(trials)))])
            for name, trials in train.spaces.items()
        }
        drawn = train.select(rows)
        shown = features.rows(drawn.table["stimulus"].drop_duplicates())
        predicted = mean_of(np.asarray(system.predict(drawn).of(head)))
        return Centre(predicted, mean_of(select(features.values, shown)))

    def _of_noise(self, study: Study) -> Study:
        spaces = {}
        for number, (name, trials) in enumerate(study.spaces.items()):
            size = typical_rms(trials.responses)
            noise = NoiseResponses(trials.responses.shape, size, self.seed + number)
            spaces[name] = replace(trials, responses=noise)
        return replace(study, spaces=spaces)

    def _candidates(self, study: Study) -> pd.DataFrame:
        """Return all test segments, those of one text one after the other in time."""
        shown = study.stimuli[study.stimuli["split"] == "test"]
        if shown.empty:
            shown = study.stimuli[study.stimuli["stimulus"].isin(set(study.table["stimulus"]))]
        offsets = pd.to_numeric(shown["offset"]) if "offset" in shown else pd.Series(0.0, shown.index)
        codes = pd.factorize(shown[self.leakage])[0]
        shown = shown.iloc[np.lexsort((offsets.to_numpy(), codes))]
        sentences = shown["sentence"] if "sentence" in shown else shown[self.leakage]
        return pd.DataFrame(
            {
                "stimulus": shown["stimulus"],
                "block": shown[self.leakage].astype(str),
                "word": shown[self.word].astype(str),
                "sentence": sentences.astype(str),
            }
        ).reset_index(drop=True)

    def results(self, runs: Sequence[SegmentsRun]) -> dict[str, Any]:
        """Return the sections `segments`, `baselines` and `controls` of `results.json`."""
        candidates = runs[0].candidates
        if any(not run.candidates.equals(candidates) for run in runs):
            raise NeurodecError(
                "Folds have other test segments each, and segments need one set of candidates; take the split of the "
                "texts instead of a cross-validation."
            )
        about = Candidates(candidates["block"].to_numpy(dtype=str), candidates["word"].to_numpy(dtype=str))
        joined = {name: _joined([run.scores[name] for run in runs]) for name in runs[0].scores}
        found = {name: summary_of(scores, about, self) for name, scores in joined.items()}
        sections: dict[str, Any] = {
            "segments": found.pop("system"),
            "controls": {"noise": found.pop("noise")},
        }
        null = sections["segments"].pop("null_top10")
        sections["controls"]["shuffled"] = {
            "top10": float(np.mean(null)),
            "ci95_top10": np.quantile(null, [0.025, 0.975]).clip(0, 1).tolist(),
            "n_permutations": self.n_permutations,
        }
        for part in (sections["controls"]["noise"], *found.values()):
            part.pop("null_top10")
        if "ridge" in found:
            against = compared(joined["system"], joined["ridge"], about)
            found["ridge"] |= {"encoder_minus_ridge_top10": against}
        return {**sections, **({"baselines": found} if found else {})}

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return segment_section(sections, name, kept or Kept())

    def save(self, run: SegmentsRun, folder: Path) -> None:
        """Write a fold's scores and candidates."""
        with atomic_path(folder) as partial:
            partial.mkdir()
            write_table(partial / "candidates.csv", run.candidates)
            for number, scores in enumerate(run.scores.values()):
                np.save(partial / f"cosine{number}.npy", scores.cosine)
                np.save(partial / f"product{number}.npy", scores.product)
                columns = ["subject", "session", "run", "onset", "block", "stimulus"]
                table = scores.table.reindex(columns=columns).assign(true=scores.true)
                write_table(partial / f"windows{number}.csv", table)
            write_json(partial / "about.json", {"decoders": list(run.scores)})

    def load(self, folder: Path) -> SegmentsRun:
        """Read what `save` wrote."""
        scores = {}
        for number, name in enumerate(read_json(folder / "about.json")["decoders"]):
            table = read_own_table(folder / f"windows{number}.csv", dtype=_TEXT)
            arrays = [
                np.load(folder / f"{kind}{number}.npy", mmap_mode="r") for kind in ("cosine", "product")
            ]
            scores[name] = SegmentScores(*arrays, table["true"].to_numpy(dtype=int), table)
        return SegmentsRun(scores, read_own_table(folder / "candidates.csv", dtype=_TEXT))


def _joined(parts: Sequence[SegmentScores]) -> SegmentScores:
    """Return the windows of several folds as one."""
    if len(parts) == 1:
        return parts[0]
    table = pd.concat([part.table for part in parts], ignore_index=True)
    arrays = [
        np.concatenate([getattr(part, name) for part in parts]) for name in ("cosine", "product", "true")
    ]
    return SegmentScores(*arrays, table)
