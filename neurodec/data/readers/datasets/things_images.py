"""The picture folders of THINGS: which picture a condition number means."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from neurodec.data.unpickle import load_pickled
from neurodec.errors import NeurodecError
from neurodec.picture_opening import PICTURES

IMAGE_SETS = ("image_set", "images_set", "Image_set")
FOLDERS = {
    "train": ("training_images", "train_images"),
    "test": ("test_images",),
    "gallery": ("center_images",),
}


def things_stimuli(root: Path) -> pd.DataFrame:
    """List the pictures of a THINGS image set: training, test and, if there, further pictures of test concepts.

    Parameters
    ----------
    root : Path
        Holds ``image_set/{training_images,test_images[,center_images]}/<number>_<concept>/<picture>``.

    Returns
    -------
    DataFrame
        Columns of the stimulus table. `stimulus` is the picture's file name without suffix; within a split the rows
        are in condition order, so that row `i` is event code ``i + 1``.

    Raises
    ------
    NeurodecError
        If a folder is missing, or if ``image_metadata.npy`` names a picture that is not there.
    """
    base = _image_set(root)
    tables = {split: _list_split(base, split) for split in ("train", "test", "gallery")}
    _verify(base, tables)
    shown = set(tables["test"]["stimulus"])
    tables["gallery"] = tables["gallery"][~tables["gallery"]["stimulus"].isin(shown)]
    table = pd.concat(tables.values(), ignore_index=True)
    table["image"] = f"{base.name}/" + table["image"]
    return table.assign(caption=picture_captions(base, table["image"], table["concept"]))


def _image_set(root: Path) -> Path:
    for name in IMAGE_SETS:
        if (root / name).is_dir():
            return root / name
    raise NeurodecError(f"{root / IMAGE_SETS[0]} is missing; put the THINGS pictures there.")


def _list_split(base: Path, split: str) -> pd.DataFrame:
    """List one folder of concepts, folders sorted by name, then files by name: the published condition order."""
    folder = next((base / name for name in FOLDERS[split] if (base / name).is_dir()), None)
    if folder is None and split != "gallery":
        raise NeurodecError(
            f"{base / FOLDERS[split][0]} is missing; put the {split} pictures there, one folder per concept."
        )
    rows = []
    for concept in sorted(folder.iterdir()) if folder is not None else []:
        name = concept.name.split("_", 1)[
            -1
        ]  # the number is five digits; the concept may hold underscores itself
        pictures = sorted(path for path in concept.glob("*") if path.suffix.lower() in PICTURES)
        rows += [(path.stem, name, split, path.relative_to(base).as_posix()) for path in pictures]
    return pd.DataFrame(rows, columns=["stimulus", "concept", "split", "image"])


def _verify(base: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Hold the listing against the table that comes with the set, where it does."""
    if not (base / "image_metadata.npy").exists():
        return
    metadata = load_pickled(base / "image_metadata.npy")
    wanted = {f"{prefix}_img_{kind}" for prefix in ("train", "test") for kind in ("concepts", "files")}
    missing = wanted - set(metadata if isinstance(metadata, dict) else ())
    if missing:
        raise NeurodecError(f"{base / 'image_metadata.npy'} lacks {min(missing)}; download it again.")
    for split, prefix in (("train", "train_img"), ("test", "test_img")):
        stated = [
            f"{concept}/{file}"
            for concept, file in zip(metadata[f"{prefix}_concepts"], metadata[f"{prefix}_files"], strict=True)
        ]
        listed = tables[split]["image"].str.split("/", n=1).str[1].tolist()
        if stated != listed:
            wrong = next((pair for pair in zip(stated, listed, strict=False) if pair[0] != pair[1]), ("", ""))
            raise NeurodecError(
                f"{base} holds {len(listed)} {split} pictures, image_metadata.npy lists {len(stated)}; they first "
                f"differ at {wrong[0] or 'the end'} (listed) and {wrong[1] or 'the end'} (found): download the missing "
                "ones, remove the others."
            )


def picture_captions(base: Path, images: pd.Series, concepts: pd.Series) -> pd.Series:
    """Return the captions of ``captions.csv`` in the image set, or the published prompt.

    Parameters
    ----------
    base : Path
        Folder of the image set; the file has the columns `image` (path below `base`) and `caption`.
    images, concepts : Series of str
        Picture (path below the data root) and concept of every stimulus.
    """
    path = base / "captions.csv"
    if not path.exists():
        return "This picture is " + concepts
    captions = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not {"image", "caption"} <= set(captions):
        raise NeurodecError(f"{path} must have the columns image and caption; it has {', '.join(captions)}.")
    names = captions["image"].str.removeprefix(f"{base.name}/")
    known = dict(zip(names, captions["caption"], strict=True))
    return images.str.removeprefix(f"{base.name}/").map(known).fillna("")
