"""Benchmarks from folders of runs: ``docs/benchmarks.{json,md}`` and the table of the README.

Run: ``python docs/make_benchmarks.py RUN [RUN ...]``. Without arguments the pages are written again from
``docs/benchmarks.json``. No figure is typed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
KEPT, PAGE, README = HERE / "benchmarks.json", HERE / "benchmarks.md", HERE.parent / "README.md"
BEGIN, END = "<!-- benchmarks: python docs/make_benchmarks.py -->", "<!-- /benchmarks -->"
Runs = dict[str, dict[str, Any]]
_HEADER = (
    "recipe",
    "subjects",
    "simulated",
    "simulation",
    "counts",
    "seeds",
    "selection",
    "protocol",
    "speed",
)
_SECTIONS = (
    "retrieval",
    "classification",
    "reconstruction",
    "controls",
    "baselines",
    "further",
    "candidate_sets",
)
_SECTIONS += (
    "adaptation",
    "hidden_patches",
    "segments",
    "streams",
    "next_volume",
    "networks",
    "identification",
)
_LONG = ("k_way", "confusion", "attention", "per_fold", "curve", "clusters", "null")
_RETRIEVAL = [
    "recipe",
    "data",
    "decoder",
    "candidates",
    "chance",
    "top-1",
    "without centring",
    "top-5",
    "averaged",
]
_SEGMENTS = [
    *("recipe", "data", "decoder", "candidates", "chance", "top-10", "top-1", "word, top-1"),
    "top-1 with neighbours",
]
_NETWORKS = ["recipe", "data", "decoder", "without", "loss of top-1", "p (two-way, corrected)"]
_STREAMS = [
    *("recipe", "data", "decoder", "runs", "r attended", "r ignored", "r of others"),
    "attended ahead of ignored",
]
_CLASSES = [
    "recipe",
    "data",
    "decoder",
    "chance",
    "accuracy",
    "balanced accuracy",
    "AUC",
    "the system minus this",
]
_PICTURES = ["recipe", "data", "pictures", "pixel correlation", "SSIM", "two-way identification (chance 0.5)"]
_ADAPTATION = ["recipe", "decoder", "size", "top-1"]
_IN_README = (  # recipe and what it is called there
    ("demo/eeg", "ATM"),
    ("mindbridge/simulated-fmri", "MindBridge, new subject"),
    ("haxby/linear", "linear"),
    ("n170/linear", "linear"),
    ("things-eeg1/linear", "linear"),
)


def read(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the name of a run and what is kept of its results."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    name = results["recipe"]
    n_trials = {stage.get("n_trials") for stage in config.get("stages") or []} - {None}
    name += f", {n_trials.pop()} trials" if n_trials else ""
    kept = {key: results[key] for key in (*_HEADER, *_SECTIONS) if key in results}
    return name, _short(kept)


def _short(value: Any) -> Any:
    """Return results without what tables do not show, and with as many digits as they show."""
    if isinstance(value, dict):
        return {name: _short(own) for name, own in value.items() if name not in _LONG}
    if isinstance(value, list):
        return [_short(own) for own in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def score(value: float | None, bounds: list[float] | None = None) -> str:
    """Write a score with its interval."""
    if value is None:
        return ""
    return f"{value:.2f}" + (f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else "")


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def kind(run: dict[str, Any]) -> str:
    """Tell simulated from real recordings."""
    return "simulated" if run["simulated"] else "real"


def retrieval_rows(runs: Runs) -> list[list[str]]:
    """Return a row per decoder of every run that retrieves."""
    rows = []
    for name, run in runs.items():
        found = run.get("retrieval")
        if not found:
            continue
        ways = {"the system": found, **run.get("baselines", {})}
        for way, own in ways.items():
            if isinstance(own, dict) and "top1" in own:
                rows.append(
                    [
                        f"`{name}`",
                        kind(run),
                        way,
                        str(own["n_candidates"]),
                        score(own["chance_top1"])
                        if own["chance_top1"] >= 0.01
                        else f"{own['chance_top1']:.3f}",
                        score(own["top1"], own.get("ci95_top1")),
                        score(own.get("uncentred_top1")),
                        score(own.get("top5")),
                        f"{own.get('n_repetitions', 1):.3g}",
                    ]
                )
    return rows


def class_rows(runs: Runs) -> list[list[str]]:
    """Return a row per classifier of every run that decodes classes."""
    rows = []
    for name, run in runs.items():
        found = run.get("classification")
        if not found:
            continue
        ways = {"the system": found, **run.get("baselines", {}), **run.get("controls", {})}
        for way, own in ways.items():
            if isinstance(own, dict) and "accuracy" in own:
                minus = own.get("difference_to_decoder") or {}
                rows.append(
                    [
                        f"`{name}`",
                        kind(run),
                        way.replace("_", " "),
                        score(found.get("chance")),
                        score(own["accuracy"], own.get("ci95")),
                        score(own.get("balanced_accuracy"), own.get("ci95_balanced_accuracy")),
                        score(own.get("auc"), own.get("ci95_auc")),
                        score(minus.get("difference"), minus.get("ci95")),
                    ]
                )
    return rows


def picture_rows(runs: Runs) -> list[list[str]]:
    """Return a row per kind of picture of every run that draws."""
    rows = []
    for name, run in runs.items():
        found = run.get("reconstruction")
        if not found:
            continue
        ways = {"from the brain": found}
        for own in ("baselines", "controls", "ceilings"):
            ways |= found.get(own, {})
        for way, own in ways.items():
            bounds = own.get("ci95", {})
            (network, share), *_ = own["two_way"].items()
            rows.append(
                [
                    f"`{name}`",
                    kind(run),
                    way.replace("_", " "),
                    score(own["pixcorr"], bounds.get("pixcorr")),
                    score(own.get("ssim"), bounds.get("ssim")),
                    f"{score(share, bounds.get('two_way', {}).get(network))} ({network.replace('_', ' ')})",
                ]
            )
    return rows


def adaptation_rows(runs: Runs) -> list[list[str]]:
    """Return a row per decoder and size of the context: pictures that were shown, or voxels that were read."""
    return [
        [f"`{name}`", one["decoder"], f"{one['size']} {one['kind']}", score(one["top1"], one.get("ci95"))]
        for name, run in runs.items()
        for section in [run, *run.get("further", {}).values()]
        for one in section.get("adaptation", {}).get("points", [])
    ]


def set_rows(runs: Runs) -> list[list[str]]:
    """Return a row per decoder and promise of candidate sets."""
    rows = []
    for name, run in runs.items():
        for section in [run, *run.get("further", {}).values()]:
            for way, own in section.get("candidate_sets", {}).items():
                for one in own["sets"] if isinstance(own, dict) and "sets" in own else []:
                    rows.append(
                        [
                            f"`{name}`",
                            way,
                            score(one["coverage"]),
                            score(one["found"], one.get("ci95")),
                            f"{one['mean_size']:.1f} of {own['n_candidates']}",
                        ]
                    )
    return rows


def patch_rows(runs: Runs) -> list[list[str]]:
    """Return a row per way to fill in hidden patches."""
    return [
        [
            f"`{name}`",
            own["name"],
            f"{own['mse']:.4f}"
            + (f" [{own['ci95'][0]:.4f}, {own['ci95'][1]:.4f}]" if own.get("ci95") else ""),
        ]
        for name, run in runs.items()
        for own in run.get("hidden_patches", {}).get("errors", {}).values()
    ]


def segment_rows(runs: Runs) -> list[list[str]]:
    """Return a row per decoder of segments, the noise control among them."""
    rows = []
    for name, run in runs.items():
        if "segments" not in run:
            continue
        ways = {"the system": run["segments"], **run.get("baselines", {}), "noise": run["controls"]["noise"]}
        rows += [
            [
                f"`{name}`",
                kind(run),
                way,
                str(own["n_candidates"]),
                f"{own['chance_top10']:.3f}",
                score(own["top10"], own["ci95_top10"]),
                score(own["top1"], own["ci95_top1"]),
                score(own["words"]["top1"], own["words"]["ci95_top1"]),
                score(own.get("context", {}).get("top1")),
            ]
            for way, own in ways.items()
        ]
    return rows


def stream_rows(runs: Runs) -> list[list[str]]:
    """Return a row per decoder of attended streams."""
    rows = []
    for name, run in runs.items():
        if "streams" not in run:
            continue
        ways = {"the system": run["streams"], **run.get("baselines", {})}
        rows += [
            [
                f"`{name}`",
                kind(run),
                way,
                str(own["n_runs"]),
                score(own["r_attended"], own["ci95_r_attended"]),
                score(own["r_ignored"]),
                score(own["r_others"]),
                f"{score(own['attended_ahead'], own['ci95'])} of {own['seconds']:g} s",
            ]
            for way, own in ways.items()
        ]
    return rows


def volume_rows(runs: Runs) -> list[list[str]]:
    """Return a row per way to predict the next volume."""
    return [
        [
            f"`{name}`",
            kind(run),
            own["name"],
            f"{own['mse']:.3f} [{own['ci95'][0]:.3f}, {own['ci95'][1]:.3f}]",
        ]
        for name, run in runs.items()
        for own in run.get("next_volume", {}).get("errors", {}).values()
    ]


def network_rows(runs: Runs) -> list[list[str]]:
    """Return a row per network that is left out, way by way."""
    return [
        [
            f"`{name}`",
            kind(run),
            {"masked": "the system, masked", "refitted": "ridge, refitted"}[way],
            own["network"],
            score(own["loss"]["top1"]["difference"], own["loss"]["top1"]["ci95"]),
            f"{own['p_fdr']:.4f}",
        ]
        for name, run in runs.items()
        for section in [run, *run.get("further", {}).values()]
        for way, part in section.get("networks", {}).get("ways", {}).items()
        for own in part["networks"]
    ]


def identification_rows(runs: Runs) -> list[list[str]]:
    """Return a row per way to tell people apart."""
    return [
        [
            f"`{name}`",
            kind(run),
            own["name"],
            f"{score(own['share'], own['ci95'])} (chance {score(section['identification']['chance'])})",
            f"{own['p_value']:.3f}",
        ]
        for name, run in runs.items()
        for section in [run, *run.get("further", {}).values()]
        for own in section.get("identification", {}).values()
        if isinstance(own, dict) and "share" in own
    ]


def page(runs: Runs) -> str:
    """Return the page of all benchmarks."""
    lines = ["# Benchmarks", ""]
    lines += [
        "Generated by `python docs/make_benchmarks.py RUN ...` from the folders of finished runs; no figure is typed. "
        "Intervals are 95 %. *Simulated* scores say that a system works here, not how well it decodes real recordings, "
        "and must not stand beside published ones. *The system* is what the recipe trains; the other rows are "
        "baselines on the same trials. The settings of the recipes on real recordings were chosen on these very "
        "recordings, so these scores are optimistic.",
        "",
    ]
    parts = [
        ("Retrieval", _RETRIEVAL, retrieval_rows),
        ("Segments of speech", _SEGMENTS, segment_rows),
        ("Attended streams", _STREAMS, stream_rows),
        ("Classes", _CLASSES, class_rows),
        ("Pictures", _PICTURES, picture_rows),
        ("Adaptation to a new subject", _ADAPTATION, adaptation_rows),
        ("Candidate sets", ["recipe", "decoder", "promised", "found", "mean size"], set_rows),
        ("Hidden patches", ["recipe", "filled in by", "mean square error"], patch_rows),
        ("Next volume", ["recipe", "data", "predicted by", "mean square error"], volume_rows),
        ("Networks", _NETWORKS, network_rows),
        ("People identified", ["recipe", "data", "by", "share", "p"], identification_rows),
    ]
    for title, head, rows_of in parts:
        rows = rows_of(runs)
        lines += [f"## {title}", "", *table(head, rows)] if rows else []
    lines += ["## Runs", ""]
    lines += table(["recipe", "data", "subjects", "fit (s)", "hardware", "date"], list(_about(runs)))
    return "\n".join(lines)


def _about(runs: Runs) -> Iterator[list[str]]:
    for name, run in runs.items():
        made = f"`{run['simulation']}`" if run["simulation"] else "real recordings"
        speed = run["speed"]
        fit = speed["seconds"].get("fit", speed["seconds"].get("evaluate", 0))
        yield [f"`{name}`", made, str(len(run["subjects"])), f"{fit:.0f}", speed["hardware"], speed["date"]]


def readme_table(runs: Runs) -> str:
    """Return the few rows that the README shows."""
    rows = []
    for recipe, way in _IN_README:
        run = runs.get(recipe)
        if run is None:
            continue
        main = run.get("retrieval") or run["classification"]
        ridge = run.get("baselines", {}).get("ridge") or {}
        what = f"top-1 of {main['n_candidates']}" if "top1" in main else "accuracy"
        one = "top1" if "top1" in main else "accuracy"
        chance = main["chance_top1"] if "top1" in main else main["chance"]
        bounds = main["ci95_top1"] if "top1" in main else main["ci95"]
        rows.append(
            [
                f"`{recipe}`",
                kind(run),
                way,
                f"{what}: {score(main[one], bounds)}",
                score(ridge.get(one), ridge.get("ci95_top1")) if ridge.get(one) is not None else "",
                f"{chance:.3g}",
            ]
        )
    return "\n".join(table(["recipe", "data", "system", "score", "ridge", "chance"], rows))


def write_pages(runs: Runs) -> None:
    """Write the page and the table of the README."""
    PAGE.write_text(page(runs), encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{readme_table(runs)}{END}{rest.split(END)[1]}", encoding="utf-8")


def main(folders: list[str]) -> int:
    """Read runs, and write the pages."""
    runs: Runs = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for folder in folders:
        name, run = read(Path(folder))
        runs[name] = run
    runs = dict(sorted(runs.items()))
    KEPT.write_text(json.dumps(runs, indent=1), encoding="utf-8")
    write_pages(runs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
