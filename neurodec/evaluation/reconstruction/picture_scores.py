"""One call that scores a set of reconstructions: pixels, networks, intervals, p values, and a row per picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from neurodec.errors import NeurodecError
from neurodec.evaluation.reconstruction.judging_networks import Network, network_features, network_named
from neurodec.evaluation.reconstruction.measures import (
    Direction,
    Set,
    correlation_distance,
    correlation_matrix,
    distractors_ahead,
    n_way_top_k,
    pixel_scores,
)
from neurodec.evaluation.reconstruction.native import PIXELS, native_pixels, native_scores, native_size
from neurodec.evaluation.reconstruction.picture_protocols import protocol_named
from neurodec.evaluation.reconstruction.picture_sets import Pictures, Resize, as_pairs
from neurodec.evaluation.statistics.intervals import interval
from neurodec.evaluation.statistics.permutations import permutation_p, permuted_scores, stimulus_matrix

EMBEDDED = "tiny_clip"
"""The network that is always there; it is added to every protocol's."""
N_WAY = 50
"""Classes among which a classifier chooses; chance is one of them."""


@dataclass(frozen=True)
class ReconstructionScores:
    """Scores of a set of reconstructions.

    Parameters
    ----------
    table : DataFrame, one row per pair
        The rows that were given, then `pixcorr`, `ssim`, with the protocol "native" `mse` and `ssim_gaussian`, and per
        network (or "pixels") `two_way_<network>`, `target_rank_<network>` (of the own target among all targets, for
        this reconstruction), `recon_rank_<network>` (of this reconstruction among all, for its target), or
        `distance_<network>`, or `n_way_<network>` (chance that the target's class is the likeliest of 50 in the
        reconstruction).
    protocol : str
        Name of the protocol.
    p_value : dict of str to float
        Per two-way network.
    unavailable : dict of str to str
        Networks whose weights are not on this machine, and how to get them.
    """

    table: pd.DataFrame
    protocol: str
    p_value: dict[str, float]
    unavailable: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """Return the `reconstruction` part of ``results.json``.

        Returns
        -------
        dict
            Means `pixcorr`, `ssim`, with "native" `mse` (lower is better) and `ssim_gaussian`, `two_way`, `distances`
            (per network; lower is better) and `n_way`, `ci95` in the same form (over stimuli), `retrieval` per network
            (`top1`, `top5`: the share of reconstructions whose own target is among the most correlated targets;
            `target_to_recon_top1`, `..._top5`: the share of targets whose own reconstruction is among the most
            correlated reconstructions), `p_value` per network, `n_images`, `protocol`, `direction`, `ssim_form`,
            `antialias`, `unavailable`.
        """
        protocol = protocol_named(self.protocol)
        columns = {
            "pixcorr": "pixcorr",
            "ssim": "ssim",
            **{name: name for name in ("mse", "ssim_gaussian") if name in self.table},
            "two_way": self._columns("two_way_"),
            "distances": self._columns("distance_"),
            "n_way": self._columns("n_way_"),
        }
        return {
            **_over(columns, lambda column: float(self.table[column].mean())),
            "ci95": _over(columns, self._interval),
            "retrieval": {name: self._retrieval(name) for name in self._columns("two_way_")},
            "p_value": self.p_value,
            "n_images": len(self.table),
            "protocol": self.protocol,
            "direction": protocol.direction,
            "ssim_form": protocol.ssim_form,
            "antialias": all(resize.antialias for resize in protocol.pixels),
            "unavailable": self.unavailable,
        }

    def _columns(self, prefix: str) -> dict[str, str]:
        """Return the networks that have such a column, and its name."""
        return {name.removeprefix(prefix): name for name in self.table if str(name).startswith(prefix)}

    def _interval(self, column: str) -> list[float]:
        clusters = self.table["stimulus"].to_numpy() if "stimulus" in self.table else None
        shares = column.startswith(("two_way_", "n_way_"))
        return interval(self.table[column].to_numpy(), clusters, "share" if shares else "mean")

    def _retrieval(self, network: str) -> dict[str, float]:
        shares = {}
        for prefix, column in (("", "target_rank"), ("target_to_recon_", "recon_rank")):
            ranks = self.table[f"{column}_{network}"]
            shares |= {f"{prefix}top{m}": float((ranks <= m).mean()) for m in (1, 5)}
        n_candidates = self.table["stimulus"].nunique() if "stimulus" in self.table else len(self.table)
        return {**shares, "n_candidates": n_candidates, "chance_top1": 1 / n_candidates}


