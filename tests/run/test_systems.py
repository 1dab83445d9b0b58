"""What a recipe can put together: systems, targets, objectives, evaluations, seeds, subjects of unequal sizes."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import arguments, refused
from command_line import write_recipe as write_small
from linear_studies import QUICK, TARGETS, write_recipe, write_study
from PIL import Image
from small_studies import STUDIES

from neurodec.cli import main
from neurodec.simulate import simulate

RIDGE = {"class_path": "neurodec.systems.RidgeSystem"}
RETRIEVAL = {"class_path": "neurodec.evaluation.Retrieval", "init_args": QUICK}
TRAINER = {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False}
LEARNT = {
    "encoder": {"class_path": "neurodec.encoders.ATM", "init_args": {"d_ff": 16}},
    "objective": {"class_path": "neurodec.training.RetrievalObjective"},
    "data": {"batch_size": 40, "validation_fraction": 0.1},
    "trainer": TRAINER,
}
CHANCE = 1 / 20
BEN = ["--dataset.init_args.file", "responses_ben.npz"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three subjects, each in a space of their own, because one has fewer channels."""
    return write_study(tmp_path_factory.mktemp("linear") / "data")


@pytest.fixture
def home(root, tmp_path):
    """A data root beside which a recipe can be written."""
    (tmp_path / "data").symlink_to(root)
    return tmp_path / "data"


def run(home, out="out", *overrides):
    assert main([*arguments("run", home, out), *overrides]) == 0
    return json.loads((home.parent / out / "results.json").read_text())


def test_ridge_as_a_system_reaches_retrieval_in_every_space(home):
    write_recipe(home.parent / "recipe.yaml", system=RIDGE, protocol="joint")
    found = run(home)["retrieval"]
    assert found["n_candidates"] == 20
    assert found["ci95_top1"][0] > 3 * CHANCE
    assert set(found["per_subject"]) == {"anna", "ben", "cleo"}
    assert min(own["top1"] for own in found["per_subject"].values()) > 2 * CHANCE
    spaces = json.loads((home.parent / "out/prepared/study.json").read_text())["spaces"]
    assert set(spaces) == {"sub-anna", "sub-ben", "sub-cleo"}


def test_several_evaluations_and_seeds(home):
    write_recipe(
        home.parent / "recipe.yaml",
        system=RIDGE,
        seeds=[1, 2],
        evaluation={
            "seen": RETRIEVAL,
            "words": {**RETRIEVAL, "init_args": {**QUICK, "head": "text", "pool_size": 10}},
        },
    )
    found = run(home)
    assert set(found["further"]) == {"words"}
    assert found["further"]["words"]["retrieval"]["top1"] > 2 * CHANCE
    assert found["further"]["words"]["retrieval"]["pooled"]["image_retrieval"]["mean"] > 0.2
    spread = found["over_seeds"]
    assert spread["seeds"] == [1, 2]
    assert spread["retrieval.top1"]["sd"] == 0.0  # ridge knows no chance
    assert spread["retrieval.top1"]["mean"] == pytest.approx(found["retrieval"]["top1"])
    out = home.parent / "out"
    folds = [f"sub-{name}-seed{seed}" for name in ("anna", "ben", "cleo") for seed in (1, 2)]
    assert sorted(file.parent.name for file in (out / "evaluation").glob("*/curves.json")) == folds
    assert (out / "evaluation/further/words/sub-ben-seed2/curves.json").exists()
    assert (out / "images/k-way.png").exists()  # the first evaluation's curves are drawn
    page = (home.parent / "out/report.html").read_text()
    assert "<h2>words</h2>" in page
    assert "words: Number of candidates" in page
    assert (out / "images/words-k-way.png").exists()
    assert "Over 2 seeds" in page


def test_the_baseline_is_fitted_with_the_system_and_not_while_scoring(home, monkeypatch):
    write_recipe(home.parent / "recipe.yaml", protocol="joint", **LEARNT)
    for verb in ("prepare", "targets", "fit"):
        assert main([*arguments(verb, home), *BEN]) == 0
    assert (home.parent / "out/models/joint.ridge-image/config.json").exists()
    monkeypatch.setattr("neurodec.systems.RidgeSystem._fit", None)
    for verb in ("predict", "retrieve", "evaluate"):
        assert main([*arguments(verb, home), *BEN]) == 0


