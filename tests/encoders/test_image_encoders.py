"""NICE, NeuroBridge, MindBridge and several encoders together: sizes, gradients, files of the authors, refusals.

That they equal the authors' code is in tests/test_parity.py.
"""

import pytest
import torch

from neurodec.encoders import NICE, MindBridge, NeuroBridge, Together
from neurodec.encoders.checkpoints import take_exactly
from neurodec.encoders.mindbridge import pool_voxels
from neurodec.encoders.neurobridge import published_projector
from neurodec.errors import NeurodecError
from neurodec.training.objectives.shared_space import SharedSpaceObjective

BACKBONES = ["eegproject", "tsconv", "eegnet", "transformer"]
SIZES = {"n_chans": 5, "n_times": 100, "n_outputs": 12}


def every_parameter_learns(model, *inputs, **options):
    torch.manual_seed(0)
    found = model.train()(*inputs, **options)
    found = found if isinstance(found, dict) else {"image": found}
    sum(value.square().sum() for value in found.values()).backward()
    return all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("sizes", [(5, 100), (17, 250), (63, 75)])
def test_nice_takes_any_montage_and_window(sizes):
    n_chans, n_times = sizes
    model = NICE(n_chans, n_times, 12)
    response = torch.randn(4, n_chans, n_times)
    assert model(response).shape == (4, 12)
    assert every_parameter_learns(model, response)


def test_a_row_does_not_know_of_the_others():
    torch.manual_seed(0)
    response = torch.randn(6, 5, 100)
    for model in (NICE(**SIZES), *(NeuroBridge(**SIZES, backbone=name) for name in BACKBONES)):
        model.eval()
        torch.testing.assert_close(model(response[2:3]), model(response)[2:3], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("projector", "width"), [("linear", 8), ("mlp", 8), ("direct", 12)])
def test_neurobridge_ends_in_the_shared_space(backbone, projector, width):
    model = NeuroBridge(**SIZES, backbone=backbone, projector=projector, projector_dim=width)
    response = torch.randn(4, 5, 100)
    assert model(response).shape == (4, width)
    assert every_parameter_learns(model, response)


@pytest.mark.parametrize("kind", [NICE, lambda **sizes: NeuroBridge(**sizes, backbone="eegnet")])
def test_short_windows_are_refused(kind):
    with pytest.raises(NeurodecError, match="these have 60; lengthen the epochs"):
        kind(n_chans=5, n_times=60, n_outputs=12)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_other_files_are_refused(tmp_path, content):
    file = tmp_path / "a.pth"
    if content is None:
        torch.save({"weight": torch.zeros(2)}, file)
    else:
        file.write_bytes(content)
    for load in (NeuroBridge.load_published, MindBridge.load_published):
        with pytest.raises(NeurodecError):
            load(file)
    with pytest.raises(NeurodecError):
        NICE.load_published(file, file)


def published_project(n_inputs=5 * 100, width=12):
    names = {"model.0": (width, n_inputs), "model.1.f.1": (width, width), "model.2": (width,)}
    state = {f"{name}.weight": torch.randn(shape) for name, shape in names.items()}
    return state | {f"{name}.bias": torch.randn(width) for name in names}


def test_channels_that_a_file_does_not_tell_are_asked_for(tmp_path):
    whole = {"model_state_dict": published_project(), "eeg_projector_state_dict": {}}
    torch.save(whole, tmp_path / "a.pth")
    with pytest.raises(NeurodecError, match=r"give `n_chans` \(17 as published\)"):
        NeuroBridge.load_published(tmp_path / "a.pth")
    model = NeuroBridge.load_published(tmp_path / "a.pth", n_chans=5)
    assert model(torch.randn(2, 5, 100)).shape == (2, 12)


def test_the_projector_with_a_hidden_layer_is_read_too(tmp_path):
    """The authors name its layers mlp.0 and mlp.2, on both sides."""
    theirs = torch.nn.Sequential(torch.nn.Linear(12, 7), torch.nn.ReLU(), torch.nn.Linear(7, 6))
    state = {f"mlp.{name}": value for name, value in theirs.state_dict().items()}
    whole = {"model_state_dict": published_project(), "eeg_projector_state_dict": state}
    torch.save(whole, tmp_path / "a.pth")
    model = NeuroBridge.load_published(tmp_path / "a.pth", n_chans=5).eval()
    x = torch.randn(2, 5, 100)
    torch.testing.assert_close(model(x), theirs(model.backbone(x)))
    options, tensors = published_projector(state, "a")
    objective = SharedSpaceObjective({"image": [12]}, **options)
    take_exactly(objective.projector, tensors, "a")
    image = torch.randn(3, 12)
    torch.testing.assert_close(objective.project("image", image), theirs(image))
    whole["eeg_projector_state_dict"] = {"other.weight": torch.zeros(2, 2)}
    torch.save(whole, tmp_path / "a.pth")
    with pytest.raises(NeurodecError, match=r"projector of other\.weight, which is none of NeuroBridge's"):
        NeuroBridge.load_published(tmp_path / "a.pth", n_chans=5)


