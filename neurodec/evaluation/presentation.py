"""What an evaluation hands over to whoever shows it, a report or a notebook: a headline, rows, tables, figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

_SURE = 0.05
_SMALLEST = 1e-4  # that a p value of a formula is written as


@dataclass(frozen=True)
class Row:
    """A line of the table of scores.

    Parameters
    ----------
    name : str
    value : float
        The leading score.
    ci95 : sequence of float, optional
    p : float, optional
    p_floor : float
        The smallest p value that its draws can give.
    kind : {"decoder", "baseline", "control"}
    more : sequence of str
        Further columns; see `Section.more`.
    """

    name: str
    value: float
    ci95: Sequence[float] | None = None
    p: float | None = None
    p_floor: float = 0.0
    kind: Literal["decoder", "baseline", "control", "subject"] = "decoder"
    more: Sequence[str] = ()


@dataclass(frozen=True)
class Note:
    """A paragraph; its beginning may be bold.

    Parameters
    ----------
    text : str
    strong : str
    kind : {"plain", "soft", "loud"}
    """

    text: str = ""
    strong: str = ""
    kind: Literal["plain", "soft", "loud"] = "plain"


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Parameters
    ----------
    columns : sequence of str
    lines : sequence of sequence of str
    bold : sequence of int
        Lines that stand out.
    summary : str
        Where given, the table is folded under this line.
    """

    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    bold: Sequence[int] = ()
    summary: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture from a file.

    Parameters
    ----------
    file : Path
    alt : str
        What a screen reader tells.
    mark : {"", "seen", "right"}
        Set apart as what was seen, or framed as the right answer.
    """

    file: Path
    alt: str
    mark: Literal["", "seen", "right"] = ""


@dataclass(frozen=True)
class Panel:
    """Rows of pictures.

    Parameters
    ----------
    title : str
    lines : sequence of (sequence of Picture, str)
        Pictures, and what stands beside them.
    columns : sequence of str
        What stands above the pictures.
    """

    title: str
    lines: Sequence[tuple[Sequence[Picture], str]]
    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Sound:
    """A stretch of a sound file.

    Parameters
    ----------
    file : Path
    start, stop : float
        Seconds.
    text : str
        What stands below it, such as what is said.
    mark : {"", "heard", "right"}
        Set apart as what was heard, or framed as the right answer.
    """

    file: Path
    start: float
    stop: float
    text: str
    mark: Literal["", "heard", "right"] = ""


@dataclass(frozen=True)
class Sounds:
    """Rows of sounds.

    Parameters
    ----------
    title : str
    lines : sequence of (sequence of Sound, str)
        Sounds, and what stands beside them.
    """

    title: str
    lines: Sequence[tuple[Sequence[Sound], str]]


@dataclass(frozen=True)
class Chart:
    """A figure.

    Parameters
    ----------
    name : str
        Of its file.
    title, caption : str
        The caption is also what a screen reader tells.
    figure : Figure
    lines : bool
        Drawn with lines and dots, whose colours a page may darken; maps stay as they are.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    lines: bool = True


Block = Note | Table | Panel | Sounds


@dataclass(frozen=True)
class Section:
    """What there is to show of an evaluation.

    Parameters
    ----------
    title : str
    strong, headline : str
        The finding in one sentence, and what belongs to it.
    score, label : str
        Name of the leading score in the results, and as a title.
    rows : sequence of Row
        The decoder first. Without rows there is no table of scores, and no headline.
    chance : float
        Of the leading score.
    more, chance_more : sequence of str
        Titles of further columns, and their chance.
    against : dict, optional
        Paired comparison with the linear baseline: `difference`, `ci95`, `p_value`.
    tested : str
        What more of would make intervals narrower, in words.
    blocks : sequence of Note, Table, Panel or Sounds
        In this order; loud notes come first.
    charts : sequence of Chart
    """

    title: str = ""
    strong: str = ""
    headline: str = ""
    score: str = ""
    label: str = ""
    rows: Sequence[Row] = ()
    chance: float = 0.0
    more: Sequence[str] = ()
    chance_more: Sequence[str] = ()
    against: Mapping[str, Any] | None = None
    tested: str = "trials"
    blocks: Sequence[Block] = ()
    charts: Sequence[Chart] = ()

    @property
    def beyond_chance(self) -> bool:
        """Whether the decoder's score is above chance: p < 0.05."""
        return bool(self.rows) and (self.rows[0].p is None or self.rows[0].p < _SURE)


