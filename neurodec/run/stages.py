"""Running a recipe: its stages in order, skipping what is done and unchanged."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jsonargparse import ArgumentParser, Namespace

from neurodec.data import Trials, load_stimuli, prepare, summary
from neurodec.decoder import NeuralDecoder, Prior, build_decoder, build_prior
from neurodec.encoders import Ridge
from neurodec.errors import NeurodecError, reading
from neurodec.evaluation import Retrieval, RetrievalRun
from neurodec.evaluation.ablation import linear_features
from neurodec.evaluation.curves import averages, predict_rows
from neurodec.evaluation.scored import Scored
from neurodec.features import Features
from neurodec.files import atomic_path, key_of, read_json, write_json, write_table
from neurodec.priors import load_prior
from neurodec.report import write_report
from neurodec.run.recipe_file import load_recipe, recipe_parser
from neurodec.run.reconstruct import Seen, reconstruct, score
from neurodec.training import embed, fit, load_pretrained
from neurodec.training.datamodule import prepare_inputs
from neurodec.training.history import NOTHING_LEARNT, training_summary
from neurodec.training.trainer import below_out, check_device, check_folders, check_hardware, check_packages

_TOLD = 12  # lines about the recordings; the rest is in info.json and in the report


def run_recipe(
    path: str | Path,
    data_root: str | Path,
    out: str | Path,
    *,
    overrides: list[str] | None = None,
    allow: list[str] | None = None,
    only: str | None = None,
    allow_outside: bool = False,
) -> Path:
    """Run the stages that a recipe names; running again resumes, or does nothing.

    Parameters
    ----------
    path : str or Path
        The recipe.
    data_root : str or Path
        Folder of the raw data.
    out : str or Path
        Folder for everything that is written.
    overrides : list of str, optional
        Such as ``["--trainer.max_epochs", "20"]``.
    allow : list of str, optional
        Further packages whose classes the recipe may name.
    only : str, optional
        Run this one stage.
    allow_outside : bool
        Let loggers, profilers and callbacks of the recipe write outside `out`.

    Returns
    -------
    Path
        `out`, with `results.json`, `report.html`, `config.yaml`, `metrics.csv`, `checkpoints/`, `models/`, `images/`.

    Raises
    ------
    NeurodecError
        If the recipe or the data cannot be used; see the message.
    """
    parser, recipe = load_recipe(path, overrides or [], allow or [])
    run = Run(parser, recipe, Path(data_root), Path(out), frozenset(allow or []), allow_outside)
    stages = run.stages()
    if only is not None and only not in stages:
        raise NeurodecError(f"The recipe {path} has no stage {only}; it has {', '.join(stages)}.")
    run.check([only] if only else stages)
    run.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(run.out / "config.yaml") as partial:
        partial.write_text(parser.dump(recipe), encoding="utf-8")
    run.set_stamp("data_root", str(run.root.resolve()))  # the report shows the pictures
    for stage in [only] if only else stages:
        started = time.perf_counter()
        print(f"{stage} ...", flush=True)
        getattr(run, stage)()
        run.note_seconds(stage, time.perf_counter() - started)
    return run.out


@dataclass(frozen=True)
class Fold:
    """One fit: who is trained on and who is tested."""

    name: str
    train: list[str]
    test: list[str]


def folds_of(protocol: str, subjects: list[str]) -> list[Fold]:
    """Return the fits of a protocol.

    Raises
    ------
    NeurodecError
        If a subject is to be left out and there is only one.
    """
    if protocol == "joint":
        return [Fold("joint", subjects, subjects)]
    if protocol == "within_subject":
        return [Fold(f"sub-{subject}", [subject], [subject]) for subject in subjects]
    if len(subjects) < 2:
        raise NeurodecError(
            "leave_one_subject_out needs at least two subjects; add one or use within_subject."
        )
    return [Fold(f"without-{left}", [name for name in subjects if name != left], [left]) for left in subjects]


@dataclass(frozen=True)
class Run:
    """A recipe bound to its folders; every stage is a method that finds its input on the disk."""

    parser: ArgumentParser
    recipe: Namespace
    root: Path
    out: Path
    allow: frozenset[str]
    allow_outside: bool = False

    def check(self, stages: list[str]) -> None:
        """Refuse what these stages cannot do on this machine, or would write elsewhere, before any work."""
        sections = self.recipe.as_dict()
        trainer = sections.get("trainer", {})
        check_folders(trainer, self.out, allow_outside=self.allow_outside)
        if "fit" in stages:
            check_packages(trainer)
            check_hardware(trainer)
        for stage, name in (("features", "features"), ("reconstruct", "decoder")):
            section = sections.get(name) or {}
            if stage in stages:
                check_device((section.get("init_args") or section).get("device"), f"{name}.device")

    def stages(self) -> list[str]:
        """Name the stages that the recipe's sections ask for."""
        trained = ["features", "fit"] if "model" in self.recipe else []
        trained += ["retrieve"] if trained and self.recipe.get("evaluation") else []
        trained += ["reconstruct"] if "reconstruction" in self.recipe else []
        scored = ["evaluate", "report"] if self.recipe.get("evaluation") else []
        return ["prepare", *trained, *scored]

    def prepare(self) -> None:
        """Fill ``OUT/prepared``, and tell what was found there and what was left out."""
        prepare(self._objects.dataset, self.root, self.out / "prepared")
        lines = summary(self._trials.info.get("account", []))
        for line in lines[:_TOLD]:
            print(f"  {line}", flush=True)
        if len(lines) > _TOLD:
            print(
                f"  ... and {len(lines) - _TOLD} more notes in {self.out / 'prepared' / 'info.json'}",
                flush=True,
            )

    def features(self) -> None:
        """Fill ``OUT/features`` and, where there are captions, ``OUT/text_features``."""
        self._trials  # noqa: B018  a missing prepared folder is told before any computation
        model = self._objects.features
        key = key_of([self.recipe.features.as_dict(), self._provenance, model.sources(self.root)])
        if self._stamp("features") == key:
            return
        stimuli = load_stimuli(self.out / "prepared")
        model.image_features(stimuli, self.root).save(self.out / "features")
        shutil.rmtree(self.out / "text_features", ignore_errors=True)  # of other features
        texts = model.caption_features(stimuli, self.root)
        if texts is not None:
            texts.save(self.out / "text_features")
        self.set_stamp("features", key)

    def fit(self) -> None:
        """Train one encoder per fold into ``OUT/models`` and ``OUT/checkpoints``."""
        sections = self.recipe.as_dict()
        wanted = [sections[name] for name in ("model", "data", "trainer", "protocol", "selection", "seed")]
        key = key_of([wanted, self._stamp("features")])
        if self._stamp("fit") not in (None, key):
            raise NeurodecError(
                f"{self.out} holds a training with another configuration; choose another --out, or delete "
                f"{self.out / 'checkpoints'}, {self.out / 'models'} and {self.out / 'stages.json'}."
            )
        self.set_stamp("fit", key)
        for fold in self._folds:
            fit(self._fit_config(fold), self.out, fold.name, self.recipe.selection)
        histories = {fold.name: self.out / "checkpoints" / fold.name / "metrics.csv" for fold in self._folds}
        merged = pd.concat([pd.read_csv(file).assign(fold=name) for name, file in histories.items()])
        write_table(self.out / "metrics.csv", merged)
        for name, found in training_summary(merged).items():
            if not found["beats_mean_predictor"]:
                print(f"  {name}: {NOTHING_LEARNT}", flush=True)

    def retrieve(self) -> None:
        """Write ``OUT/retrieved.csv``: for every test stimulus its rank and the five best candidates."""
        tables = []
        for fold in self._folds:
            z, table = self._test_embeddings(fold)
            gallery = self._objects.evaluation.candidates(self._test(fold), self._stimuli, self._features)
            tables.append(Scored.of(z, table, gallery).rank_table())
        write_table(self.out / "retrieved.csv", pd.concat(tables))

    def reconstruct(self) -> None:
        """Draw the seen pictures, with controls and ceilings, into ``OUT/images/reconstructed/<fold>/``."""
        for fold in self._folds:
            decoder = self._neural_decoder(fold)
            folder = self.out / "images" / "reconstructed" / fold.name
            reconstruct(
                decoder, self._seen(fold), self._objects.reconstruction, self._objects.features, folder
            )

    def evaluate(self) -> None:
        """Write ``OUT/results.json`` and, for retrieval, ``OUT/evaluation/<fold>/``."""
        sections = self.recipe.as_dict()
        drawn = [sections.get(name) for name in ("prior", "decoder", "reconstruction")]
        key = key_of([sections["evaluation"], drawn, self._stamp("fit"), self._provenance])
        if self._stamp("evaluate") == key and (self.out / "results.json").exists():
            return
        evaluation = self._objects.evaluation
        if isinstance(evaluation, Retrieval):
            runs = [self._evaluate_fold(evaluation, fold, key) for fold in self._folds]
            found = evaluation.results(runs)
        else:
            found = evaluation.run(self._trials)
        if "reconstruction" in self.recipe:
            self._evaluate_pictures(found)
        self.set_stamp("evaluate", key)
        if "model" in self.recipe:
            found["training"] = training_summary(pd.read_csv(self.out / "metrics.csv"))
        write_json(self.out / "results.json", {**self._header(), **found, "speed": self._speed()})

    def report(self) -> None:
        """Write ``OUT/report.html``."""
        results = read_json(self.out / "results.json")
        write_json(self.out / "results.json", {**results, "speed": self._speed()})
        write_report(self.out)

    def note_seconds(self, stage: str, seconds: float) -> None:
        """Add to the time that a stage has taken over all runs."""
        stamps = self._stamps()
        taken = stamps.setdefault("seconds", {})
        taken[stage] = round(taken.get(stage, 0.0) + seconds, 2)
        write_json(self.out / "stages.json", stamps)

    @cached_property
    def _objects(self) -> Namespace:
        """The dataset, features and evaluation objects; the model is built by the fit itself."""
        kept = self.recipe.clone()
        for name in ("model", "data", "trainer", "prior", "decoder"):
            kept.pop(name, None)
        with reading("The recipe", "", "correct the arguments of its classes"):
            return recipe_parser(kept.as_dict()).instantiate_classes(kept)

    @cached_property
    def _trials(self) -> Trials:
        return Trials.load(self.out / "prepared")

    @cached_property
    def _stimuli(self) -> pd.DataFrame:
        return load_stimuli(self.out / "prepared")

    @cached_property
    def _features(self) -> Features:
        return Features.load(self.out / "features")

    @cached_property
    def _folds(self) -> list[Fold]:
        return folds_of(self.recipe.protocol, list(dict.fromkeys(self._trials.table["subject"])))

    @property
    def _provenance(self) -> str:
        return key_of(self._trials.info["provenance"])

    def _fit_config(self, fold: Fold) -> dict[str, Any]:
        sections = self.recipe.as_dict()
        texts = self.out / "text_features"
        data = {
            **sections["data"],
            "prepared": str(self.out / "prepared"),
            "features": str(self.out / "features"),
            "text_features": str(texts) if texts.exists() else None,
            "subjects": fold.train,
            "validate_on_test": self.recipe.selection == "published_protocol",
            "seed": self.recipe.seed,
        }
        model = {**sections["model"], "seed": self.recipe.seed}
        return {
            "model": model,
            "data": data,
            "trainer": below_out(sections["trainer"], self.out, allow_outside=self.allow_outside),
            "seed_everything": self.recipe.seed,
        }

    def _inputs(self, trials: Trials) -> Trials:
        data = self.recipe.data
        return prepare_inputs(trials, data.ch_names, data.tmin, data.tmax)

    def _part(self, split: str, subjects: list[str]) -> Trials:
        table = self._trials.table
        rows = np.flatnonzero((table["split"] == split) & table["subject"].isin(subjects))
        return self._trials.select(rows)

    def _test(self, fold: Fold) -> Trials:
        return self._part("test", fold.test)

    def _test_embeddings(self, fold: Fold) -> tuple[np.ndarray, pd.DataFrame]:
        """Embed the test trials, averaged as the evaluation averages them."""
        evaluation = self._objects.evaluation
        average = averages(self._test(fold), {"encoder": self._predict(fold)}, evaluation.averaging)
        found, table = average(evaluation.n_repetitions, evaluation.seed)
        return found["encoder"], table

    def _neural_decoder(self, fold: Fold) -> NeuralDecoder:
        """Load encoder, prior and decoder of a fold; the prior is fitted first where it was not."""
        folder, sections = self.out / "decoders" / fold.name, self.recipe.as_dict()
        key = key_of([sections["prior"], self._stamp("fit")])
        own = {"decoder": sections["decoder"], "sampling": self._objects.reconstruction.sampling}
        if self._stamp(f"prior {fold.name}") == key and folder.exists():
            prior = load_prior(folder / "prior")
        else:
            prior = self._fit_prior(fold)
        encoder, config = load_pretrained(self.out / "models" / fold.name, self.allow)
        decoder = NeuralDecoder(
            encoder, prior, build_decoder(sections["decoder"], self.allow), {**config, **own}
        )
        decoder.save_pretrained(folder)
        self.set_stamp(f"prior {fold.name}", key)
        return decoder

    def _fit_prior(self, fold: Fold) -> Prior:
        train = self._part("train", fold.train)
        z = predict_rows(self._predict(fold), train)
        targets = self._features.values[self._features.rows(train.table["stimulus"])]
        prior = build_prior(self.recipe.prior.as_dict())
        concepts = train.table["concept"].to_numpy()
        return prior.fit(
            z,
            targets,
            concepts,
            embedding_space=self._features.info["embedding_space"],
            checkpoints=self.out / "checkpoints" / f"{fold.name}-prior",
        )

    def _seen(self, fold: Fold) -> Seen:
        z, table = self._test_embeddings(fold)
        n_images = self._objects.reconstruction.n_images
        z, table = z[:n_images], table[:n_images].reset_index(drop=True)
        files = self._stimuli.set_index("stimulus")["image"].map(lambda image: self.root / image)
        shown = self._stimuli["stimulus"][self._stimuli["split"] == "train"].tolist()
        values = self._features.values
        train = Features(values[self._features.rows(shown)], shown, self._features.info)
        return Seen(
            z,
            table[["subject", "stimulus", "concept"]],
            values[self._features.rows(table["stimulus"])],
            files[table["stimulus"]].tolist(),
            train,
            files[shown].tolist(),
        )

    def _evaluate_pictures(self, found: dict[str, Any]) -> None:
        """Add the scores of the pictures to the results, and write ``OUT/reconstructed.csv``."""
        folders = [self.out / "images" / "reconstructed" / fold.name for fold in self._folds]
        section, table = score(folders, self._objects.reconstruction)
        found["reconstruction"] = section
        metrics = ("pixcorr", "ssim", "two_way", "ci95", "n_images")
        found["controls"]["shuffled"] |= {name: section["controls"]["shuffled"][name] for name in metrics}
        write_table(self.out / "reconstructed.csv", table)

    def _predict(self, fold: Fold) -> Any:
        """Return the trained encoder as a function from trials, which it cuts as in training, to embeddings."""
        encoder, config = load_pretrained(self.out / "models" / fold.name, self.allow)
        places = {subject: place for place, subject in enumerate(config["subjects"])}

        def predict(trials: Trials) -> np.ndarray:
            subject = np.array([places.get(name, -1) for name in trials.table["subject"]])
            return embed(encoder, self._inputs(trials).responses, subject)

        return predict

    def _evaluate_fold(self, evaluation: Retrieval, fold: Fold, key: str) -> RetrievalRun:
        folder = self.out / "evaluation" / fold.name
        if self._stamp(f"evaluate {fold.name}") == key and folder.exists():
            return RetrievalRun.load(folder)
        train = self._part("train", fold.train).average()
        targets = self._features.values[self._features.rows(train.table["stimulus"])]
        # Ranking by the cosine with a centred prediction equals ranking centred embeddings: without it the mean
        # embedding, which ridge shrinks to, would decide.
        targets = targets - targets.mean(axis=0)
        ridge = Ridge().fit(linear_features(self._inputs(train)), targets, train.table["concept"].to_numpy())
        run = evaluation.run(
            self._test(fold),
            self._stimuli,
            self._features,
            self._predict(fold),
            ridge=lambda trials: ridge.predict(linear_features(self._inputs(trials))),
            train=train,
            train_targets=targets,
            decoder=self.recipe.model.encoder.class_path.rpartition(".")[2],
        )
        run.save(folder)
        self.set_stamp(f"evaluate {fold.name}", key)
        return run

    def _header(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "recipe": self.recipe.name,
            "dataset": self.recipe.dataset.class_path.rpartition(".")[2],
            "subjects": list(dict.fromkeys(self._trials.table["subject"])),
            "simulated": (self.root / "simulation.json").exists(),
            **(
                {"selection": self.recipe.selection, "protocol": self.recipe.protocol}
                if "model" in self.recipe
                else {}
            ),
        }

    def _speed(self) -> dict[str, Any]:
        speed: dict[str, Any] = {"seconds": self._stamps().get("seconds", {})}
        if "model" in self.recipe:
            encoder, _ = load_pretrained(self.out / "models" / self._folds[0].name, self.allow)
            speed["n_parameters"] = sum(parameter.numel() for parameter in encoder.parameters())
            history = pd.read_csv(self.out / "metrics.csv")
            speed["train_samples_per_s"] = float(history["samples_per_s"].median())
        return speed

    def _stamps(self) -> dict[str, Any]:
        file = self.out / "stages.json"
        return read_json(file) if file.exists() else {}

    def _stamp(self, name: str) -> str | None:
        return self._stamps().get(name)

    def set_stamp(self, name: str, key: str) -> None:
        """Remember in ``OUT/stages.json`` what a stage was done with."""
        write_json(self.out / "stages.json", {**self._stamps(), name: key})
