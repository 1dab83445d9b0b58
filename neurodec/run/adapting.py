"""The verbs `adapt` and `decode`: a new participant from a folder of recordings, then what they saw."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from neurodec.data import Study, prepare, preprocess
from neurodec.data.patterns import files_below
from neurodec.data.predictions import Predictions
from neurodec.data.store import parameters_key, parameters_of
from neurodec.data.study import MARK
from neurodec.errors import NeurodecError
from neurodec.evaluation.capabilities import Adapts
from neurodec.evaluation.retrieval.similarity import Centre, Gallery, chance_top, top_candidates
from neurodec.features import Extractor, Features, embed_pictures
from neurodec.files import atomic_path, file_name, key_of, read_json, require_apart, track, write_table
from neurodec.neural_decoder import NeuralDecoder, adapted_system
from neurodec.picture_opening import PICTURES
from neurodec.run.recipe.recipe_file import load_recipe
from neurodec.run.recipe.recipe_objects import built_objects
from neurodec.run.results import tell_account
from neurodec.systems import InContextSystem, System, load_system
from neurodec.systems.in_context.folder import SHIPPED
from neurodec.systems.of_recordings import predictions_of

_AT_ONCE, _DRAWN = 8, 24  # pictures at a time, and in all


@dataclass(frozen=True)
class RecordingsFolder:
    """A folder of recordings, read as a recipe says.

    Parameters
    ----------
    recipe : str or Path, optional
        Its sections `dataset`, and `targets` where embeddings are no CLIP's. By default recordings are read as those
        that the system was fitted or adapted to, or else as BIDS fMRI.
    root : Path
        Of the recordings.
    overrides, allow : sequence of str
        As for `neurodec.run.stages.run_recipe`.
    """

    recipe: str | Path | None
    root: Path
    overrides: Sequence[str] = ()
    allow: Sequence[str] = ()

    def read(self, out: Path, system: System) -> tuple[Study, dict[str, Extractor]]:
        """Return all trials, kept in ``out/prepared``, and the recipe's targets."""
        require_apart(self.root, out)
        if (out / "stages.json").exists():
            raise NeurodecError(f"{out} is the folder of a run; name another --out.")
        _, recipe = load_recipe(self._recipe(out, system), self.overrides, self.allow)
        objects, prepared = built_objects(recipe), out / "prepared"
        if (prepared / MARK).exists():  # of an attempt that read them otherwise
            before = read_json(prepared / MARK)["provenance"]["parameters"]
            if parameters_key(before) != parameters_key(parameters_of(objects.dataset)):
                shutil.rmtree(prepared)
        prepare(objects.dataset, self.root, prepared, "none")
        study = Study.load(prepared)
        study = study if objects.preprocessing is None else preprocess(study, objects.preprocessing)
        tell_account(study.account, prepared)
        return study, objects.targets

    def _recipe(self, out: Path, system: System) -> str | Path:
        """Return the recipe that is named, or ``out/reader.yaml``, made of what the system remembers."""
        if self.recipe is not None:
            return self.recipe
        known = system.config.get("dataset")
        if not known:
            return "in_context/bids-fmri"
        content = {"name": "reader", "dataset": {name: known[name] for name in ("class_path", "init_args")}}
        if system.config.get("preprocessed_by"):
            content["preprocessing"] = system.config["preprocessed_by"]
        with atomic_path(out / "reader.yaml") as partial:
            partial.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return out / "reader.yaml"


