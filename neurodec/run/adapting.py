"""The verbs `adapt` and `decode`: somebody new from a folder of recordings, then what they saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.data import Study, prepare, summary
from neurodec.data.patterns import files_below
from neurodec.data.predictions import Predictions
from neurodec.decoder import NeuralDecoder, adapted_system, predictions_of
from neurodec.errors import NeurodecError
from neurodec.evaluation.similarity import Centre, Gallery, chance_top, top_candidates
from neurodec.features import Extractor, Features, embed_pictures
from neurodec.files import atomic_path, file_name, key_of, track, write_table
from neurodec.pictures import PICTURES
from neurodec.run.recipe_file import load_recipe
from neurodec.run.recipe_objects import built_objects
from neurodec.training import InContextSystem, System, load_system
from neurodec.training.in_context_folder import SHIPPED

_AT_ONCE = 8  # pictures


@dataclass(frozen=True)
class RecordingsFolder:
    """A folder of recordings, read as a recipe says.

    Parameters
    ----------
    recipe : str or Path
        Its sections `dataset`, and `targets` where embeddings are no CLIP's.
    root : Path
        Of the recordings.
    overrides, allow : sequence of str
        As for `neurodec.run.stages.run_recipe`.
    """

    recipe: str | Path
    root: Path
    overrides: Sequence[str] = ()
    allow: Sequence[str] = ()

    def read(self, prepared: Path) -> tuple[Study, dict[str, Extractor]]:
        """Return all trials, kept in a folder, and the recipe's targets."""
        _, recipe = load_recipe(self.recipe, self.overrides, self.allow)
        objects = built_objects(recipe)
        prepare(objects.dataset, self.root, prepared, "none")
        study = Study.load(prepared)
        for line in summary(study.account):
            print(f"  {line}", flush=True)
        return study, objects.targets


def adapt(source: str | Path, recordings: RecordingsFolder, out: Path) -> Path:
    """Adapt a system to everybody in a folder of recordings, by their training trials.

    Parameters
    ----------
    source : str or Path
        A saved system, a saved `NeuralDecoder`, or ``neurodec/in-context``.
    recordings : RecordingsFolder
    out : Path
        Gets ``prepared/`` and ``decoder/``.

    Returns
    -------
    Path
        ``out/decoder``, of the same kind as `source`.

    Raises
    ------
    NeurodecError
        If there are no training trials, a stimulus has no picture, or the system does not adapt.
    """
    decoder, system = _load(source, recordings.allow)
    study, targets = recordings.read(out / "prepared")
    support = study.part("train")
    if not len(support):
        raise NeurodecError(
            f"No trial below {recordings.root} has the split train, so there is no context to adapt to; mark trials by "
            "a column `split` in the events or in the table of stimuli."
        )
    shown = study.stimuli[study.stimuli["stimulus"].isin(set(support.table["stimulus"]))]
    features = _features(shown, recordings.root, targets, system)
    folder = out / "decoder"
    if decoder is not None:
        decoder.adapted_to(support, features).save_pretrained(folder)
    else:
        adapted_system(system, support, features).save_pretrained(folder)
    print(f"  {', '.join(support.subjects)}: {len(support)} trials of {len(shown)} pictures", flush=True)
    return folder


def decode(
    source: str | Path,
    recordings: RecordingsFolder,
    out: Path,
    *,
    split: str | None = None,
    single: bool = False,
    candidates: Path | None = None,
    n_pictures: int = 24,
) -> Path:
    """Decode a folder of recordings: embeddings, the nearest pictures, and drawn ones where there is a decoder.

    Parameters
    ----------
    source : str or Path
        What `adapt` or a run made: a saved system, or a saved `NeuralDecoder`.
    recordings : RecordingsFolder
    out : Path
        Gets ``prepared/``, ``embeddings/``, ``retrieved.csv`` and ``pictures/``.
    split : str, optional
        Whose trials: those of the test by default, or all where there are none.
    single : bool
        Decode every trial; the mean over showings of a stimulus by default.
    candidates : Path, optional
        Folder of pictures to search through; the pictures that were shown by default.
    n_pictures : int
        How many responses are drawn.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    NeurodecError
        If trials show pictures that the person was adapted with, or anything is unlike what the system knows.
    """
    decoder, system = _load(source, recordings.allow)
    study, targets = recordings.read(out / "prepared")
    has_test = (study.table["split"] == "test").any()
    wanted = split or ("test" if has_test else "all")
    study = study.part(None if wanted == "all" else wanted)
    if not len(study):
        raise NeurodecError(f"No trial below {recordings.root} has the split {wanted}; name another --split.")
    _require_new(system, study)
    if not single:
        study = study.average()
    found = Predictions.concatenate([predictions_of(system, trials) for trials in study.spaces.values()])
    found.save(out / "embeddings")
    print(f"  {len(found)} responses of {', '.join(study.subjects)}: {out / 'embeddings'}", flush=True)
    _retrieve(found, study, system, recordings.root, targets, candidates, out)
    if decoder is not None:
        _draw(decoder, found, min(n_pictures, len(found)), out / "pictures")
    return out


