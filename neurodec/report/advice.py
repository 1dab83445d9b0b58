"""What a reader may do next, told from the scores and from what the recipe already does."""

from __future__ import annotations

from typing import Any

from neurodec.data.trial_tables import has_time
from neurodec.evaluation.presentation import Section
from neurodec.training.history import nothing_learned

_WIDE = 0.15  # of an interval of a share


def next_steps(results: dict[str, Any], section: Section, info: dict[str, Any]) -> list[str]:
    """Return sentences, the most useful first.

    Parameters
    ----------
    results : dict
        Contents of `results.json`.
    section : Section
        Of the first evaluation; without a table of scores there is nothing to advise.
    info : dict
        Of the first space (`neurodec.report.charts.info_of`).
    """
    if not section.rows:
        return []
    steps = []
    learned = [fold.get("beats_mean_predictor") is not False for fold in results.get("training", {}).values()]
    if not section.beyond_chance:
        steps.append(
            "Check below what was read (counts of events and channels, units, notes)"
            + ("" if not has_time(info) else ", and whether the evoked response rises above its noise")
            + "."
        )
    if not all(learned):
        steps.append(nothing_learned(info.get("preprocessing")))
    if section.against and section.against["ci95"][1] < 0:
        steps.append(
            "Ridge is ahead on the same trials: use it (`neurodec.systems.RidgeSystem`), or train the network on "
            "more trials or epochs."
        )
    low, high = section.rows[0].ci95 or (0.0, 0.0)
    if high - low > _WIDE:
        steps.append(f"The interval is wide: more test {section.tested} make it narrower.")
    trained = results.get("system") != "RidgeSystem"
    if trained and len(results.get("seeds") or []) == 1 and section.beyond_chance:
        steps.append(
            "Add `--seeds [1,2,3]` to see how much the score depends on the random numbers of training."
        )
    steps.append("`neurodec compare` tests this run against others on the test trials that they share.")
    return steps


def shared_in_words(shared: dict[str, int]) -> str | None:
    """Tell what training and test trials share; None where they share nothing."""
    parts = [
        f"{shared[plural]} of {shared[f'test_{plural}']} test {plural}"
        for plural in ("concepts", "stimuli")
        if shared.get(plural)
    ]
    return f"Training shows {' and '.join(parts)} too." if parts else None
