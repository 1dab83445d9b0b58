"""Training on labels: the losses, validation by people, selection by score, rates, adapters, stages."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, r2_score
from torch import nn
from torch.nn import functional as F

from neurodec.data import Study, Trials, with_defaults
from neurodec.encoders import CSBrain
from neurodec.errors import NeurodecError
from neurodec.features import ClassLabels, Numbers
from neurodec.systems import LightningSystem, ProbeClassifier
from neurodec.training import (
    CosineSchedule,
    LabelObjective,
    NumberObjective,
    Stage,
    TrainingData,
    TrialBatches,
)
from neurodec.training.adapters import adapt, merge
from neurodec.training.fit import read_own_checkpoint
from neurodec.training.module import EncoderModule

NAMES = ["C3", "C4", "CZ", "O1", "O2"]
ENCODER = {
    "class_path": "neurodec.encoders.CSBrain",
    "init_args": {"n_layers": 1, "n_heads": 2, "ffn_dim": 50, "patch_size": 50, "dropout": 0.0},
}


def study(
    n_people=6, n_each=16, splits=("train", "train", "train", "train", "validation", "test"), numbers=False
):
    """Return trials of two classes, a rhythm at C3 or at C4, at 50 Hz."""
    rng = np.random.default_rng(0)
    tables, parts = [], []
    for person in range(n_people):
        labels = np.arange(n_each) % 2
        x = 0.3 * rng.normal(size=(n_each, 5, 100))
        phases = rng.uniform(0, 6.3, size=(n_each, 1))
        wave = np.sin(2 * np.pi * 12 * np.arange(100) / 50 + phases)
        x[np.arange(n_each), labels] += wave
        parts.append(0.3 * x)
        names = [f"{label + 0.5:.2f}" if numbers else ("left", "right")[label] for label in labels]
        tables.append(pd.DataFrame({"stimulus": names, "subject": f"p{person}", "split": splits[person]}))
    table = with_defaults(pd.concat(tables))
    info = {
        "modality": "eeg",
        "units": "100 uV",
        "sfreq": 50.0,
        "tmin": 0.0,
        "ch_names": NAMES,
        "ch_pos": None,
    }
    return Study.of(Trials(np.concatenate(parts).astype(np.float32), table, info))


def training(of):
    return of.part(("train", "validation"))


def system(stages=(), objective="LabelObjective", epochs=8, **options):
    return LightningSystem(
        ENCODER,
        {"class_path": f"neurodec.training.{objective}"},
        {"class_path": "torch.optim.AdamW", "init_args": {"lr": 3e-3}},
        {"class_path": "neurodec.training.CosineSchedule"},
        TrainingData(16),
        {"max_epochs": epochs, "accelerator": "cpu"},
        stages,
        **options,
    )


def targets_of(of):
    return {"label": ClassLabels().extract(of.stimuli, ".")}


def test_losses_are_those_of_torch():
    torch.manual_seed(0)
    logits, wanted = torch.randn(6, 3), F.one_hot(torch.tensor([0, 1, 2, 0, 1, 0]), 3).float()
    own = LabelObjective(label_smoothing=0.1)({"label": logits}, {"label": wanted}, 0.0)["loss"]
    torch.testing.assert_close(own, nn.CrossEntropyLoss(label_smoothing=0.1)(logits, wanted.argmax(1)))
    sequences = LabelObjective()({"label": logits.view(2, 3, 3)}, {"label": wanted.view(2, 3, 3)}, 0.0)[
        "loss"
    ]
    torch.testing.assert_close(sequences, F.cross_entropy(logits, wanted.argmax(1)))
    score = LabelObjective().score(logits, wanted)
    assert float(score) == pytest.approx(
        balanced_accuracy_score(wanted.argmax(1).numpy(), logits.argmax(1).numpy())
    )
    two = F.one_hot(torch.tensor([0, 1, 1, 0, 1, 0]), 2).float()
    binary = LabelObjective()({"label": logits[:, :2]}, {"label": two}, 0.0)["loss"]
    difference = logits[:, 1] - logits[:, 0]
    torch.testing.assert_close(binary, F.binary_cross_entropy_with_logits(difference, two[:, 1]))
    found, true = torch.randn(9, 1), torch.randn(9, 1)
    assert float(NumberObjective().score(found, true)) == pytest.approx(
        r2_score(true.numpy(), found.numpy()), abs=1e-5
    )
    torch.testing.assert_close(
        NumberObjective()({"number": found}, {"number": true}, 0.0)["loss"], F.mse_loss(found, true)
    )


def test_validation_is_of_marked_trials_or_of_other_people():
    of = study()
    marked = TrialBatches(training(of), targets_of(of), TrainingData(8), of.subjects, held_out_by="subject")
    marked.setup("fit")
    assert len(marked.training["all"]) == 64
    assert len(marked.validation["all"]) == 16
    drawn = TrialBatches(
        of.part("train"), targets_of(of), TrainingData(8, 0.25), of.subjects, held_out_by="subject"
    )
    drawn.setup("fit")
    assert set(of.subjects) > drawn.held_out  # one of four people, with both classes
    assert len(drawn.validation["all"]) == 16
    one = of.part("train", ["p0"])
    with pytest.raises(NeurodecError, match="All training trials are of one run of one subject"):
        TrialBatches(one, targets_of(of), TrainingData(8), ["p0"], held_out_by="subject").setup("fit")
    TrialBatches(one, targets_of(of), TrainingData(8, 0.0), ["p0"], held_out_by="subject").setup("fit")


def test_labels_are_learned_and_the_epoch_is_chosen_by_score(tmp_path):
    of = study()
    fitted = system(epochs=30)
    fitted.fit(training(of), targets_of(of), out=tmp_path, name="x")
    test = of.part("test")
    found = fitted.predict(test).of("label").argmax(axis=1)
    assert (found == (test.table["concept"] == "right")).mean() > 0.9
    history = pd.read_csv(tmp_path / "checkpoints/x/metrics.csv")
    best = read_own_checkpoint(tmp_path / "checkpoints/x/best.ckpt")
    assert best["epoch"] == history["val_score"].idxmax()
    assert fitted.config["own_scale"] is True  # microvolts / 100 are not scaled
    assert fitted.encoder.scale == 1.0


def test_numbers_are_learned(tmp_path):
    of = study(numbers=True)
    fitted = system(objective="NumberObjective", epochs=30)
    fitted.fit(training(of), {"number": Numbers().extract(of.stimuli, ".")}, out=tmp_path, name="x")
    test = of.part("test")
    found = fitted.predict(test).of("number")[:, 0]
    assert np.corrcoef(found, test.table["stimulus"].astype(float))[0, 1] > 0.8


def test_rates_scale_the_rate_of_the_schedule():
    encoder = CSBrain(5, 100, 2, 50.0, NAMES, **ENCODER["init_args"])
    optimizer = lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)  # noqa: E731
    module = EncoderModule(
        encoder, LabelObjective(), optimizer, CosineSchedule, rates={"encoder.head.*": 5.0, "encoder.*": 0.5}
    )

    class Trainer:
        estimated_stepping_batches = 10

    module._trainer = Trainer()
    found = module.configure_optimizers()
    groups = {group["initial_lr"]: len(group["params"]) for group in found["optimizer"].param_groups}
    assert groups[5e-3] == len(list(encoder.head.parameters()))
    assert sum(groups.values()) == sum(parameter.requires_grad for parameter in module.parameters())
    module.lr_scheduler = lambda own, total_steps=None: torch.optim.lr_scheduler.OneCycleLR(
        own, 1e-3, total_steps=total_steps
    )
    with pytest.raises(NeurodecError, match="OneCycleLR gives all parameters one rate"):
        module.configure_optimizers()


def test_adapters_begin_at_nothing_train_alone_and_merge():
    torch.manual_seed(0)
    encoder = CSBrain(5, 100, 2, 50.0, NAMES, **ENCODER["init_args"]).eval()
    x = torch.randn(3, 5, 100)
    before, names = encoder(x), set(encoder.state_dict())
    adapt(encoder, {"backbone.layers.*.in_proj_weight": 2, "backbone.layers.*.linear1.weight": 3}, "s")
    torch.testing.assert_close(encoder(x), before)
    trained = [
        name for name, own in encoder.named_parameters() if "parametrizations" in name and own.requires_grad
    ]
    assert len(trained) == 2 * 3
    assert not any(name.endswith("original") for name in trained)
    with torch.no_grad():
        for name, own in encoder.named_parameters():
            if name.endswith(".b"):
                own.normal_()
    adapted = encoder(x)
    assert (adapted - before).abs().max() > 1e-3
    merge(encoder)
    assert set(encoder.state_dict()) == names
    torch.testing.assert_close(encoder(x), adapted)
    with pytest.raises(NeurodecError, match="names no weight matrix"):
        adapt(encoder, {"head.nothing": 2}, "s")
    with pytest.raises(NeurodecError, match="rank 60 does not fit"):
        adapt(encoder, {"backbone.layers.0.linear1.weight": 60}, "s")


def test_stages_of_a_fine_tuning(tmp_path):
    """A first training, a companion from random weights, a probe, adapters from the first; all are predicted with."""
    of = study()
    stages = [
        Stage("first", max_epochs=2),
        Stage("random", max_epochs=2, companion=True),
        Stage("probe", start="first", trained=["encoder.head.*"], max_epochs=1, companion=True),
        Stage(
            "tuned",
            start="first",
            fresh=["encoder.head.*"],
            trained=["encoder.head.*"],
            adapters={"encoder.backbone.layers.*.in_proj_weight": 4},
            rates={"encoder.head.*": 2.0},
            max_epochs=2,
        ),
    ]
    fitted = system(stages)
    fitted.fit(training(of), targets_of(of), out=tmp_path, name="x")
    again = LightningSystem.from_pretrained(tmp_path / "models/x")
    companions = again.companions()
    assert list(companions) == ["random", "probe"]
    test = of.part("test")
    assert companions["probe"].predict(test).of("label").shape == (16, 2)
    assert companions["random"].companions() == {}
    first, probe, tuned = (
        LightningSystem.from_pretrained(tmp_path / f"models/x{name}").encoder.state_dict()
        for name in (".first", ".probe", "")
    )
    changed = {name for name in first if not torch.equal(first[name], probe[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    moved = {name for name in first if not torch.equal(first[name], tuned[name])}
    assert {name.split(".")[0] for name in moved} == {"head", "backbone"}
    assert all("in_proj_weight" in name for name in moved if name.startswith("backbone."))
    config = json.loads((tmp_path / "models/x/config.json").read_text())
    assert config["met_before"] == ["p0", "p1", "p2", "p3", "p4"]
    system(stages).fit(training(of), targets_of(of), out=tmp_path, name="x")  # nothing is trained again


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ([Stage("a"), Stage("a")], "Two stages are named a"),
        ([Stage("a"), Stage("b", companion=True)], "The last stage, b, is the one that is scored"),
        ([Stage("a", recipe="x.yaml")], "The last stage, a, is the one that is scored"),
    ],
)
def test_stages_that_do_not_go_together(tmp_path, stages, sentence):
    of = study()
    with pytest.raises(NeurodecError, match=sentence):
        system(stages).fit(training(of), targets_of(of), out=tmp_path, name="x")


def test_weights_that_mean_something_else_are_refused(tmp_path):
    of = study()
    fitted = system(epochs=1)
    fitted.fit(training(of), targets_of(of), out=tmp_path / "one", name="x")
    other = {**ENCODER, "init_args": {**ENCODER["init_args"], "temporal_layout": "published"}}
    stage = Stage("b", start=str(tmp_path / "one/models/x"))
    again = LightningSystem(other, {"class_path": "neurodec.training.LabelObjective"}, stages=[stage])
    with pytest.raises(NeurodecError, match="has temporal_layout: transposed, and this one has published"):
        again.fit(training(of), targets_of(of), out=tmp_path / "two", name="x")


def test_a_foundation_model_of_braindecode_takes_the_same_stages(tmp_path):
    models = pytest.importorskip("braindecode.models", reason="braindecode brings the models")
    sizes = {"n_layer": 1, "nhead": 2, "dim_feedforward": 50}
    torch.manual_seed(0)
    pretrained = models.CBraMod(n_outputs=3, n_chans=5, n_times=400, sfreq=200, **sizes)
    pretrained.save_pretrained(tmp_path / "hub")
    encoder = {"class_path": "braindecode.models.CBraMod", "init_args": sizes}
    fresh = [f"encoder.{name}" for name in pretrained.state_dict() if name.startswith("final_layer")]
    assert fresh
    stages = [
        Stage("random", companion=True, max_epochs=1),
        Stage("tuned", start=str(tmp_path / "hub"), fresh=fresh, trained=fresh, max_epochs=1),
    ]
    trials = study().trials
    four = np.repeat(np.asarray(trials.responses), 4, axis=-1)
    of = Study.of(Trials(four, trials.table, {**trials.info, "sfreq": 200.0}))
    fitted = LightningSystem(
        encoder,
        {"class_path": "neurodec.training.LabelObjective"},
        data=TrainingData(16),
        trainer={"accelerator": "cpu"},
        stages=stages,
    )
    fitted.fit(training(of), targets_of(of), out=tmp_path, name="x")
    assert fitted.predict(of.part("test")).of("label").shape == (16, 2)
    assert list(fitted.companions()) == ["random"]
    own, theirs = fitted.encoder.state_dict(), pretrained.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own if f"encoder.{name}" not in fresh)


def test_csbrain_is_an_estimator_of_skorch():
    skorch = pytest.importorskip("skorch", reason="skorch wraps networks as estimators")
    pipeline = pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    trials = study().trials
    x = np.asarray(trials.responses)
    y = (trials.table["concept"] == "right").to_numpy(dtype=np.int64)
    net = skorch.NeuralNetClassifier(
        CSBrain,
        module__n_chans=5,
        module__n_times=100,
        module__n_outputs=2,
        module__sfreq=50.0,
        module__ch_names=NAMES,
        module__units="100 uV",
        **{f"module__{name}": value for name, value in ENCODER["init_args"].items()},
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=3e-3,
        max_epochs=12,
        batch_size=16,
        verbose=0,
    )
    scaled = preprocessing.FunctionTransformer(lambda values: values.astype(np.float32))
    torch.manual_seed(0)
    estimator = pipeline.Pipeline([("single", scaled), ("net", net)]).fit(x[:80], y[:80])
    assert estimator.predict(x[80:]).shape == (16,)
    assert estimator.predict_proba(x[80:]).shape == (16, 2)
    assert estimator.score(x[:80], y[:80]) > 0.6


def test_a_probe_reads_frozen_tokens(tmp_path):
    trials = study(n_each=32).trials
    classes = (trials.table["concept"] == "right").to_numpy(dtype=int)
    people = np.unique(trials.table["subject"], return_inverse=True)[1]
    CSBrain(5, 100, 2, 50.0, NAMES, **ENCODER["init_args"]).save_pretrained(tmp_path / "kept")
    probe = ProbeClassifier(encoder_args={**ENCODER["init_args"], "start": str(tmp_path / "kept")})
    told = probe.for_trials(trials.info)
    first = trials.responses[:128], classes[None, :128], people[:128].astype(str), people[:128]
    found = told.fit(*first).scores(trials.responses[128:], people[128:])[0]
    assert (found.argmax(axis=1) == classes[128:]).mean() > 0.8  # untrained tokens hold rhythms by channel
    again = told.fit(*first).scores(trials.responses[128:], people[128:])[0]
    np.testing.assert_array_equal(found, again)
    whole = ProbeClassifier(encoder_args=ENCODER["init_args"], per_channel=False).for_trials(trials.info)
    assert whole.fit(*first).scores(trials.responses[128:], people[128:]).shape == (1, 64, 2)
    with pytest.raises(NeurodecError, match="ATM has no tokens"):
        ProbeClassifier("neurodec.encoders.ATM")
