"""The next volume: what needs no network against plain fits and published levels, and a network that learns it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from neurodec import LightningSystem, Study, evaluate, prepare
from neurodec.data import ParcelSeries
from neurodec.encoders import WAVE, WAVEPretraining
from neurodec.errors import NeurodecError
from neurodec.evaluation import NextVolume
from neurodec.evaluation.next_volume import without_network
from neurodec.training import Batch, HiddenVolumeObjective, TrainingData

PARCELS = Path(__file__).resolve().parents[3] / "shared/data/hcp-parcels"
SIZES = {"width": 32, "depth": 1, "n_heads": 2, "dropout": 0.0}


def _series(seed, n_times=600, n_parcels=6):
    """Parcels that follow from each other's past."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(np.random.default_rng(9).normal(size=(n_parcels, n_parcels)))[0] * 0.9
    series = np.zeros((n_parcels, n_times))
    for time in range(1, n_times):
        series[:, time] = mixing @ series[:, time - 1] + 0.4 * rng.normal(size=n_parcels)
    return series


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("parcels")
    for number, who in enumerate("abcd"):
        np.save(root / f"{who}.npy", _series(number))
    reader = ParcelSeries("{subject}.npy", 2.0, held_out=["d"])
    return Study.load(prepare(reader, root, root / "prepared", "subject"))


def test_autoregressions_are_least_squares(study):
    known, asked = (np.asarray(study.part(name).trials.responses, dtype=float) for name in ("train", "test"))
    found = without_network(known, asked)
    for name, order in (("ar1", 1), ("ar5", 5)):
        for parcel in (0, 3):
            past = np.column_stack([known[:, parcel, -1 - order : -1], np.ones(len(known))])
            weights = np.linalg.lstsq(past, known[:, parcel, -1], rcond=None)[0]
            given = np.column_stack([asked[:, parcel, -1 - order : -1], np.ones(len(asked))])
            np.testing.assert_allclose(found[name][:, parcel], given @ weights, atol=1e-6)
    np.testing.assert_array_equal(found["last"], asked[..., -2])


def test_a_network_learns_what_other_parcels_tell(study):
    system = LightningSystem(
        {"class_path": "neurodec.encoders.WAVEPretraining", "init_args": SIZES},
        {"class_path": "neurodec.training.HiddenVolumeObjective", "init_args": {"error": "squared"}},
        {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
        data=TrainingData(batch_size=64, held_out_by="stretch"),
        max_epochs=12,
    )
    system.fit(study.part("train"), {})
    found = evaluate(system, study, {}, NextVolume()).sections["next_volume"]["errors"]
    for simple in ("mean", "last", "ar1"):
        assert found[simple]["system_minus_this"]["ci95"][1] < 0, simple
    assert found["ridge"]["mse"] < found["ar5"]["mse"]


def test_only_what_comes_before_is_seen():
    torch.manual_seed(0)
    model = WAVEPretraining(6, 0.5, **SIZES).eval()
    response = torch.randn(3, 6, 8)
    mask = torch.arange(8) >= torch.tensor([[3], [7], [1]])
    with torch.no_grad():
        before = model(response, mask=mask)["parcels"]
        changed = torch.where(mask[:, None], torch.randn(3, 6, 8), response)
        assert torch.equal(model(changed, mask=mask)["parcels"], before)
        other = model(response + ~mask[:, None], mask=mask)["parcels"]
    assert not torch.allclose(other, before)


def test_the_loss_is_of_the_first_hidden_volume():
    objective = HiddenVolumeObjective("absolute").eval()
    response = torch.randn(4, 6, 5)
    zeros = torch.zeros(4, dtype=torch.long)
    batch = objective.prepare(Batch({"all": response}, {}, zeros, zeros, zeros, zeros), 0.0)
    loss = objective({"parcels": torch.zeros(4, 6)}, batch, 0.0)["loss"]
    assert loss == pytest.approx(float(response[..., -1].abs().mean()))
    objective.train()
    first = {int(own.argmax()) for _ in range(50) for own in objective.prepare(batch, 0.0).mask["all"].int()}
    assert first == {1, 2, 3, 4}


def test_wave_has_a_head_for_every_target_and_refuses_another_atlas(tmp_path):
    model = WAVE(6, 0.5, {"image": [16], "text": [8]}, **SIZES).eval()
    found = model(torch.randn(3, 6, 5))
    assert {name: list(own.shape) for name, own in found.items()} == {"image": [3, 16], "text": [3, 8]}
    with pytest.raises(NeurodecError, match="does not exist"):
        WAVE(6, 0.5, {"image": [16]}, start=str(tmp_path / "none.pt"))


def test_wave_starts_from_a_pre_training_of_ours_at_its_own_rate(tmp_path):
    torch.manual_seed(0)
    before = WAVEPretraining(6, 0.5, **SIZES)
    folder = tmp_path / "pretrained"
    folder.mkdir()
    save_file(before.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"encoder": {"init_args": {"sfreq": 0.5}}}))
    after = WAVE(6, 0.5, {"image": [16]}, start=str(folder), **SIZES)
    for name, own in before.backbone.state_dict().items():
        torch.testing.assert_close(after.backbone.state_dict()[name], own, rtol=0, atol=0)
    with pytest.raises(
        NeurodecError, match="trained at a repetition time of 2 s, and the recordings have 1 s"
    ):
        WAVE(6, 1.0, {"image": [16]}, start=str(folder), **SIZES)
    with pytest.raises(NeurodecError, match="reads 6 parcels, and the recording has 7"):
        WAVE(7, 0.5, {"image": [16]}, start=str(folder), **SIZES)


