"""Which networks of the brain hold what is decoded: each is taken away in turn, from the decoder or from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from sklearn.cluster import KMeans

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.responses import View, select
from neurodec.data.splits import Level
from neurodec.errors import NeurodecError
from neurodec.evaluation.networks_section import networks_section
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.retrieval.ablation import named_regions, refit
from neurodec.evaluation.retrieval.centring import mean_of, projected, training_centre
from neurodec.evaluation.retrieval.scored import Scored
from neurodec.evaluation.retrieval.similarity import Centre, Gallery, unit_rows
from neurodec.evaluation.retrieval.zero_shot import Retrieval
from neurodec.evaluation.section import Evaluation, Fitted, required
from neurodec.evaluation.statistics.intervals import interval, paired_difference
from neurodec.evaluation.statistics.permutations import permutation_p
from neurodec.files import read_own_table, track, write_table

_MEASURES = ("top1", "two_way")
_TEXT = {"subject": str, "stimulus": str, "concept": str, "way": str, "network": str, "cluster": str}
_AT_ONCE = 1_000_000  # signs that are drawn together
WHOLE = ""  # stands for no network


@dataclass(frozen=True)
class NetworkAblation(Evaluation):
    """How much worse stimuli are found without each network of parcels, or region of voxels.

    Parameters
    ----------
    head : str, optional
        Which prediction is compared; the system's own choice by default.
    networks : dict of list of str, optional
        Network to its parcels; by default what the recordings know (`Atlas.networks`, `BidsFMRI.regions`).
    refitted : bool
        Also fit ridge without each network: what the recordings hold elsewhere, beside what the decoder uses.
    clusters : int or str, optional
        Do so within groups of stimuli too: this many, by k-means of their targets, or a column of the stimuli such as
        `concept`. Five as published.
    leakage : str
        What training and test trials must not share.
    n_permutations : int
        Draws behind p values.
    seed : int
        Of the draws.

    Notes
    -----
    *Masked*: the network is zero, its mean, when the trained decoder reads test trials. To train the decoder itself
    anew without a network, run its recipe with ``VoxelPreprocessing(regions_left_out=[...])``.

    The measure behind p values is two-way identification, which fewer trials tell apart than top-1. The p value is one-
    sided: signs of every stimulus's loss are exchanged at random. False discoveries are controlled over networks
    (Benjamini & Hochberg 1995).

    References
    ----------
    Wang et al. (2024), arXiv 2411.07121.
    """

    head: str | None = None
    networks: dict[str, list[str]] | None = None
    refitted: bool = True
    clusters: int | str | None = None
    leakage: Level = "concept"
    n_permutations: int = 10_000
    seed: int = 0

    needs_system: ClassVar[bool] = True

    @property
    def level(self) -> Level:
        """What training and test trials must not share."""
        return self.leakage

    def check(self, study: Study) -> None:
        """Refuse recordings without networks, and names that they do not have.

        Raises
        ------
        NeurodecError
        """
        for space, trials in study.spaces.items():
            groups = self._groups(trials)
            if not groups:
                raise NeurodecError(
                    f"NetworkAblation needs networks, and the recordings of {space} have none; give the atlas a table "
                    "with the column `network`, or name parcels in `networks`."
                )
        if isinstance(self.clusters, str) and self.clusters not in study.stimuli:
            raise NeurodecError(
                f"`clusters` is {self.clusters}, and the stimulus table has {', '.join(study.stimuli)}; name one of "
                "these, or a number."
            )

    def inputs(self, test: Study) -> dict[str, Study]:
        """Return averages over repetitions, as `Retrieval` does."""
        return self._retrieval.inputs(test)

    def compared_heads(self, head: str) -> list[str]:
        """Return the head that is ranked."""
        return [self.head or head]

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> pd.DataFrame:
        """Score one fold; see `Evaluation.run`.

        Returns
        -------
        DataFrame
            `subject, stimulus, concept, cluster, way, network, n_parcels, top1, two_way`: a row per averaged trial,
            way and network; the whole brain has the network "".
        """
        self.check(study)
        fitted = required(fitted, type(self).__name__)
        head = self.head or fitted.system.head
        own = fitted.targets[head]
        features = projected(fitted.system, head, own)
        centre = training_centre(fitted.system, head, fitted.train, features, study.subjects, seed=self.seed)
        tables = []
        for space, trials in study.spaces.items():
            test, groups = trials.average().in_memory(), self._groups(trials)
            gallery = self._retrieval.candidates(test.table, study.stimuli, features)
            gallery = Gallery(gallery.values, gallery.stimuli, gallery.concepts, centre=centre)
            z = masked_predictions(fitted, head, space, test, groups)
            found = {("masked", network): Scored.of(rows, test.table, gallery) for network, rows in z.items()}
            train = fitted.train.spaces.get(space)
            if self.refitted and train is not None:
                known = fitted.targets[head]
                values = select(known.values, known.rows(train.average().table["stimulus"]))
                mean = mean_of(values)
                linear = self._retrieval.candidates(test.table, study.stimuli, own)
                linear = Gallery(linear.values, linear.stimuli, linear.concepts, centre=Centre(mean, mean))
                for network, rows in _refitted(train.average().in_memory(), values, test, groups).items():
                    found["refitted", network] = Scored.of(rows, test.table, linear)
            clusters = self._clusters(test.table, study.stimuli, own)
            n_parcels = {network: len(members) for network, members in groups.items()}
            for (way, network), scored in found.items():
                shares = {"top1": scored.top(), "two_way": two_way(scored)}
                about = {"cluster": clusters, "way": way, "network": network}
                about["n_parcels"] = n_parcels.get(network, test.responses.shape[1])
                tables.append(scored.table.assign(**about, n_candidates=scored.n_candidates, **shares))
        return pd.concat(tables, ignore_index=True)

    def results(self, runs: Sequence[pd.DataFrame]) -> dict[str, Any]:
        """Return the section `networks`: scores of the whole, and what is lost without each network."""
        table = pd.concat([run.assign(fold=fold) for fold, run in enumerate(runs)], ignore_index=True)
        about = {
            "n_trials": int(len(table) / len(table[["way", "network"]].drop_duplicates())),
            "n_stimuli": int(table["stimulus"].nunique()),
            "n_candidates": int(table["n_candidates"].max()),
            "chance": {"top1": float((1 / table["n_candidates"]).mean()), "two_way": 0.5},
            "ways": {str(way): self._of(part) for way, part in table.groupby("way", sort=False)},
        }
        if self.clusters is not None:
            about["clusters"] = [
                {"cluster": str(name), "n_stimuli": int(part["stimulus"].nunique()), **self._of(part)}
                for name, part in table[table["way"] == "masked"].groupby("cluster", sort=True)
            ]
        return {"networks": about}

    def _of(self, table: pd.DataFrame) -> dict[str, Any]:
        """Return the scores of the whole, and the losses, of one way or one group of stimuli."""
        parts = {
            str(name): part.reset_index(drop=True) for name, part in table.groupby("network", sort=False)
        }
        whole = parts.pop(WHOLE)
        clusters = whole["stimulus"].to_numpy()
        found = {
            name: {"value": float(whole[name].mean()), "ci95": interval(whole[name].to_numpy(), clusters)}
            for name in _MEASURES
        }
        lost = []
        for network, part in parts.items():
            steps = {
                "top1": 1.0,
                "two_way": 1 / max(int(part["n_candidates"].max()) - 1, 1),
            }  # one hit, one rank
            losses = {
                name: paired_difference(whole[name].to_numpy(), part[name].to_numpy(), clusters, steps[name])
                for name in _MEASURES
            }
            lost.append(
                {
                    "network": network,
                    "n_parcels": int(part["n_parcels"].iloc[0]),
                    **{name: float(part[name].mean()) for name in _MEASURES},
                    "loss": {
                        name: {key: own[key] for key in ("difference", "ci95")}
                        for name, own in losses.items()
                    },
                    "p_value": sign_p(
                        (whole["two_way"] - part["two_way"]).to_numpy(),
                        clusters,
                        self.n_permutations,
                        self.seed,
                    ),
                }
            )
        corrected = false_discovery_control([own["p_value"] for own in lost])
        for own, p in zip(lost, corrected, strict=True):
            own["p_fdr"] = float(p)
        return {"whole": found, "networks": lost}

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return networks_section(sections["networks"], name, kept or Kept(), self.networks)

    def save(self, run: pd.DataFrame, folder: Path) -> None:
        """Write ``networks.csv``."""
        write_table(folder / "networks.csv", run)

    def load(self, folder: Path) -> pd.DataFrame:
        """Read it."""
        return read_own_table(folder / "networks.csv", dtype=_TEXT).fillna({"network": WHOLE})

    @property
    def _retrieval(self) -> Retrieval:
        return Retrieval(head=self.head, leakage=self.leakage, seed=self.seed)

    def _groups(self, trials: Trials) -> dict[str, list[int]]:
        if self.networks is not None:
            return named_regions(trials.info.get("ch_names") or [], self.networks)
        return {name: own for name, own in (trials.info.get("roi") or {}).items() if own}

    def _clusters(self, table: pd.DataFrame, stimuli: pd.DataFrame, features: Any) -> np.ndarray:
        """Return the group of every row's stimulus; all are of one where none are asked for."""
        if self.clusters is None:
            return np.full(len(table), "all")
        shown = sorted(table["stimulus"].unique())
        if isinstance(self.clusters, str):
            told = stimuli.set_index("stimulus")[self.clusters].astype(str)
            return table["stimulus"].map(told).to_numpy()
        if self.clusters > len(shown):
            raise NeurodecError(
                f"`clusters` is {self.clusters}, and {len(shown)} stimuli were tested; lower it."
            )
        flat = unit_rows(features.of(shown).reshape(len(shown), -1))
        codes = KMeans(self.clusters, n_init=10, random_state=self.seed).fit_predict(flat)
        named = dict(zip(shown, (f"group {code + 1}" for code in codes), strict=True))
        return table["stimulus"].map(named).to_numpy()