def bridge(**options):
    sizes = {"in_dim": 24, "h": 16, "n_blocks": 2, "bottleneck": 4}
    return MindBridge({"a": 20, "b": 31}, {"image": [3, 4], "text": [6]}, **sizes, **options)


@pytest.mark.parametrize("pooling", ["max", "avg", "resize"])
def test_brains_of_any_size_end_in_the_targets_shapes(pooling):
    model = bridge(pooling=pooling)
    for space, n_voxels in (("a", 20), ("b", 31)):
        found = model(torch.randn(5, n_voxels), torch.zeros(5, dtype=torch.long), space=space)
        assert found["image"].shape == (5, 3, 4)
        assert found["text"].shape == (5, 6)
        assert found["_reconstruction"].shape == found["_pooled"].shape == (5, 24)
    assert model.synthesise(torch.randn(5, 20), "a", "b").shape == (5, 24)


def test_a_single_subject_needs_no_builder():
    model = MindBridge({"a": 20}, {"image": [6]}, in_dim=24, h=16, n_blocks=1, bottleneck=4, builders=False)
    found = model(torch.randn(5, 20), torch.zeros(5, dtype=torch.long), space="a")
    assert set(found) == {"image", "_pooled", "_embedding"}
    with pytest.raises(NeurodecError, match="was trained on a, not on b"):
        model(torch.randn(5, 20), torch.zeros(5, dtype=torch.long), space="b")


def test_adapters_begin_as_the_identity():
    torch.manual_seed(0)
    model, pooled = bridge().eval(), torch.randn(5, 24)
    torch.testing.assert_close(model.embedder["a"][0](pooled), pooled)


@pytest.mark.parametrize(("n_voxels", "n_bins"), [(20, 6), (7, 7), (5, 12)])
def test_bins_are_those_of_the_definition(n_voxels, n_bins):
    voxels = torch.randn(3, n_voxels)
    edges = [(i * n_voxels // n_bins, -(-(i + 1) * n_voxels // n_bins)) for i in range(n_bins)]
    for kind, reduce in (("max", lambda part: part.amax(1)), ("avg", lambda part: part.mean(1))):
        expected = torch.stack([reduce(voxels[:, start:stop]) for start, stop in edges], dim=1)
        torch.testing.assert_close(pool_voxels(voxels, n_bins, kind), expected)
    if n_voxels == n_bins:
        torch.testing.assert_close(pool_voxels(voxels, n_bins, "resize"), voxels)


def together(**changes):
    arguments = {
        "parts": {"image": "neurodec.encoders.ATM", "latents": "neurodec.encoders.ATMLowLevel"},
        "arguments": {"image": {"d_ff": 16}, "latents": {"n_features": 3, "widths": [8, 6]}},
        "heads": {"image": [12], "latents": [4, 4, 4]},
    }
    return Together(n_chans=5, n_times=100, n_subjects=2, **{**arguments, **changes})


def test_several_encoders_predict_a_target_each():
    model = together().eval()
    response, subject = torch.randn(3, 5, 100), torch.tensor([0, 1, -1])
    found = model(response, subject, space="all")
    assert found["image"].shape == (3, 12)
    assert found["latents"].shape == (3, 4, 4, 4)
    torch.testing.assert_close(found["image"], model.parts["image"](response, subject))
    torch.testing.assert_close(model(response)["image"], model(response, torch.full((3,), -1))["image"])
    assert every_parameter_learns(model, response, subject)


def test_a_part_that_passes_its_sizes_on_is_told_them():
    """Braindecode's models take some of them as further keywords."""
    pytest.importorskip("braindecode", reason="braindecode brings the models")
    parts = {"image": "braindecode.models.EEGNet", "latents": "neurodec.encoders.ATMLowLevel"}
    model = together(parts=parts, arguments={"latents": {"n_features": 3, "widths": [8, 6]}}, sfreq=100.0)
    assert model(torch.randn(3, 5, 100))["image"].shape == (3, 12)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"parts": {"sound": "neurodec.encoders.ATM"}}, "names sound, and the targets are image, latents"),
        ({"parts": {}, "arguments": {}}, "names nothing"),
        ({"parts": {"image": "subprocess.Popen"}}, "outside the allowed packages"),
        ({"parts": {"image": "neurodec.data.Trials"}}, "not a subclass of"),
        ({"arguments": {"image": {"colour": 3}}}, "its arguments do not fit"),
    ],
)
def test_parts_that_cannot_be(changes, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        together(**changes)