def test_weights_of_past_volumes_make_an_autoregression():
    """With the transformer's part at zero, what is left is AR(n) of every parcel, shorter where less has passed."""
    model = WAVEPretraining(6, 0.5, n_past=2, **SIZES).eval()
    with torch.no_grad():
        model.backbone.unembed.weight.zero_()
        model.backbone.unembed.bias.zero_()
        model.past.normal_()
    response = torch.randn(3, 6, 5)
    past = model.past.detach()
    expected = past[1, 0] * response[..., 3] + past[1, 1] * response[..., 2]
    torch.testing.assert_close(model(response)["parcels"].detach(), expected)
    mask = torch.arange(5).expand(3, -1) >= 1  # one volume is seen
    torch.testing.assert_close(model(response, mask=mask)["parcels"].detach(), past[0, 0] * response[..., 0])
    assert model.states(response).shape == (3, SIZES["width"])


def test_windows_that_are_too_short_are_refused():
    study = Study.from_arrays(
        np.zeros((3, 4, 3)), ["a", "b", "c"], sfreq=0.5, modality="fmri", dims=["trial", "parcel", "time"]
    )
    with pytest.raises(NeurodecError, match="cut windows of 6 volumes or more"):
        NextVolume().check(study)


@pytest.mark.skipif(not PARCELS.is_dir(), reason="the resting recordings are not beside the project")
def test_four_people_at_rest_have_the_known_levels(tmp_path):
    files = "sub-{subject}/*.mat"
    study = Study.load(prepare(ParcelSeries(files, 0.72, "tc"), PARCELS, tmp_path / "p", "subject"))
    known = {
        "ar1": (0.61, 0.54, 0.66, 0.63),
        "ar5": (0.59, 0.52, 0.63, 0.61),
        "ridge": (0.60, 0.54, 0.63, 0.64),
    }
    windows = {who: np.asarray(study.part(subjects=[who]).trials.responses, float) for who in study.subjects}
    found = {}
    for who in sorted(windows):
        others = np.concatenate([own for other, own in windows.items() if other != who])
        ways = without_network(others, windows[who])
        found[who] = {name: np.square(own - windows[who][..., -1]).mean() for name, own in ways.items()}
    table = pd.DataFrame(found)
    for name, levels in known.items():
        np.testing.assert_allclose(table.loc[name], levels, atol=0.011)
    assert (table.loc["mean"] > 0.95).all()