def score_reconstructions(
    targets: Set,
    recons: Set,
    *,
    protocol: str = "mindeye",
    networks: Sequence[str] | None = None,
    n_permutations: int = 10_000,
    seed: int = 0,
    rows: pd.DataFrame | None = None,
    batch_size: int = 32,
    device: str = "auto",
) -> ReconstructionScores:
    """Score reconstructions against what was seen.

    Parameters
    ----------
    targets, recons : ndarray of shape (n, 3, H, W), or list of PIL.Image.Image
        uint8, or floats in 0..1; recon i belongs to target i.
    protocol : {"mindeye", "braindiffuser", "takagi", "mindvis", "native"}
        Sizes, interpolation, weights and direction (`PROTOCOLS`).
    networks : sequence of str, optional
        Names of `NETWORKS`. The protocol's and the embedded "tiny_clip" by default; none with ``[]``.
    n_permutations : int
        Draws behind p values.
    seed : int
        Of all draws.
    rows : DataFrame, one row per pair, optional
        What the table of scores begins with. With a column `stimulus`, intervals are over stimuli, and pairs of one
        stimulus (several subjects) are permuted together and are no distractors to each other.
    batch_size : int
        Pictures per forward pass; does not change the scores.
    device : str
        A torch device for the networks; "auto" is the GPU if there is one.

    Returns
    -------
    ReconstructionScores

    Raises
    ------
    NeurodecError
        If the pictures are unequal in number, fewer than two, none at all, hold NaN or values outside 0..1, or a name
        is unknown.

    Notes
    -----
    Cost: the features of every picture once per network. The p value is that of the mean two-way score among random
    pairings of reconstructions with stimuli, all read from one correlation matrix per network; the published binomial
    test takes all n (n - 1) comparisons for independent. Two networks' features are never in memory together.
    """
    options = {
        "networks": networks,
        "n_permutations": n_permutations,
        "seed": seed,
    }
    sets = score_sets(
        targets, {"": recons}, protocol=protocol, rows=rows, batch_size=batch_size, device=device, **options
    )
    return sets[""]


def score_sets(
    targets: Set,
    sets: Mapping[str, Set],
    *,
    protocol: str = "mindeye",
    networks: Sequence[str] | None = None,
    n_permutations: int = 10_000,
    seed: int = 0,
    rows: pd.DataFrame | None = None,
    batch_size: int = 32,
    device: str = "auto",
) -> dict[str, ReconstructionScores]:
    """Score several sets of reconstructions of the same targets; see `score_reconstructions`.

    Every network is loaded once, the targets pass it once, and so do the pictures of sets that show the same ones in
    another order. In memory at a time: one network's features of the targets and of two sets.
    """
    chosen = protocol_named(protocol)
    pairs = {name: as_pairs(targets, recons) for name, recons in sets.items()}
    seen = next(iter(pairs.values()))[0]
    rows, stimuli = _numbered(rows, len(seen))
    if chosen.native:
        return _native_sets(pairs, protocol, rows, stimuli, n_permutations, seed)
    wanted = (
        [*chosen.two_way, *chosen.distances, *chosen.classes, EMBEDDED]
        if networks is None
        else dict.fromkeys(networks)
    )
    tables: dict[str, dict[str, np.ndarray]] = {}
    p_values: dict[str, dict[str, float]] = {name: {} for name in sets}
    for name, pair in pairs.items():
        pixels = pixel_scores(pair, chosen.pixels, chosen.ssim_form)
        tables[name] = dict(zip(("pixcorr", "ssim"), pixels, strict=True))
    unavailable = {}
    for network_name, network in {name: network_named(name) for name in wanted}.items():
        try:
            loaded = network.load()
        except NeurodecError as why:
            unavailable[network_name] = f"{network.title}: {why}"
            continue
        resizes = chosen.resizes(network_name, network.size)
        embed = _Embedder(network, loaded, resizes, batch_size, device)
        target_features = embed(seen)
        for name, pair in pairs.items():
            features = embed(pair[1])
            if network_name in chosen.distances:
                tables[name][f"distance_{network_name}"] = correlation_distance(target_features, features)
                continue
            if network.classes:
                n = min(N_WAY, features.shape[1])
                tables[name][f"n_way_{network_name}"] = n_way_top_k(target_features, features, n)
                continue
            correlations = correlation_matrix(target_features, features)
            identified, exchanged = _identified(correlations, chosen.direction, stimuli)
            tables[name] |= {f"{column}_{network_name}": values for column, values in identified.items()}
            p_values[name][network_name] = _p_value(exchanged, stimuli, n_permutations, seed)
    return {
        name: ReconstructionScores(
            pd.concat([rows, pd.DataFrame(table)], axis=1),
            protocol,
            p_values[name],
            unavailable,
        )
        for name, table in tables.items()
    }


