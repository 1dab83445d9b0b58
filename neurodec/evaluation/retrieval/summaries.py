"""The numbers of a decoder's retrieval, as `results.json` names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from neurodec.evaluation.retrieval.folded import ScoredFolds
from neurodec.evaluation.retrieval.scored import Scored
from neurodec.evaluation.retrieval.similarity import chance_top
from neurodec.evaluation.statistics.intervals import interval
from neurodec.evaluation.statistics.permutations import permutation_p


class Settings(Protocol):
    """What of `Retrieval` these numbers follow from."""

    n_permutations: int
    seed: int
    k_way: list[int]
    pool_size: int | None
    leakage: str
    answers: str | None


def summary_of(scored: Scored | ScoredFolds, settings: Settings) -> dict[str, Any]:
    """Return the metrics of one decoder, as `results.json` names them.

    Parameters
    ----------
    scored : Scored or ScoredFolds
    settings : Retrieval
        Its draws, seed, sizes of galleries and pools, level of leakage and answers.
    """
    top1, top5, table = scored.top(1), scored.top(5), scored.table
    null = scored.shuffled(1, settings.n_permutations, settings.seed)
    return {
        "n_candidates": scored.n_candidates,
        "gallery": scored.gallery.kind,
        "n_repetitions": scored.n_repetitions,
        "top1": float(top1.mean()),
        "top5": float(top5.mean()),
        **({"uncentred_top1": float(table["uncentred"].mean())} if "uncentred" in table else {}),
        "chance_top1": scored.chance(),
        "chance_top5": scored.chance(5),
        **({} if settings.leakage == "concept" else {"chance_top1_by_concept": scored.chance_by_concept}),
        "ci95_top1": _interval(top1, scored),
        "ci95_top5": _interval(top5, scored),
        "p_value": permutation_p(float(top1.mean()), null),
        "p_floor": 1 / (1 + len(null)),
        "collapsed": scored.collapsed,
        "median_rank": float(np.median(scored.ranks)),
        "k_way": k_way_of(scored, settings.k_way),
        **answers_of(scored, settings),
        **(
            {}
            if settings.pool_size is None
            else {"pooled": scored.within_pools(settings.pool_size, settings.seed)}
        ),
        "per_subject": {
            subject: _of_subject(scored, top1, top5, subject) for subject in table["subject"].unique()
        },
    }


def answers_of(scored: Scored | ScoredFolds, settings: Settings) -> dict[str, Any]:
    """Score the answers, such as words, that several stimuli share."""
    answered = scored.answered
    if answered is None:
        return {}
    found: dict[str, Any] = {"column": settings.answers, "n_candidates": answered.n_candidates}
    for m in (1, 5, 10):
        top, null = answered.top(m), answered.shuffled(m, settings.n_permutations, settings.seed)
        found |= {
            f"top{m}": float(top.mean()),
            f"chance_top{m}": float(null.mean()),
            f"ci95_top{m}": _interval(top, answered),
            f"p_value_top{m}": permutation_p(float(top.mean()), null),
        }
    return {"answers": found}


def k_way_of(scored: Scored | ScoredFolds, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Return the accuracy expected among fewer candidates, drawn at random."""
    return [
        {
            "k": k,
            "top1": float(scored.top(1, k).mean()),
            "top5": float(scored.top(5, k).mean()),
            "ci95_top1": _interval(scored.top(1, k), scored),
            "chance_top1": chance_top(k),
            "chance_top5": chance_top(k, 5),
        }
        for k in sizes
        if k <= scored.n_candidates
    ]


def _interval(scores: np.ndarray, scored: Scored | ScoredFolds) -> list[float]:
    return interval(scores, scored.table["stimulus"].to_numpy(), inflation=scored.inflation)


def _of_subject(
    scored: Scored | ScoredFolds, top1: np.ndarray, top5: np.ndarray, subject: str
) -> dict[str, Any]:
    rows = (scored.table["subject"] == subject).to_numpy()
    clusters = scored.table["stimulus"].to_numpy()[rows]
    ci95 = interval(top1[rows], clusters, inflation=scored.inflation)
    return {"top1": float(top1[rows].mean()), "top5": float(top5[rows].mean()), "ci95_top1": ci95}