class Masked(View):
    """Trials once as they are, and once without each of several groups of columns.

    Parameters
    ----------
    source : ndarray, shape (n, n_parcels, ...)
    groups : sequence of list of int
        Columns that are zero in the second copy, the third, ...
    """

    dtype = np.dtype(np.float32)

    def __init__(self, source: np.ndarray, groups: Sequence[Sequence[int]]) -> None:
        self.source, self.shape = source, (len(source) * (1 + len(groups)), *source.shape[1:])
        self.kept = np.ones((1 + len(groups), source.shape[1]), dtype=bool)
        for number, members in enumerate(groups, start=1):
            self.kept[number, list(members)] = False

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows; copies follow each other."""
        copies, own = np.divmod(rows, len(self.source))
        kept = self.kept[copies].reshape(len(rows), -1, *[1] * (self.source.ndim - 2))
        return np.where(kept, self.source[own], np.float32(0))


def masked_predictions(
    fitted: Fitted, head: str, space: str, test: Trials, groups: dict[str, list[int]]
) -> dict[str, np.ndarray]:
    """Predict test trials as they are, and without each network, all in the batches of one pass.

    Parameters
    ----------
    fitted : Fitted
    head, space : str
    test : Trials
    groups : dict of list of int
        Network to its columns.

    Returns
    -------
    dict of ndarray, shape (n, ...)
        By network; "" is the whole.
    """
    names = [WHOLE, *groups]
    table = pd.concat([test.table] * len(names), ignore_index=True)
    copies = Trials(Masked(np.asarray(test.responses), list(groups.values())), table, test.info)
    found = np.asarray(fitted.system.predict(Study.of(copies, space=space)).of(head))
    return dict(zip(names, found.reshape(len(names), len(test), *found.shape[1:]), strict=True))


def _refitted(
    train: Trials, targets: np.ndarray, test: Trials, groups: dict[str, list[int]]
) -> dict[str, np.ndarray]:
    """Fit ridge to all parcels, and to all but each network, and predict."""
    targets = np.asarray(targets, dtype=np.float32).reshape(len(targets), -1)
    concepts, everything = train.table["concept"].to_numpy(), np.arange(train.responses.shape[1])
    found = {}
    for network, members in track([(WHOLE, []), *groups.items()], "Networks left out", total=1 + len(groups)):
        kept = np.setdiff1d(everything, members)
        if len(kept):
            parts = (np.asarray(own.responses)[:, kept].reshape(len(own), -1) for own in (train, test))
            known, asked = parts
            found[network] = refit(known, targets, asked, concepts)
    return found


def two_way(scored: Scored) -> np.ndarray:
    """Return every row's share of other candidates that are less similar than the true one; ties count half."""
    return (scored.n_candidates - scored.ranks) / max(scored.n_candidates - 1, 1)


def sign_p(
    losses: np.ndarray,
    clusters: np.ndarray,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Return the p value of a mean loss above zero, under exchanged signs of the clusters' losses.

    Parameters
    ----------
    losses : ndarray, shape (n_rows,)
    clusters : ndarray, shape (n_rows,)
        Stimulus of every row: rows of one change their sign together.
    n_permutations : int
    seed : int

    References
    ----------
    Nichols & Holmes (2002), Human Brain Mapping 15.
    """
    codes = pd.factorize(clusters)[0]
    sums = np.bincount(codes, weights=losses)
    rng, null = np.random.default_rng(seed), []
    for start in range(0, n_permutations, size := max(1, _AT_ONCE // len(sums))):
        signs = rng.integers(0, 2, (min(size, n_permutations - start), len(sums)), dtype=np.int8) * 2 - 1
        null.append(signs @ sums)
    return permutation_p(float(sums.sum()), np.concatenate(null))