def _load(source: str | Path, allow: Sequence[str]) -> tuple[NeuralDecoder | None, System]:
    """Return the decoder that a folder holds, or the system alone."""
    allowed = frozenset(allow)
    if str(source) == SHIPPED:
        return None, InContextSystem.from_pretrained(SHIPPED)
    if (Path(source) / "pipeline.json").exists():
        decoder = NeuralDecoder.from_pretrained(source, allowed)
        return decoder, decoder.system
    if not (Path(source) / "config.json").exists():
        raise NeurodecError(
            f"{source} holds neither a decoder (pipeline.json) nor a system (config.json); give OUT/decoders/<fold> or "
            f"OUT/models/<fold> of a run, or {SHIPPED}."
        )
    return None, load_system(source, allowed)


def _features(stimuli: pd.DataFrame, root: Path, targets: dict[str, Extractor], system: System) -> Features:
    """Return embeddings of stimuli in the space of a system: by the recipe's target, or from their pictures."""
    if system.head in targets:
        return targets[system.head].extract(stimuli, root)
    without = stimuli["stimulus"][stimuli["image"].fillna("") == ""]
    if len(without):
        raise NeurodecError(
            f"{len(without)} of {len(stimuli)} stimuli have no picture, first {without.iloc[0]}; put them below "
            "stimuli/, or name a table: --dataset.init_args.stimuli_table FILE (columns stimulus and image)."
        )
    space = system.config["embedding_spaces"][system.head]
    files = [root / image for image in stimuli["image"]]
    values = embed_pictures(files, space)
    return Features(
        values, stimuli["stimulus"].tolist(), {"embedding_space": space, "key": key_of(values.tolist())}
    )


def _require_new(system: System, study: Study) -> None:
    """Refuse trials that show what the person was adapted with."""
    for subject, shown in study.table.groupby("subject", sort=False)["stimulus"]:
        known = set(shown) & system.known_stimuli(subject)
        if known:
            raise NeurodecError(
                f"{len(known)} of the pictures to decode, first {min(known)}, are among those that subject {subject} "
                "was adapted with, and would be found by heart; decode others (--split test)."
            )


def _retrieve(
    found: Predictions,
    study: Study,
    system: System,
    root: Path,
    targets: dict[str, Extractor],
    candidates: Path | None,
    out: Path,
) -> None:
    """Write ``retrieved.csv``: the five nearest pictures of every response."""
    stimuli = study.stimuli[study.stimuli["stimulus"].isin(set(found.table["stimulus"]))]
    if candidates is not None:
        files = [file for file in files_below(candidates) if file.suffix.lower() in PICTURES]
        if not files:
            raise NeurodecError(
                f"{candidates} holds no picture ({', '.join(PICTURES)}); name another folder."
            )
        names = [str(file.relative_to(candidates)) for file in files]
        gallery = embed_pictures(files, system.config["embedding_spaces"][system.head])
    elif system.head not in targets and (stimuli["image"].fillna("") == "").any():
        print("  nothing was searched: the stimuli have no pictures (--candidates FOLDER names some)")
        return
    else:
        features = _features(stimuli, root, targets, system)
        names, gallery = list(features.stimuli), np.asarray(features.values)
    mean = system.mean_target(system.head)
    centre = None if mean is None else Centre(mean, mean)
    pictures = Gallery(system.project(system.head, gallery), names, names, centre=centre)
    similarities = pictures.similarity(np.asarray(found.of(system.head)))
    best = np.asarray(names)[top_candidates(similarities)]
    table = found.table.assign(**{f"top{place + 1}": best[:, place] for place in range(best.shape[1])})
    write_table(out / "retrieved.csv", table)
    print(f"  the nearest of {len(names)} pictures: {out / 'retrieved.csv'}", flush=True)
    if candidates is None and len(names) > 1:
        right = float((best[:, 0] == found.table["stimulus"].to_numpy()).mean())
        print(
            f"  {100 * right:.1f} % are those that were shown (chance {100 * chance_top(len(names)):.2f} %)"
        )


def _draw(decoder: NeuralDecoder, found: Predictions, n_pictures: int, folder: Path) -> None:
    """Draw the first responses, one PNG file each."""
    kept = Predictions(
        {name: np.asarray(values)[:n_pictures] for name, values in found.heads.items()},
        found.table.iloc[:n_pictures],
    )
    z, others = kept.of(decoder.system.head), decoder.others(kept)
    starts = range(0, n_pictures, _AT_ONCE)
    for start in track(starts, "drawing", total=len(starts)):
        rows = range(start, min(start + _AT_ONCE, n_pictures))  # every picture has the seed of its row
        own = {name: values[rows.start : rows.stop] for name, values in others.items()}
        embeds = decoder.image_embeddings(z[rows.start : rows.stop], rows)
        for row, picture in zip(rows, decoder.pictures(embeds, rows, own), strict=True):
            with atomic_path(
                folder / f"{row:04d}_{file_name(Path(kept.table['stimulus'].iloc[row]).stem)}.png"
            ) as partial:
                picture.save(partial, format="PNG")
    print(f"  {n_pictures} of {len(found)} drawn: {folder}", flush=True)
