"""How well encoders of voxels foretell responses to new pictures, and what these voxels prefer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level
from neurodec.errors import NeurodecError
from neurodec.evaluation.capabilities import Encodes, require
from neurodec.evaluation.further_sections import encoding_section
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.retrieval.similarity import chance_top, unit_rows
from neurodec.evaluation.retrieval.zero_shot import Retrieval
from neurodec.evaluation.section import Evaluation, Fitted, required
from neurodec.evaluation.statistics.intervals import interval, jackknife_interval
from neurodec.features import embed_captions
from neurodec.files import read_json, write_json
from neurodec.linear.inversion import likelihoods
from neurodec.linear.voxel_encoders import EncodedTrials

_MOST_SELECTIVE = 10


@dataclass(frozen=True)
class VoxelEncoding(Evaluation):
    """Explained variance of a person's voxels against its noise ceiling, by region, and identification by likelihood.

    Parameters
    ----------
    prompts : list of str
        Sentences; for each the answer that every region's encoders foretell, relative to the mean of all sentences.
        In a CLIP space.
    leakage : str
        What training and test trials must not share.

    Notes
    -----
    Responses are those that the system reads: z-scored, and freed of shared noise where it does so. The noise ceiling
    is the share of variance of the averaged response that repeats from showing to showing (Allen et al. 2022, NSD); it
    is left out where no picture was shown twice.
    """

    prompts: list[str] = field(default_factory=list)
    leakage: Level = "concept"

    needs_system: ClassVar[bool] = True

    @property
    def level(self) -> Level:
        """What training and test trials must not share."""
        return self.leakage

    def run(
        self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None
    ) -> list[dict[str, Any]]:
        """Score everybody; see `Evaluation.run`.

        Returns
        -------
        list of dict
            One per subject, as `results` gives them below `per_subject`.

        Raises
        ------
        NeurodecError
            If the system has no encoders of voxels, or sentences are asked for outside a CLIP space.
        """
        fitted = required(fitted, type(self).__name__)
        system = require(fitted.system, Encodes, "has no encoders of voxels, so there is nothing to score")
        targets = fitted.targets[fitted.system.head]
        sentences = None
        if self.prompts:
            if len(self.prompts) < 2:
                raise NeurodecError(
                    "`prompts` holds one sentence; give two or more, since regions are compared by them."
                )
            sentences = embed_captions(self.prompts, targets.embedding_space)
        averaged, single = system.encoded(study.average()), system.encoded(study)
        found = []
        for means, trials in zip(averaged, single, strict=True):
            gallery = Retrieval().candidates(means.table, study.stimuli, targets)
            candidates = unit_rows(gallery.values).astype(np.float32)
            shown = candidates[gallery.true_index(means.table)]
            own = self._of_person(means, trials, shown, candidates, gallery.true_index(means.table))
            if sentences is not None:
                own["prompts"] = self._preferred(means, sentences)
            found.append({"subject": means.table["subject"].iloc[0], **own})
        return found

    def results(self, runs: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """Return the section `encoding`: per subject, and the mean over subjects of what all have."""
        people = [person for run in runs for person in run]
        ways = {}
        for way in people[0]["encoders"]:
            own = [person["encoders"][way] for person in people]
            ways[way] = {
                name: float(np.mean([one[name] for one in own]))
                for name in ("explained_variance", "identified_top1")
            }
            ceilings = [person["noise_ceiling"] for person in people]
            if None not in ceilings:
                ways[way]["of_ceiling"] = ways[way]["explained_variance"] / max(np.mean(ceilings), 1e-6)
        return {"encoding": {"mean": ways, "per_subject": people}}

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return encoding_section(sections["encoding"])

    def save(self, run: list[dict[str, Any]], folder: Path) -> None:
        """Write ``encoding.json``."""
        write_json(folder / "encoding.json", run)

    def load(self, folder: Path) -> list[dict[str, Any]]:
        """Read it."""
        return read_json(folder / "encoding.json")

    def _of_person(
        self,
        means: EncodedTrials,
        trials: EncodedTrials,
        shown: np.ndarray,
        candidates: np.ndarray,
        true: np.ndarray,
    ) -> dict[str, Any]:
        ceiling = noise_ceiling(trials.responses, trials.table["stimulus"].to_numpy())
        counts = means.table["n_averaged"].to_numpy(dtype=float)
        encoders = {}
        for way, own in means.encoders.items():
            expected = own.predict(shown)
            explained = explained_variance(means.responses, expected)
            likely = likelihoods(own.averaged(float(counts.mean())), means.responses, candidates)
            right = (likely.argmax(axis=1) == true).astype(float)
            encoders[way] = {
                "explained_variance": float(explained.mean()),
                "ci95": _interval(means.responses, expected),
                "regions": {
                    name: float(explained[at].mean()) for name, at in means.regions.items() if len(at)
                },
                "identified_top1": float(right.mean()),
                "identified_ci95": interval(right, means.table["stimulus"].to_numpy()),
            }
        told = {
            "n_voxels": means.responses.shape[1],
            "n_candidates": len(candidates),
            "chance_top1": chance_top(len(candidates)),
            "noise_ceiling": None if ceiling is None else float(ceiling.mean()),
            "encoders": encoders,
        }
        if means.regions:
            sizes = {name: len(at) for name, at in means.regions.items() if len(at)}
            told["regions"] = {name: {"n_voxels": size} for name, size in sizes.items()}
            for name in told["regions"] if ceiling is not None else ():
                told["regions"][name]["noise_ceiling"] = float(ceiling[means.regions[name]].mean())
            for name in told["regions"] if means.attention is not None else ():
                share = means.attention[means.regions[name]].sum() / means.attention.sum()
                told["regions"][name]["attention"] = float(share)
        return told

    def _preferred(self, means: EncodedTrials, sentences: np.ndarray) -> dict[str, dict[str, Any]]:
        """Return per encoder and sentence how much more each region is expected to answer to it than to others."""
        found: dict[str, dict[str, Any]] = {}
        for way, own in means.encoders.items():
            answers = own.predict(sentences)
            more = answers - answers.mean(axis=0)  # sentences lie apart from pictures, all by the same step
            found[way] = {
                prompt: {
                    "regions": {name: float(row[at].mean()) for name, at in means.regions.items() if len(at)},
                    "most_selective_voxels": [
                        own.voxels[place] for place in np.argsort(-row)[:_MOST_SELECTIVE]
                    ],
                }
                for prompt, row in zip(self.prompts, more, strict=True)
            }
        return found


def explained_variance(responses: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return ``1 - var(y - expected) / var(y)`` of every voxel; 0 where a voxel does not vary.

    Parameters
    ----------
    responses, expected : ndarray, shape (n, n_voxels)
    """
    variance = responses.var(axis=0)
    share = 1 - (responses - expected).var(axis=0) / np.maximum(variance, 1e-12)
    return np.where(variance > 0, share, 0.0)


