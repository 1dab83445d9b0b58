"""Rows of pictures: what was seen, what was reconstructed, and what a control or a ceiling shows beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from neurodec.files import atomic_path, read_own_table
from neurodec.picture_opening import open_picture
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

_ROWS = 10
_SIDE = 96  # pixels
_LABELS = 108  # pixels for the names of rows


def thumbnail(file: str | Path, side: int = _SIDE) -> str:
    """Return a picture as a small JPEG data URL.

    Parameters
    ----------
    file : str or Path
    side : int
        Pixels.
    """
    small = open_picture(file).resize((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=88)
    return data_url(content.getvalue(), "jpeg")


def data_url(content: bytes, kind: str) -> str:
    """Return the bytes of a picture as an URL that a page can hold."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()


def reconstruction_grids(out: Path) -> list[dict[str, Any]]:
    """Return the grids of a run: rows from best to worst, and rows drawn at random with a fixed seed.

    Parameters
    ----------
    out : Path
        Folder of a run; without ``reconstructed.csv`` there are no grids.

    Returns
    -------
    list of dict
        `title`, `columns` and `lines`; a line has `concept`, `score` and `pictures` (data URLs).
    """
    table = reconstructed(out)
    if table is None:
        return []
    ranked = table.sort_values(score_column(table), ascending=False, kind="stable")
    spread = np.unique(np.linspace(0, len(ranked) - 1, _ROWS).round().astype(int))
    drawn = np.sort(np.random.default_rng(0).permutation(len(table))[:_ROWS])
    chosen = {
        "From best to worst": ranked.iloc[spread],
        "Drawn at random": table.iloc[drawn],
    }
    files = _files_by_row(table)
    return [
        {
            "title": title,
            "columns": list(COLUMNS.values()),
            "lines": [_line(row, files[row.Index], score_column(table)) for row in rows.itertuples()],
        }
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
    """Name the column that orders pictures: two-way identification by a CLIP where there is one, else pixels."""
    networks = [name for name in table if str(name).startswith("two_way") and "clip" in str(name).lower()]
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


def _line(row: Any, files: list[Path], score: str) -> dict[str, Any]:
    return {
        "concept": row.concept,
        "score": getattr(row, score),
        "pictures": [thumbnail(file) for file in files],
    }