def test_seeds_of_a_trained_encoder_differ(home):
    write_recipe(home.parent / "recipe.yaml", seeds=[1, 2], protocol="joint", **LEARNT)
    values = run(home, "out", *BEN)["over_seeds"]["retrieval.median_rank"]["values"]
    assert len(values) == 2
    models = {path.name for path in (home.parent / "out/models").iterdir()}
    assert {"joint-seed1", "joint-seed2"} <= models


@pytest.mark.parametrize("protocol", ["joint", pytest.param("new_subject", marks=pytest.mark.quality)])
def test_mindbridge_trains_brains_of_unequal_sizes_in_one_step(tmp_path, protocol):
    root = write_study(tmp_path / "data", patterns=True, noise=0.5)
    stages = [
        {"name": "bridge", "subjects": "others"},
        {
            "name": "reset",
            "subjects": "all",
            "start": "bridge",
            "fresh": ["encoder.embedder.{new}.*", "encoder.builder.{new}.*"],
            "trained": ["encoder.embedder.{new}.*", "encoder.builder.{new}.*"],
        },
    ]
    write_recipe(
        tmp_path / "recipe.yaml",
        patterns=True,
        protocol=protocol,
        encoder={
            "class_path": "neurodec.encoders.MindBridge",
            "init_args": {"in_dim": 60, "h": 64, "n_blocks": 1, "bottleneck": 16},
        },
        objective={
            "class_path": "neurodec.training.BridgeObjective",
            "init_args": {"targets": ["image"], "mse_weight": 10.0, "temperature": 0.1},
        },
        optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
        data={"batch_size": 60, "validation_fraction": 0.1},
        trainer={**TRAINER, "max_epochs": 40},
        **({"stages": stages} if protocol == "new_subject" else {}),
    )
    overrides = ["--stages.n_trials", "80"] if protocol == "new_subject" else []
    found = run(root, "out", *overrides)["retrieval"]
    assert found["ci95_top1"][0] > CHANCE
    if protocol == "new_subject":
        history = pd.read_csv(tmp_path / "out/metrics.csv")
        assert set(history["stage"]) == {"bridge", "reset"}
        assert "n_trials: 80" in (tmp_path / "out/config.yaml").read_text()


def test_two_encoders_side_by_side_learn_two_targets(home):
    write_recipe(
        home.parent / "recipe.yaml",
        protocol="joint",
        **{
            **LEARNT,
            "encoder": {
                "class_path": "neurodec.encoders.Together",
                "init_args": {
                    "parts": {"image": "neurodec.encoders.ATM", "text": "neurodec.encoders.NICE"},
                    "arguments": {"image": {"d_ff": 16}},
                },
            },
            "objective": {
                "class_path": "neurodec.training.SumObjective",
                "init_args": {
                    "parts": [
                        {"class_path": "neurodec.training.RetrievalObjective"},
                        {
                            "class_path": "neurodec.training.SquaredError",
                            "init_args": {"weights": {"text": 0.1}},
                        },
                    ]
                },
            },
        },
    )
    assert run(home, "out", *BEN)["retrieval"]["n_candidates"] == 20
    history = pd.read_csv(home.parent / "out/metrics.csv")
    total = history["train_image_loss"] + history["train_text_text"]
    np.testing.assert_allclose(total, history["train_loss"], rtol=1e-4)


DRAWER = """
import numpy as np
from PIL import Image
from neurodec.decoders import Decoder


class Colours(Decoder):
    reads = {"image": "precomputed", "hue": "precomputed"}
    optional = ("hue",)

    def decode(self, conditions, *, generator, n_steps, guidance, strength=0.5):
        colours = np.clip(128 + 40 * np.asarray(conditions["image"])[:, :3], 0, 255).astype(np.uint8)
        return [Image.new("RGB", (16, 16), tuple(int(value) for value in row)) for row in colours]
"""
RAW = {name: {**own, "init_args": {**own["init_args"], "normalize": False}} for name, own in TARGETS.items()}


