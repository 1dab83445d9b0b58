"""WAVE with one head or several, its objective and augmentations, and the plain network on whole volumes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neurodec import LightningSystem, Retrieval, Study, evaluate
from neurodec.encoders import WAVE, WholeVolume
from neurodec.encoders.wave import ParcelTransformer
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.training import Batch, ShuffledTime, SparseInput, TrainingData, TwoTargetContrast

SIZES = {"width": 32, "depth": 1, "n_heads": 2, "dropout": 0.0}


def test_one_head_gives_every_target_the_same_vector():
    found = WAVE(6, 0.5, {"image": [8], "text": [8]}, one_head=True, **SIZES)(torch.randn(3, 6, 5))
    assert found["image"] is found["text"]
    with pytest.raises(NeurodecError, match="gives all targets one vector"):
        WAVE(6, 0.5, {"image": [8], "text": [4]}, one_head=True, **SIZES)


def test_the_authors_file_is_a_start(tmp_path):
    """Their names, with what their class adds, against the network that was filled in."""
    torch.manual_seed(1)
    own = ParcelTransformer(6, 32, 1, 2, dropout=0.0)
    names = {
        "hidden": "embedder.msk_embed",
        "gathering": "embedder.cls_embed",
        "embed.": "embedder.embed_model.model.",
        "times.": "embedder.wt_re.",
        "transformer.": "decoder.transformer.",
        "pooler.": "decoder.pooler_layer.0.",
        "unembed.": "unembedder.model.0.",
    }
    state = {}
    for name, value in own.state_dict().items():
        old = next(key for key in names if name.startswith(key))
        state[names[old] + name.removeprefix(old)] = value
    torch.save({"state_dict": state}, tmp_path / "wave.pt")
    model = WAVE(6, 0.5, {"image": [8]}, start=str(tmp_path / "wave.pt"), **SIZES)
    for name, value in own.state_dict().items():
        torch.testing.assert_close(model.backbone.state_dict()[name], value, rtol=0, atol=0)


def test_the_two_contrasts_have_scales_of_their_own():
    torch.manual_seed(0)
    brain, image, text = (F.normalize(torch.randn(5, 4), dim=-1) for _ in range(3))
    objective, zeros = TwoTargetContrast(multi_positive=False), torch.zeros(5, dtype=torch.long)
    with torch.no_grad():
        objective.text_scale.logit_scale.fill_(0.0)
    batch = Batch({}, {"image": image, "text": text}, torch.arange(5), zeros, zeros, zeros)
    terms = objective({"image": brain, "text": brain}, batch, 0.0)
    truth = torch.arange(5)
    for name, target, scale in (("image", image, 1 / 0.07), ("text", text, 1.0)):
        logits = scale * brain @ target.T
        expected = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 4
        torch.testing.assert_close(terms[name], expected)


def test_augmentations_of_parcels():
    torch.manual_seed(0)
    response = torch.arange(1.0, 2001.0).reshape(10, 40, 5)
    sparse = SparseInput(0.2)(response)
    assert float((sparse == 0).float().mean()) == pytest.approx(0.2, abs=0.03)
    assert torch.equal(sparse[sparse != 0], response[sparse != 0])
    shuffled = ShuffledTime()(response)
    assert torch.equal(shuffled.sort(dim=-1).values, response)
    order = shuffled.argsort(dim=-1)
    assert (order == order[:, :1]).all()  # all parcels of a trial alike
    assert len({tuple(own.tolist()) for own in order[:, 0]}) > 1


def test_voxels_are_put_back_into_their_volume():
    """A volume whose voxels are all there gives the same as one that comes without a mask."""
    torch.manual_seed(0)
    shape = [32, 36, 32]
    inside = np.flatnonzero(np.random.default_rng(0).random(shape) < 0.3)
    model = WholeVolume(len(inside), shape, inside.tolist(), {"image": [8]}, n_filters=2, n_blocks=1).eval()
    response = torch.randn(2, len(inside))
    volume = torch.zeros(2, 1, *shape)
    volume.view(2, -1)[:, torch.as_tensor(inside)] = response
    features = model.norm(F.gelu(model.pool(model.convolution(volume))).flatten(1))
    expected = model.outputs["image"](features + model.blocks[0](features))
    torch.testing.assert_close(model(response)["image"], expected)


@pytest.mark.quality
@pytest.mark.parametrize("encoder", ["parcels", "volume"])
def test_a_new_picture_is_found(encoder):
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(60, 8)).astype(np.float32)
    names = [f"s{number:02d}" for number in range(60)]
    rows = np.concatenate([np.repeat(np.arange(50), 4), np.arange(50, 60)])
    split = np.where(rows < 50, "train", "test").tolist()
    stimuli = [names[row] for row in rows]
    features = {"image": Features.given(targets, names), "text": Features.given(targets, names)}
    n_values = 64 if encoder == "parcels" else 1728
    values = targets[rows] @ rng.normal(size=(8, n_values)) + rng.normal(size=(len(rows), n_values))
    if encoder == "parcels":
        study = Study.from_arrays(
            np.repeat(values[..., None], 5, axis=2) + 0.3 * rng.normal(size=(len(rows), 64, 5)),
            stimuli,
            split=split,
            sfreq=0.5,
            modality="fmri",
            dims=["trial", "parcel", "time"],
            ch_names=[f"parcel-{number}" for number in range(64)],
        )
        kind = {"class_path": "neurodec.encoders.WAVE", "init_args": {**SIZES, "one_head": True}}
        augmentations = [SparseInput(0.2), ShuffledTime()]
    else:
        study = Study.from_arrays(values, stimuli, split=split, modality="fmri")
        study.trials.info.update(
            mask_shape=[12, 12, 12], voxel_indices=list(range(1728)), affine=np.eye(4).tolist()
        )
        kind = {"class_path": "neurodec.encoders.WholeVolume", "init_args": {"n_filters": 2, "n_blocks": 1}}
        augmentations = []
    system = LightningSystem(
        kind,
        TwoTargetContrast,
        {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.002}},
        data=TrainingData(batch_size=50, augmentations=augmentations),
        max_epochs=40 if encoder == "parcels" else 8,
        selection="last",
    )
    with_targets = system.fit(study, features)
    found = evaluate(with_targets, study, features, Retrieval(n_permutations=200, repetition_curve=False))
    assert found.sections["retrieval"]["top1"] > 0.25  # chance .1