def adapt(source: str | Path, recordings: RecordingsFolder, out: Path) -> Path:
    """Adapt a system to everybody in a folder of recordings, by their training trials; by all where there is no split.

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
    study, targets = recordings.read(out, system)
    support = study.part(("train", "cv"))  # cv: no column says whose split it is
    if not len(support):
        raise NeurodecError(
            f"No trial below {recordings.root} has the split train, so there is no context to adapt to; mark trials by "
            "a column `split` in the events, or in a table of stimuli: --dataset.init_args.stimuli_table FILE."
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
    n_pictures: int | None = None,
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
    n_pictures : int, optional
        How many responses are drawn, 24 by default; refused where the system cannot draw.

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
    if decoder is None and n_pictures is not None:
        raise NeurodecError(
            f"{source} is a system without a decoder, so it draws no pictures; leave --n-pictures out, or give "
            "OUT/decoders/<fold> of a run that reconstructs."
        )
    study, targets = recordings.read(out, system)
    has_test = (study.table["split"] == "test").any()
    wanted = split or ("test" if has_test else "all")
    study = study.part(None if wanted == "all" else wanted)
    if not len(study):
        raise NeurodecError(f"No trial below {recordings.root} has the split {wanted}; name another --split.")
    _require_new(system, study)
    strangers = sorted(set(study.subjects) - set(system.config.get("subjects") or study.subjects))
    if strangers:
        print(
            f"  not in the training, and decoded as an unknown participant: {', '.join(strangers)}",
            flush=True,
        )
    if not single:
        study = study.average()
    gallery = _gallery(study, system, recordings.root, targets, candidates)
    found = Predictions.concatenate([predictions_of(system, trials) for trials in study.spaces.values()])
    found.save(out / "embeddings")
    print(f"  {len(found)} responses of {', '.join(study.subjects)}: {out / 'embeddings'}", flush=True)
    if gallery is not None:
        _retrieve(found, system, *gallery, out, shown=candidates is None)
    if decoder is not None:
        _draw(decoder, found, min(_DRAWN if n_pictures is None else n_pictures, len(found)), out / "pictures")
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
    space = system.config["embedding_spaces"][system.head]
    if system.head in targets and targets[system.head].embedding_space == space:
        return targets[system.head].extract(stimuli, root)
    if system.head in targets:
        print(f"  embedded by the system's own network, {space}, not by the recipe's target", flush=True)
    without = stimuli["stimulus"][stimuli["image"].fillna("") == ""]
    if len(without):
        raise NeurodecError(
            f"{len(without)} of {len(stimuli)} stimuli have no picture, first {without.iloc[0]}; put them below "
            "stimuli/, or name a table: --dataset.init_args.stimuli_table FILE (columns stimulus and image)."
        )
    files = [root / image for image in stimuli["image"]]
    values = embed_pictures(files, space)
    return Features(
        values, stimuli["stimulus"].tolist(), {"embedding_space": space, "key": key_of(values.tolist())}
    )


def _require_new(system: System, study: Study) -> None:
    """Refuse trials that show what the person was adapted with."""
    for subject, shown in study.table.groupby("subject", sort=False)["stimulus"]:
        known = set(shown) & (system.known_stimuli(subject) if isinstance(system, Adapts) else set())
        if known:
            raise NeurodecError(
                f"{len(known)} of the pictures to decode, first {min(known)}, are among those that subject {subject} "
                "was adapted with, and would be found by heart; decode others (--split test)."
            )


def _gallery(
    study: Study, system: System, root: Path, targets: dict[str, Extractor], candidates: Path | None
) -> tuple[list[str], np.ndarray] | None:
    """Return names and embeddings of what is searched, in the system's own space; None where there is nothing."""
    stimuli = study.stimuli[study.stimuli["stimulus"].isin(set(study.table["stimulus"]))]
    space = system.config["embedding_spaces"][system.head]
    if candidates is not None:
        files = [file for file in files_below(candidates) if file.suffix.lower() in PICTURES]
        if not files:
            raise NeurodecError(
                f"{candidates} holds no picture ({', '.join(PICTURES)}); name another folder."
            )
        return [str(file.relative_to(candidates)) for file in files], embed_pictures(files, space)
    named = system.head in targets and targets[system.head].embedding_space == space
    if not named and (stimuli["image"].fillna("") == "").any():
        print("  nothing was searched: the stimuli have no pictures (--candidates FOLDER names some)")
        return None
    features = _features(stimuli, root, targets, system)
    return list(features.stimuli), np.asarray(features.values)


def _retrieve(
    found: Predictions, system: System, names: list[str], gallery: np.ndarray, out: Path, *, shown: bool
) -> None:
    """Write ``retrieved.csv``: the five nearest pictures of every response."""
    mean = system.mean_target(system.head)
    centre = None if mean is None else Centre(mean, mean)
    pictures = Gallery(system.project(system.head, gallery), names, names, centre=centre)
    similarities = pictures.similarity(np.asarray(found.of(system.head)))
    best = np.asarray(names)[top_candidates(similarities)]
    table = found.table.assign(**{f"top{place + 1}": best[:, place] for place in range(best.shape[1])})
    write_table(out / "retrieved.csv", table)
    print(f"  the nearest of {len(names)} pictures: {out / 'retrieved.csv'}", flush=True)
    if shown and len(names) > 1:
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