def test_a_decoder_in_a_file_of_ones_own_draws_and_is_not_asked_twice(home, capsys, monkeypatch):
    folder = home.parent
    (folder / "my_drawer.py").write_text(DRAWER)
    monkeypatch.syspath_prepend(str(folder))
    write_recipe(
        folder / "recipe.yaml",
        system=RIDGE,
        targets=RAW,
        decoder={"class_path": "my_drawer.Colours"},
        reconstruction={"conditions": {"hue": "text"}},
    )
    assert "--allow my_drawer" in refused(capsys, arguments("run", home))
    found = run(home, "out", *BEN, "--allow", "my_drawer")
    assert found["reconstruction"]["pixcorr"] < 1
    shown = np.array(
        [np.asarray(Image.open(home / f"pictures/z{i:03d}.png"))[0, 0] for i in range(20)], float
    )
    drawn = sorted((folder / "out/images/reconstructed/sub-ben/brain").glob("*.png"))
    colours = np.array([np.asarray(Image.open(file))[0, 0] for file in drawn], float)
    assert np.corrcoef(shown.ravel(), colours.ravel())[0, 1] > 0.5

    def never(*_arguments, **_options):
        raise AssertionError("the work was done already")

    monkeypatch.setattr("neurodec.run.drawing.build_decoder", never)
    monkeypatch.setattr("neurodec.evaluation.Retrieval.run", never)
    monkeypatch.setattr("neurodec.systems.RidgeSystem.predict", never)
    for verb in ("predict", "retrieve", "reconstruct", "evaluate"):
        assert main([*arguments(verb, home), *BEN, "--allow", "my_drawer"]) == 0


OUTSIDE = """
import torch
from torch import nn
from torch.nn import functional as F
from neurodec.training import Objective


class Flat(nn.Module):
    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, response):
        return {"image": self.linear(response.flatten(1))}


class Cosine(Objective):
    head, needs = "image", ("image",)

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight
        self.turn = nn.Linear(16, 16, bias=False)

    def project(self, name, targets):
        return self.turn(targets)

    def forward(self, found, batch, progress):
        away = 1 - F.cosine_similarity(found["image"], self.project("image", batch["image"]))
        whole = (self.turn.weight @ self.turn.weight.T - torch.eye(16)).square().mean()
        return {"angle": self.weight * away.mean(), "turned": whole}
"""