def _interval(responses: np.ndarray, expected: np.ndarray) -> list[float]:
    """Return the 95 % interval of the mean explained variance, over stimuli, which are left out one by one."""
    n = len(responses)
    sums = []
    for values in (responses - expected, responses):
        centred = values - values.mean(axis=0)
        # Without row i the sum of squares about the new mean is less by this (Welford).
        sums.append(np.square(centred).sum(axis=0) - np.square(centred) * n / (n - 1))
    without = np.where(sums[1] > 0, 1 - sums[0] / np.maximum(sums[1], 1e-12), 0.0).mean(axis=1)
    value = float(explained_variance(responses, expected).mean())
    return jackknife_interval(value, without, np.ones(n), "mean", 0.0)


def noise_ceiling(responses: np.ndarray, stimuli: np.ndarray) -> np.ndarray | None:
    """Return the share of the variance of averaged responses that is due to the picture, shape (n_voxels,).

    ``var_signal / (var_signal + var_noise / n)``, with the noise from the spread between showings of a picture.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_voxels)
        Single trials.
    stimuli : ndarray, shape (n_trials,)

    Returns
    -------
    ndarray or None
        None where nothing was shown twice.

    References
    ----------
    Allen et al. (2022), A massive 7T fMRI dataset, Nature Neuroscience 25, methods (noise ceiling).
    """
    _, codes, counts = np.unique(stimuli, return_inverse=True, return_counts=True)
    if (counts < 2).all():
        return None
    sums = np.zeros((len(counts), responses.shape[1]))
    np.add.at(sums, codes, responses)
    means = sums / counts[:, None]
    noise = np.square(responses - means[codes]).sum(axis=0) / (len(codes) - len(counts))
    total = means.var(axis=0, ddof=1)
    signal = np.maximum(total - noise * (1 / counts).mean(), 0.0)
    return signal / np.maximum(total, 1e-12)