@dataclass(frozen=True)
class Kept:
    """What a run keeps on the disk beside the results.

    Parameters
    ----------
    folders : sequence of Path
        Where `Evaluation.save` wrote the folds of the first seed.
    info : dict
        `Trials.info` of the first space.
    pictures : dict of Path
        Stimulus to its picture.
    sounds : dict of (Path, float, float)
        Stimulus to its file, and where in it the stimulus begins and ends (s).
    """

    folders: Sequence[Path] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Path] = field(default_factory=dict)
    sounds: Mapping[str, tuple[Path, float, float]] = field(default_factory=dict)


def general_section(sections: Mapping[str, Any], title: str) -> Section:
    """Show every number of the results in one table: what an evaluation looks like that says nothing more of itself."""
    lines = [(words(name), f"{value:g}") for name, value in _numbers(sections)]
    return Section(title=title, blocks=[Table(("Score", "Value"), lines)] if lines else [])


def _numbers(value: Any, name: str = "") -> Iterable[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name} {key}".strip())
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, float(value)


def score_table(
    sections: Mapping[str, Any], found: str, score: str, bounds: str, name: str
) -> list[tuple[Row, dict[str, Any]]]:
    """Return a row, and the results that it is of, for the decoder, its baselines and controls."""
    linear = {"ridge": "ridge (linear)", "spectral": "band power, tangent space (linear)"}
    controls = {
        "shuffled": "shuffled labels",
        "prestimulus": "before onset",
        "noise": "noise in place of the brain",
    }
    parts: list[tuple[Any, str, dict[str, Any]]] = [("decoder", name, sections.get(found) or {})]
    parts += [("baseline", linear.get(own, own), part) for own, part in sections.get("baselines", {}).items()]
    parts += [
        ("control", f"control: {controls.get(own, own)}", part)
        for own, part in sections.get("controls", {}).items()
    ]
    measure = "p_value_balanced_accuracy" if score == "balanced_accuracy" else "p_value"
    return [
        (Row(own, part[score], part.get(bounds), part.get(measure), part.get("p_floor", 0.0), kind), part)
        for kind, own, part in parts
        if score in part
    ]


def against_ridge(sections: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the paired comparison with ridge: `difference`, `ci95`, `p_value`."""
    ridge = sections.get("baselines", {}).get("ridge", {})
    return ridge.get("encoder_minus_ridge_top1") or ridge.get("difference_to_decoder")


def against_in_words(against: Mapping[str, Any] | None, measure: str = "") -> str:
    """Tell a paired comparison with ridge."""
    if against is None:
        return ""
    low, high = (f"{100 * bound:+.1f}" for bound in against["ci95"])
    p = p_value(against["p_value"], against.get("p_floor") or 0)
    what = f" Compared with ridge on the same trials{measure}: {100 * against['difference']:+.1f}"
    return f"{what} percentage points ({low} to {high}, p {p})."


def percent(share: float, digits: int = 1) -> str:
    """Write a share in percent."""
    return f"{100 * share:.{digits}f} %"


def share_interval(bounds: Sequence[float] | None) -> str:
    """Write an interval of a share in percent."""
    return "" if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"


def bracketed(value: float, bounds: Sequence[float], digits: int = 3) -> str:
    """Write a number with its interval in brackets."""
    return f"{value:.{digits}f} [{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"


def p_value(p: float, floor: float = 0.0) -> str:
    """Write a p value with its sign: where no draw was as extreme, the draws bound it by `floor` alone."""
    floor = floor or _SMALLEST
    if p > floor * (1 + 1e-9):
        return f"= {p:.4f}" if p >= 1e-4 else f"= {p:.0e}"
    digit = 10.0 ** np.floor(np.log10(floor))
    return f"< {np.ceil(floor / digit - 1e-9) * digit:.10g}"


def words(name: object) -> str:
    """Write a name of a file or key as words."""
    return str(name).replace("_", " ")


def repetitions_in_words(number: float) -> str:
    """Write how many repetitions were averaged."""
    return f"{number:.3g} averaged {'repetition' if number == 1 else 'repetitions'}"