def test_an_encoder_and_an_objective_in_a_file_of_ones_own(home, capsys, monkeypatch):
    folder = home.parent
    (folder / "lab_of_mine.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(folder))
    write_recipe(
        folder / "recipe.yaml",
        encoder={"class_path": "lab_of_mine.Flat"},
        objective={"class_path": "lab_of_mine.Cosine", "init_args": {"weight": 2.0}},
        optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
        data={"batch_size": 40, "validation_fraction": 0.1},
        trainer={**TRAINER, "max_epochs": 40},
    )
    assert "--allow lab_of_mine" in refused(capsys, arguments("run", home))
    found = run(home, "out", "--allow", "lab_of_mine")
    assert found["retrieval"]["ci95_top1"][0] > 2 * CHANCE
    assert "ridge" in found["baselines"]
    history = pd.read_csv(folder / "out/metrics.csv")
    assert {"train_angle", "train_turned", "val_top1"} <= set(history)


def test_compare_prints_one_table_and_one_figure(home, capsys):
    write_recipe(home.parent / "recipe.yaml", system=RIDGE)
    run(home, "one")
    run(home, "two", "--system.init_args.per_value", "true")
    capsys.readouterr()
    folder = home.parent
    command = ["compare", str(folder / "one"), str(folder / "two"), "--out", str(folder / "both")]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "one" in told
    assert "two" in told
    table = pd.read_csv(folder / "both/comparison.csv")
    assert len(table) >= 2
    assert (folder / "both/comparison.png").stat().st_size > 1000
    assert "results.json" in refused(capsys, ["compare", str(folder / "data")])


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"system": {**RIDGE, "init_args": {"head": "sound"}}}, "sound"),
        ({"system": {**RIDGE, "init_args": {"targets": ["image", "sound"]}}}, "sound"),
        (
            {
                **LEARNT,
                "objective": {
                    "class_path": "neurodec.training.RetrievalObjective",
                    "init_args": {"text": "t"},
                },
            },
            "learns the target t, and `targets` has image, text",
        ),
        (
            {
                "system": RIDGE,
                "decoder": {"class_path": "neurodec.decoders.GuidedDiffusion"},
                "reconstruction": {"n_samples": 3},
                "targets": {
                    name: {**own, "init_args": {**own["init_args"], "embedding_space": "tiny"}}
                    for name, own in TARGETS.items()
                },
            },
            "n_samples",
        ),
        (
            {
                "system": RIDGE,
                "targets": {"image": {"class_path": "neurodec.features.OpenClip"}},
                "decoder": {"class_path": "neurodec.decoders.GuidedDiffusion"},
                "reconstruction": {},
            },
            "set `normalize: false`",
        ),
        (
            {
                "system": RIDGE,
                "decoder": {"class_path": "neurodec.decoders.GuidedDiffusion"},
                "reconstruction": {"conditions": {"latents": "sketch"}},
            },
            "names the target sketch",
        ),
        (
            {
                "system": RIDGE,
                "targets": {
                    "image": {"class_path": "neurodec.features.OpenClip", "init_args": {"normalize": False}}
                },
                "decoder": {"class_path": "neurodec.decoders.GuidedDiffusion"},
                "reconstruction": {"conditions": {"depth": "image"}},
            },
            "reads the conditions image",
        ),
        ({"system": RIDGE, "model": {"class_path": "neurodec.encoders.ATM"}}, "encoder"),
    ],
)
def test_what_does_not_go_together_is_told_before_any_work(home, capsys, sections, sentence):
    write_recipe(home.parent / "recipe.yaml", **sections)
    assert sentence in refused(capsys, arguments("run", home))
    assert not (home.parent / "out").exists()


def test_the_linear_baseline_has_candidates_of_its_own(home):
    """A projector that the system learned for its targets is no business of ridge."""
    write_recipe(
        home.parent / "recipe.yaml",
        protocol="joint",
        encoder={"class_path": "neurodec.encoders.NeuroBridge"},
        objective={"class_path": "neurodec.training.SharedSpaceObjective"},
        data=LEARNT["data"],
        trainer=TRAINER,
    )
    ridge = run(home, "out", *BEN)["baselines"]["ridge"]
    write_recipe(home.parent / "recipe.yaml", protocol="joint", system=RIDGE)
    alone = run(home, "alone", *BEN)["retrieval"]
    assert ridge["top1"] == pytest.approx(alone["top1"])
    assert ridge["ci95_top1"][0] > 2 * CHANCE


@pytest.mark.parametrize(
    "name", ["EEGNet", "ShallowFBCSPNet", "Deep4Net", "EEGConformer", "TIDNet", "EEGInceptionERP"]
)
def test_models_of_braindecode_take_the_encoders_place(home, name):
    pytest.importorskip("braindecode", reason="braindecode brings the models")
    encoder = {"class_path": f"braindecode.models.{name}"}
    write_recipe(home.parent / "recipe.yaml", protocol="joint", **{**LEARNT, "encoder": encoder})
    found = run(home, "out", *BEN)
    assert found["retrieval"]["n_candidates"] == 20
    assert found["training"]["joint"]["best_loss"] < 10