def _native_sets(
    pairs: Mapping[str, tuple[Pictures, Pictures]],
    protocol: str,
    rows: pd.DataFrame,
    stimuli: np.ndarray,
    n_permutations: int,
    seed: int,
) -> dict[str, ReconstructionScores]:
    """Score sets by their pixels alone; the features by which pictures are identified are the pixels."""
    seen = next(iter(pairs.values()))[0]
    size, direction = native_size(seen), protocol_named(protocol).direction
    true, found = native_pixels(seen, size), {}
    for name, (_, recons) in pairs.items():
        shown = native_pixels(recons, size)
        identified, exchanged = _identified(correlation_matrix(true, shown), direction, stimuli)
        table = native_scores(true, shown)
        table |= {f"{column}_{PIXELS}": values for column, values in identified.items()}
        p_value = {PIXELS: _p_value(exchanged, stimuli, n_permutations, seed)}
        found[name] = ReconstructionScores(
            pd.concat([rows, pd.DataFrame(table)], axis=1), protocol, p_value, {}
        )
    return found


class _Embedder:
    """A network's features of sets of pictures; a set of pictures that the last one had too is not run again."""

    def __init__(
        self, network: Network, loaded: nn.Module, resizes: Sequence[Resize], batch_size: int, device: str
    ) -> None:
        self._run = lambda pictures: network_features(network, loaded, pictures, resizes, batch_size, device)
        self._last: tuple[dict[bytes, int], np.ndarray] | None = None

    def __call__(self, pictures: Pictures) -> np.ndarray:
        digests = pictures.digests
        if self._last is not None and set(digests) <= set(self._last[0]):
            return self._last[1][[self._last[0][digest] for digest in digests]]
        features = self._run(pictures)
        self._last = {digest: row for row, digest in enumerate(digests)}, features
        return features


def _numbered(rows: pd.DataFrame | None, n: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows with a fresh index, and the number of every pair's stimulus in order of first appearance."""
    if rows is None:
        return pd.DataFrame(index=range(n)), np.arange(n)
    if len(rows) != n:
        raise NeurodecError(f"There are {n} pairs of pictures but {len(rows)} rows that describe them.")
    rows = rows.reset_index(drop=True)
    return rows, pd.factorize(rows["stimulus"])[0] if "stimulus" in rows else np.arange(n)


def _identified(
    correlations: np.ndarray, direction: Direction, stimuli: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the columns of the table, and two-way scores with exchanged stimuli, shape (n, n_stimuli)."""
    ahead = {way: distractors_ahead(correlations, way, stimuli) for way in ("over_targets", "over_recons")}
    own = (np.arange(len(stimuli)), stimuli)
    exchanged = 1 - ahead[direction][0] / ahead[direction][1][:, None]
    columns = {
        "two_way": exchanged[own],
        "target_rank": 1 + ahead["over_targets"][0][own],
        "recon_rank": 1 + ahead["over_recons"][0][own],
    }
    return columns, exchanged


def _p_value(exchanged: np.ndarray, stimuli: np.ndarray, n_permutations: int, seed: int) -> float:
    matrix = stimulus_matrix(exchanged, stimuli)
    return permutation_p(float(np.trace(matrix)), permuted_scores(matrix, n_permutations, seed))


def _over(columns: dict[str, Any], measure: Callable[[str], Any]) -> dict[str, Any]:
    """Apply a measure to every column named in a nested dict."""
    return {
        name: _over(column, measure) if isinstance(column, dict) else measure(column)
        for name, column in columns.items()
    }
