"""What there is to show of reconstructed pictures: their scores beside controls and ceilings, and the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from neurodec.evaluation.presentation import Block, Note, Panel, Picture, Section, Table, percent, words
from neurodec.files import atomic_path, read_own_table
from neurodec.picture_opening import open_picture
from neurodec.run.pixel_baselines import TRUE_LATENTS
from neurodec.run.reconstruct import picture_files

COLUMNS = {
    "seen": "seen",
    "brain": "reconstructed",
    "shuffled": "shuffled brain",
    "nearest_training": "nearest training picture",
    "true_through_prior": "true embedding, prior",
    "true_through_decoder": "true embedding, decoder",
}
"""Folders of pictures and what stands above them."""

_FURTHER = {"mse": "Squared error", "ssim_gaussian": "SSIM (Gaussian windows)"}
"""Columns that only some protocols have."""

_ROWS = 10
_SIDE = 96  # pixels
_SIMPLE = ("mean_picture", "pixel_ridge")
_LABELS = 108  # pixels for the names of rows


def pictures_section(found: Mapping[str, Any], out: Path) -> Section:
    """Return what to show of the results' part `reconstruction`.

    Parameters
    ----------
    found : dict
    out : Path
        Folder of the run.
    """
    blocks: list[Block] = [*_before(found), _table(found), *_after(found), *grids(out)]
    table = reconstructed(out)
    if table is not None:
        column = score_column(table)
        ranked = table.sort_values([column, "pixcorr"], ascending=False, kind="stable")
        rows = zip(ranked["concept"], ranked[column], ranked["pixcorr"], strict=True)
        lines = [[words(concept), percent(score), f"{pixcorr:.3f}"] for concept, score, pixcorr in rows]
        columns = ("Concept", "Identified (two-way)", "Pixel correlation")
        blocks.append(Table(columns, lines, summary="Scores of every picture"))
    return Section(title="What was seen, and what was reconstructed", blocks=blocks)


def _before(found: Mapping[str, Any]) -> Iterator[Note]:
    if told := undrawable_in_words(found):
        yield Note(strong=told)
    fitted = {
        "held_out": " The prior was fitted to predictions of trials that the system had not learned from: it expects "
        "poor embeddings, and blurs a true one.",
        "training": " The prior was fitted to predictions of the very trials that the system was trained on, which are "
        "better than those it is given here.",
    }.get(found.get("prior_from", ""), "")
    yield Note(
        "Pictures are generated from the brain's embedding: whatever they show beyond it is the generator's invention, "
        f"so read them beside the controls. Scores of {found['n_images']} pictures by the protocol "
        f"{found['protocol']}; two-way identification has chance 50 %; brackets are 95 % intervals over pictures."
        f"{fitted}",
        kind="soft",
    )


def _table(found: Mapping[str, Any]) -> Table:
    names = {
        "shuffled": "control: shuffled brain",
        "mean_embedding": "control: mean embedding",
        "nearest_training": "control: nearest training picture",
        "true_through_prior": "true embedding, prior and decoder",
        "true_through_decoder": "ceiling: true embedding, decoder alone",
        "autoencoder": "ceiling: autoencoder alone",
        TRUE_LATENTS: "ceiling: true latents of the autoencoder",
        "mean_picture": "baseline: mean training picture",
        "class_mean_picture": "oracle: mean training picture of the true class",
        "pixel_ridge": "baseline: ridge to pixels",
    }
    own = set(found.get("conditioned_by") or [])
    networks, ways = list(found["two_way"]), list(found.get("n_way") or {})
    columns = ["Pictures", "Pixel correlation", f"SSIM ({found.get('ssim_form', '')})"]
    further = [name for name in _FURTHER if name in found]
    columns += [_FURTHER[name] for name in further]
    told = dict.fromkeys(own, " (the decoder's own CLIP)")
    columns += [f"Two-way, {name}{told.get(name, '')}" for name in networks]
    columns += [f"50-way, {name}" for name in ways]
    parts = {"from the brain": found}
    parts |= {
        names[name]: part
        for kind in ("baselines", "controls", "ceilings")
        for name, part in found.get(kind, {}).items()
    }
    lines = []
    for name, part in parts.items():
        line = [name, *(_bounded(part, measure) for measure in ("pixcorr", "ssim", *further))]
        for kind, chosen in (("two_way", networks), ("n_way", ways)):
            line += [_with_bounds(part[kind][one], part["ci95"][kind][one]) for one in chosen]
        lines.append(line)
    chance = ["chance", "0", "", *[""] * len(further), *["50.0 %"] * len(networks), *["2.0 %"] * len(ways)]
    return Table(columns, [*lines, chance], bold=[0])


def _bounded(part: Mapping[str, Any], measure: str) -> str:
    low, high = part["ci95"][measure]
    return f"{part[measure]:.3f} [{low:.3f}, {high:.3f}]"


def _with_bounds(share: float, bounds: Sequence[float]) -> str:
    return f"{percent(share)} [{percent(bounds[0])}, {percent(bounds[1])}]"


def _after(found: Mapping[str, Any]) -> Iterator[Block]:
    if own := found.get("conditioned_by"):
        yield Note(
            f"The pictures are drawn from embeddings of {', '.join(own)}, so what this same network says of them is no "
            "independent judgement: rows may be compared with each other, not with tables of other networks."
        )
    if told := nearest_in_words(found):
        yield Note(told)
    if missing := found.get("unavailable"):
        summary = f"{len(missing)} networks of the usual tables are not on this machine"
        yield Table(("Network", "Why"), [[name, why] for name, why in missing.items()], summary=summary)


def grids(out: Path) -> list[Panel]:
    """Return the grids of a run: rows from best to worst, and rows drawn at random with a fixed seed.

    Parameters
    ----------
    out : Path
        Folder of a run; without ``reconstructed.csv`` there are no grids.
    """
    table = reconstructed(out)
    if table is None:
        return []
    column = score_column(table)
    ranked = table.sort_values(column, ascending=False, kind="stable")
    spread = np.unique(np.linspace(0, len(ranked) - 1, _ROWS).round().astype(int))
    drawn = np.sort(np.random.default_rng(0).permutation(len(table))[:_ROWS])
    chosen = {"From best to worst": ranked.iloc[spread], "Drawn at random": table.iloc[drawn]}
    files, columns = _files_by_row(table), list(COLUMNS.values())
    return [
        Panel(title, [_line(row, files[row.Index], column) for row in rows.itertuples()], columns)
        for title, rows in chosen.items()
        if all(file.is_file() for place in rows.index for file in files[place])
    ]


def reconstructed(out: Path) -> pd.DataFrame | None:
    """Return the scores per picture, or None where nothing was reconstructed."""
    file = out / "reconstructed.csv"
    return (
        read_own_table(file, dtype={"subject": str, "stimulus": str}, keep_default_na=True)
        if file.exists()
        else None
    )


def score_column(table: pd.DataFrame) -> str:
    """Name the column that orders pictures: two-way identification by a CLIP or by pixels, else their correlation."""
    kinds = ("clip", "pixels")
    named = [str(name) for name in table if str(name).startswith("two_way")]
    networks = [name for name in named if any(kind in name.lower() for kind in kinds)]
    return networks[0] if networks else "pixcorr"


def save_grid(out: Path, file: Path) -> Path | None:
    """Write the grid "Drawn at random" as one PNG, for slides and a README; return where, or None."""
    table = reconstructed(out)
    if table is None:
        return None
    drawn = np.sort(np.random.default_rng(0).permutation(len(table))[:_ROWS])
    files = _files_by_row(table)
    gap, label = 4, ImageFont.load_default(13)
    shown = ("seen", "brain", "shuffled", "true_through_decoder")
    size = _LABELS + len(drawn) * (_SIDE + gap), len(shown) * (_SIDE + gap)
    sheet = Image.new("RGB", size, "white")
    for line, name in enumerate(shown):
        middle = line * (_SIDE + gap) + _SIDE // 2
        text = COLUMNS[name].replace(", ", ",\n").replace("shuffled ", "shuffled\n")
        ImageDraw.Draw(sheet).multiline_text((0, middle), text, "black", label, anchor="lm")
        for column, place in enumerate(drawn):
            picture = open_picture(files[place][list(COLUMNS).index(name)])
            tile = picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (_LABELS + column * (_SIDE + gap), line * (_SIDE + gap)))
    with atomic_path(file) as partial:
        sheet.save(partial)
    return file


def _files_by_row(table: pd.DataFrame) -> dict[int, list[Path]]:
    """Return, per row of the table, the picture of every column."""
    found: dict[int, list[Path]] = {}
    for folder, rows in table.groupby("folder", sort=False):
        columns: list[Sequence[Path]] = [
            [Path(file) for file in rows["seen"]]
            if name == "seen"
            else picture_files(Path(folder), name, rows)
            for name in COLUMNS
        ]
        found |= dict(zip(rows.index, map(list, zip(*columns, strict=True)), strict=True))
    return found


def _line(row: Any, files: list[Path], score: str) -> tuple[list[Picture], str]:
    concept = words(row.concept)
    pictures = [
        Picture(file, f"{name}: {concept}") for file, name in zip(files, COLUMNS.values(), strict=True)
    ]
    return pictures, f"{concept}, {percent(getattr(row, score))}"


def undrawable_in_words(found: dict[str, Any]) -> str | None:
    """Say that a decoder cannot draw such pictures, where the true embedding gives bad ones.

    Bad is: identified at chance; or, where pictures are scored at their own size, no more like what was seen than the
    mean training picture or ridge to pixels.
    """
    ceilings = found.get("ceilings", {})
    ceiling = ceilings.get(TRUE_LATENTS) or ceilings.get("true_through_decoder", {})
    simple = [found["baselines"][name]["pixcorr"] for name in _SIMPLE if name in found.get("baselines", {})]
    if simple and ceiling["pixcorr"] <= max(simple):
        return (
            "This decoder cannot draw such pictures: from the true embedding its pixels correlate with what was seen "
            f"at {ceiling['pixcorr']:.2f}, and those of the mean training picture or of ridge at {max(simple):.2f}. "
            "What follows says little about the brain. Take pixels as the target and neurodec.decoders.PixelDecoder, "
            "or a decoder that was trained on such pictures."
        )
    named = ceiling.get("two_way") or {}
    if not named or any(ceiling["ci95"]["two_way"][network][0] > 0.5 for network in named):
        return None
    return (
        "This decoder cannot draw such pictures: even from the true embedding they are identified no better than by "
        "chance, so what follows says nothing about the brain. Take a decoder that was trained on such pictures."
    )


def nearest_in_words(found: dict[str, Any]) -> str | None:
    """Compare the drawn pictures with the training picture whose embedding is nearest to the brain's."""
    nearest = found.get("controls", {}).get("nearest_training")
    if nearest is None or not found.get("two_way"):
        return None
    network = next(iter(found["two_way"]))
    drawn, other = found["two_way"][network], nearest["two_way"][network]
    low, high = found["ci95"]["two_way"][network]
    verdict = "more often" if other < low else "less often" if other > high else "no more often"
    return (
        f"A picture drawn from the brain is identified {verdict} than the training picture whose embedding is nearest "
        f"to the brain's ({percent(drawn)} and {percent(other)} by {words(network)}; pixel correlation "
        f"{found['pixcorr']:.2f} and {nearest['pixcorr']:.2f})"
        + (
            "."
            if verdict == "more often"
            else ": what was drawn shows no more than a search would have found."
        )
    )