DATASETS = {
    "eeg": {"class_path": "neurodec.data.ThingsEEG2", "init_args": {"sfreq": 100.0}},
    "meg": {"class_path": "neurodec.data.ThingsMEG", "init_args": {"whiten": "mvnn-epochs"}},
    "fmri": {
        "class_path": "neurodec.data.BidsFMRI",
        "init_args": {"estimate": "lsa", "stimuli_table": "stimuli.csv", "stimulus": "stim_file"},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("modality", list(DATASETS))
def test_dataset_targets_and_ridge_reach_pictures(tmp_path, modality):
    size = {"n_subjects": 1, "n_train_concepts": 40, "images_per_concept": 2, "n_test_concepts": 12}
    more = {} if modality == "eeg" else {"train_repetitions": 1}
    simulate(tmp_path / "data", modality, gallery_per_concept=2, test_repetitions=4, **size, **more)
    clip = {"class_path": "neurodec.features.OpenClip", "init_args": {"normalize": False}}
    write_recipe(
        tmp_path / "recipe.yaml",
        dataset=DATASETS[modality],
        targets={"image": clip},
        system=RIDGE,
        prior={"class_path": "neurodec.priors.IdentityPrior"},
        decoder={"class_path": "neurodec.decoders.GuidedDiffusion"},
        reconstruction={"n_images": 4, "n_steps": 3},
    )
    found = run(tmp_path / "data")
    assert found["retrieval"]["n_candidates"] == 12
    assert found["reconstruction"]["n_images"] == 4
    pictures = list((tmp_path / "out/images/reconstructed/sub-01/brain").glob("*.png"))
    assert len(pictures) == 4


@pytest.mark.parametrize(
    ("scheme", "more"),
    [("stratified_k_fold", {"n_folds": 3}), ("repeated_k_fold", {"n_folds": 3, "n_repeats": 2})],
)
def test_rhythms_and_single_trial_folds_by_recipe(tmp_path, scheme, more):
    root = tmp_path / "data"
    root.mkdir()
    STUDIES["fif"][0](root)
    decoder = {"class_path": "neurodec.linear.SpectralClassifier", "init_args": {"bands": [[4, 8], [8, 13]]}}
    settings = {"classifier": decoder, "scheme": scheme, "n_shuffles": 3, **more}
    evaluation = {"class_path": "neurodec.evaluation.Classification", "init_args": settings}
    write_small(tmp_path / "recipe.yaml", "fif", evaluation=evaluation)
    found = run(root)["classification"]
    assert found["scheme"] == scheme
    assert found["n_trials"] == 24
    assert "stricter test" in (tmp_path / "out/report.html").read_text()


SETS = {"class_path": "neurodec.evaluation.CandidateSets"}


@pytest.mark.parametrize("kind", ["ridge", "encoder"])
def test_candidate_sets_beside_any_retrieval(home, capsys, kind):
    system = {"system": RIDGE} if kind == "ridge" else LEARNT
    both = {"retrieval": RETRIEVAL, "sets": SETS}
    write_recipe(home.parent / "recipe.yaml", evaluation=both, protocol="within_subject", **system)
    results = run(home)
    (name,) = results["further"]["sets"]["candidate_sets"]
    found = results["further"]["sets"]["candidate_sets"][name]
    assert name == ("RidgeSystem" if kind == "ridge" else "ATM")
    assert found["n_calibration"] == (40 if kind == "ridge" else 16)  # a quarter, or the validation concepts
    assert found["n_candidates"] == 20
    assert found["n_repetitions"] == 1  # training pictures were shown once, test pictures three times
    assert found["sets"][0]["ci95"][1] > 0.85
    if kind == "ridge":
        assert found["sets"][0]["mean_size"] < 15
        assert np.mean([line["found"] for line in found["sets"]]) > 0.6  # 0.9 and 0.5 are promised
        three = run(home, "out", "--evaluation.sets.init_args.n_repetitions", "3")
        assert three["further"]["sets"]["candidate_sets"][name]["n_repetitions"] == 3
    page = (home.parent / "out/report.html").read_text(encoding="utf-8")
    assert "How sure it is" in page
    assert "Promised 90 %" in page
    if kind == "encoder":
        everything = ["--data.validation_fraction", "0"]
        assert main([*arguments("run", home, "other"), *everything]) == 2
        assert "trained on all trials" in capsys.readouterr().err


def test_systems_are_found_under_their_former_paths(home):
    write_recipe(home.parent / "recipe.yaml", system={"class_path": "neurodec.training.RidgeSystem"})
    assert run(home, "out", *BEN)["system"] == "RidgeSystem"
