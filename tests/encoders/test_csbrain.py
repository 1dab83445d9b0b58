"""CSBrain: its layers against what they are said to do, the faults of the release, montages, and keeping it."""

import shutil
from itertools import pairwise

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.signal import resample
from torch.nn import functional as F

from neurodec.data import Study, Trials
from neurodec.data.trial_tables import with_defaults
from neurodec.encoders import CSBrain
from neurodec.encoders.csbrain.backbone import (
    CSBrainBackbone,
    RegionalTokenizer,
    TemporalTokenizer,
    load_backbone,
)
from neurodec.encoders.csbrain.brain_regions import Montage, published_tables
from neurodec.encoders.csbrain.csbrain import n_samples_of, resampled
from neurodec.encoders.csbrain.output_heads import SequenceHead, hidden_errors
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.preprocessing.channels import standard_positions
from neurodec.preprocessing.electrodes import modern_name, plain_name, region_of
from neurodec.preprocessing.splines import spline_matrix
from neurodec.systems import ContrastiveClassifier, LightningSystem
from neurodec.training import TrainingData

SMALL = {"patch_size": 50, "n_layers": 2, "n_heads": 2, "ffn_dim": 60}
NAMES = ["Fz", "C3", "C4", "P3", "P4", "T7", "O1", "O2"]


def montage(names=NAMES, table=None):
    return Montage.of(names, table)


def backbone(names=NAMES, seed=0, **options):
    torch.manual_seed(seed)
    return CSBrainBackbone(montage(names), **{**SMALL, **options}).eval()


def patches(n_chans=8, n_patches=7, n_batch=2, seed=1):
    return torch.randn(n_batch, n_chans, n_patches, 50, generator=torch.Generator().manual_seed(seed)) * 0.3


@pytest.mark.parametrize(
    ("name", "counts", "share", "keys"),
    [
        ("pretraining", [7, 3, 4, 2, 3], 0.391, (5, 13)),
        ("bciciv2a", [1, 4, 0, 0, 17], 0.202, (3, 22)),
        ("tuab", [8, 2, 4, 0, 2], 0.328, (4, 8)),
        ("chb-mit", [8, 4, 2, 0, 2], 0.328, (4, 8)),
        ("faced", [11, 5, 2, 5, 7], 0.260, (5, 23)),
        ("shu-mi", [11, 3, 4, 5, 7], 0.278, (5, 17)),
        ("seed-v", [14, 16, 6, 5, 21], 0.125, (5, 21)),
        ("seed-vig", [0, 6, 6, 3, 2], 0.308, (4, 10)),
        ("siena", [9, 3, 4, 2, 11], 0.263, (5, 18)),
        ("bcic2020-3", [25, 9, 6, 10, 14], 0.134, (5, 19)),
        ("isruc", [2, 0, 0, 2, 2], 0.5, (3, 3)),
        ("hmc", [1, 0, 0, 1, 2], 0.875, (3, 4)),
    ],
)
def test_published_montages_attend_as_counted(name, counts, share, keys):
    channels = published_tables()[name]["channels"]
    found = Montage.of(channels, name)
    assert found.counts == counts
    mask = found.mask()
    assert mask.float().mean().item() == pytest.approx(share, abs=6e-4)
    per_row = mask.sum(dim=1)
    assert (int(per_row.min()), int(per_row.max())) == keys
    assert bool((mask == mask.T).all())
    assert bool(mask.diagonal().all())
    shuffled = np.random.default_rng(0).permutation(channels).tolist()  # any order of the user's
    other = Montage.of(shuffled, name)
    assert [plain_name(shuffled[place]) for place in other.order] == [
        plain_name(channels[place]) for place in found.order
    ]


def test_the_pretraining_order_is_the_published_one():
    found = Montage.of(published_tables()["pretraining"]["channels"], "pretraining")
    assert found.order == (0, 10, 2, 16, 3, 11, 1, 6, 18, 7, 12, 14, 15, 13, 8, 9, 4, 17, 5)
    pairs = Montage.of(published_tables()["tuev"]["channels"], "tuev")
    assert pairs.order == (0, 8, 9, 1, 13, 5, 4, 12, 11, 15, 2, 3, 7, 6, 10, 14)
    assert len(published_tables()) == 17
    new = [
        {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}.get(name, name)
        for name in published_tables()["pretraining"]["channels"]
    ]
    assert (
        Montage.of(new, "pretraining").order == found.order
    )  # old names and new ones are the same electrodes
    # the release lists FT7 and FT8 in two regions, and cannot be built; here they are temporal
    both = Montage.of(published_tables()["physionet-mi"]["channels"], "physionet-mi")
    assert both.counts == [24, 9, 8, 9, 14]


def test_names_tell_regions_and_unknown_ones_are_refused():
    wanted = {"Fp1": 0, "AF7": 0, "FC3": 0, "F8": 0, "P7": 1, "FT8": 2, "T3": 2, "T7": 2, "TP9": 2, "PO3": 3}
    wanted |= {"Oz": 3, "Iz": 3, "C3": 4, "CP5": 4, "EEG FP1-REF": 0, "EEG T3-LE": 2, "F7-T7": 0}
    assert {name: region_of(name) for name in wanted} == wanted
    assert plain_name("EEG Fp1-REF") == "FP1"
    assert modern_name("EEG T3-LE") == "T7"
    assert modern_name("T5-O1") == "P7-O1"
    found = Montage.of(["O2", "F4", "Fz", "O1", "F3"])
    assert [found.names[place] for place in found.order] == ["F3", "Fz", "F4", "O1", "O2"]
    for names, sentence in (
        (["Cz", "EKG1"], "Channel EKG1 follows no naming"),
        (["Cz", "E12"], "follows no naming"),
        (["Cz", "CZ"], "CZ occurs twice"),
        ([], "holds no channel"),
    ):
        with pytest.raises(NeurodecError, match=sentence):
            Montage.of(names)
    with pytest.raises(NeurodecError, match="no published montage nose"):
        Montage.of(NAMES, "nose")
    with pytest.raises(NeurodecError, match="are missing"):
        Montage.of(NAMES, "isruc")
    with pytest.raises(NeurodecError, match=r"no region for the channel\(s\) T7"):
        Montage.of(NAMES, {"frontal": ["Fz"], "4": ["C3", "C4"], "1": ["P3", "P4"], "3": ["O1", "O2"]})
    with pytest.raises(NeurodecError, match="mixes regions"):
        Montage((0, 1), (1, 0))


def test_channels_in_any_order_give_the_same_tokens():
    model, x = backbone(), patches()
    places = np.random.default_rng(0).permutation(8)
    other = backbone([NAMES[place] for place in places])
    mask = torch.rand(2, 8, 7) < 0.4
    torch.testing.assert_close(
        other(x[:, places], mask[:, places]), model(x, mask)[:, places], rtol=1e-4, atol=1e-4
    )


def test_a_patch_reaches_two_further_ones_and_no_more():
    torch.manual_seed(0)
    h = torch.randn(1, 2, 9, 50)
    changed = h.clone()
    changed[:, 0, 4] += 1.0
    for layout, wanted in (("transposed", {2, 3, 4, 5, 6}), ("published", set(range(9)))):
        torch.manual_seed(1)
        tokenizer = TemporalTokenizer(50, layout)
        moved = (tokenizer(changed) - tokenizer(h)).abs().amax(dim=-1)[0] > 1e-6
        assert set(moved[0].nonzero().ravel().tolist()) == wanted, layout
        assert not moved[1].any()  # another channel


def test_regions_are_circles_of_their_own():
    torch.manual_seed(0)
    tokenizer, h = RegionalTokenizer(50), torch.randn(1, 7, 1, 50)
    counts = [4, 1, 0, 2, 0]
    found = tokenizer(h, counts)
    turned = torch.cat([h[:, :4].roll(1, dims=1), h[:, 4:]], dim=1)
    moved = tokenizer(turned, counts)
    torch.testing.assert_close(moved[:, :4], found[:, :4].roll(1, dims=1))
    torch.testing.assert_close(moved[:, 4:], found[:, 4:])
    single = h[:, 4].transpose(1, 2)  # (1, D, 1): zeros on both sides, so only the middle taps count
    wanted = torch.cat(
        [
            F.conv1d(single, conv.weight[..., conv.kernel_size[0] // 2, None], conv.bias)
            for conv in tokenizer.regions[1]
        ],
        dim=1,
    )
    torch.testing.assert_close(found[:, 4].transpose(1, 2), wanted)


def test_up_to_five_patches_are_one_window_whose_attention_is_the_values():
    layer = backbone().layers[0]
    z = torch.randn(2, 8, 5, 50)
    found = layer.between_windows(z)
    windows = z.reshape(2, 8, 1, 5, 50).transpose(2, 3)
    attended = layer._attend(layer.inter_window_attn, windows).transpose(2, 3).reshape(z.shape)
    torch.testing.assert_close(found, attended)


def test_the_corrected_loss_is_zero_for_what_copies_its_input():
    x = patches()
    mask = torch.rand(2, 8, 7) < 0.5
    squared, n_samples = hidden_errors(x, x, mask)
    assert (squared == 0).all()
    assert n_samples.tolist() == (50 * mask.sum(dim=(1, 2))).tolist()
    order = torch.tensor(montage().order)
    assert hidden_errors(x, x, mask, order)[0].min() > 1  # the release asks for other channels' samples


def test_scaled_tokens_keep_their_size_through_twelve_layers():
    x = 0.3 * torch.randn(1, 19, 6, 200, generator=torch.Generator().manual_seed(0))
    sizes = {}
    for how in ("scaled", "published"):
        torch.manual_seed(0)
        names = [f"{side}{number}" for side in ("F", "C", "P") for number in range(1, 7)] + ["Cz"]
        model = CSBrainBackbone(Montage.of(names), initialisation=how).eval()
        with torch.no_grad():
            sizes[how] = model(x).std().item()
    assert sizes["scaled"] < 20
    assert sizes["published"] > 200  # as measured on the release: about 1900
    first, last = model.layers[0].inter_window_attn, model.layers[-1].inter_window_attn
    torch.testing.assert_close(first.in_proj_weight, last.in_proj_weight)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert n_parameters + 200 * 200 + 200 == 8_902_000  # with the layer that reconstructs


def published(model):
    """Return a backbone's tensors under the authors' names."""
    names = {
        "temporal.": "TemEmbedEEGLayer.",
        "regional.regions.": "BrainEmbedEEGLayer.region_blocks.region_",
    }
    state = {}
    for name, values in model.state_dict().items():
        for ours, theirs in names.items():
            if name.startswith(ours):
                name, values = (
                    name.replace(ours, theirs),
                    (values.unsqueeze(-1) if values.ndim == 3 else values),
                )
        name = f"encoder.{name}" if name.startswith("layers.") else name
        state[f"module.backbone.{name}"] = values
    return state


def test_published_checkpoints_load_whole_or_not_at_all(tmp_path):
    model = backbone(temporal_layout="published")
    state = published(model)
    state["module.classifier.weight"] = torch.zeros(3, 3)
    loaded, heads = load_backbone(state, montage(), "file", n_heads=2)
    torch.testing.assert_close(loaded(patches()), model(patches()))
    assert set(heads) == {"classifier.weight"}
    torch.save(state, tmp_path / "CSBrain.pth")
    arguments = {"n_chans": 8, "n_times": 350, "n_outputs": 4, "ch_names": NAMES, **SMALL}
    whole = CSBrain(**arguments, temporal_layout="published", start=str(tmp_path / "CSBrain.pth"))
    torch.testing.assert_close(whole.backbone.eval()(patches()), model(patches()))
    with pytest.raises(NeurodecError, match="set temporal_layout: published"):
        CSBrain(**arguments, start=str(tmp_path / "CSBrain.pth"))
    short = {name: values for name, values in state.items() if "norm2.weight" not in name}
    with pytest.raises(NeurodecError, match=r"norm2.weight is missing.*nothing was loaded"):
        load_backbone(short, montage(), "file", n_heads=2)
    with pytest.raises(NeurodecError, match="holds no backbone of CSBrain"):
        load_backbone({"a": torch.zeros(1)}, montage(), "file")


@pytest.mark.parametrize(
    ("prefix", "places", "widths", "activation"),
    [
        ("feed_forward", (0, 3, 6), (1400, 200), "elu"),  # BCIC-IV-2a
        ("classifier", (0, 3, 6), (1400, 200), "elu"),  # TUEV
        ("classifier", (0, 2, 4), (1400, 200), "elu"),  # without dropout between them
        ("classifier", (0, 3, 6), (800, 200), "elu"),  # SEED-V
        ("classifier", (0, 3, 6), (1400, 200), "gelu"),  # mental arithmetic
    ],
)
def test_every_published_head_is_read(tmp_path, prefix, places, widths, activation):
    model = backbone(temporal_layout="published").eval()
    n_inputs = 8 * 7 * SMALL["patch_size"]
    layers = [torch.nn.Linear(*sizes) for sizes in pairwise((n_inputs, *widths, 3))]
    state = published(model)
    for place, layer in zip(places, layers, strict=True):
        state |= {f"module.{prefix}.{place}.{name}": value for name, value in layer.state_dict().items()}
    torch.save(state, tmp_path / "tuned.pth")
    found = CSBrain.load_published(tmp_path / "tuned.pth", NAMES, activation=activation, n_heads=2)
    x = patches()
    rows, activate = model(x).flatten(1), {"elu": F.elu, "gelu": F.gelu}[activation]
    for layer in layers[:-1]:
        rows = activate(layer(rows))
    torch.testing.assert_close(found(x.flatten(2)), layers[-1](rows))
    found.save_pretrained(tmp_path / "ours")
    again = CSBrain.from_pretrained(tmp_path / "ours")
    torch.testing.assert_close(again(x.flatten(2)), found(x.flatten(2)))


def test_the_published_head_of_sleep_is_read(tmp_path):
    model, width, length = backbone(temporal_layout="published").eval(), SMALL["patch_size"], 3
    head = SequenceHead(8, 7, width, 5).eval()
    state = published(model) | {f"module.{name}": value for name, value in head.state_dict().items()}
    torch.save(state, tmp_path / "sleep.pth")
    found = CSBrain.load_published(tmp_path / "sleep.pth", NAMES, sequence=length, n_heads=2)
    epochs = torch.randn(2, length, 8, 7, width)
    expected = head(model(epochs.flatten(0, 1)).unflatten(0, (2, length)))
    logits = found(epochs.transpose(1, 2).flatten(2))
    torch.testing.assert_close(logits, expected)
    with pytest.raises(NeurodecError, match="does not divide into a `sequence` of 1"):
        CSBrain.load_published(tmp_path / "sleep.pth", NAMES, sequence=1, n_heads=2)


def test_a_head_of_something_else_is_refused(tmp_path):
    state = published(backbone(temporal_layout="published"))
    torch.save(state | {"module.other.weight": torch.zeros(2, 2)}, tmp_path / "a.pth")
    with pytest.raises(NeurodecError, match=r"head of other\.weight, which is none of CSBrain's"):
        CSBrain.load_published(tmp_path / "a.pth", NAMES, n_heads=2)


def test_windows_are_resampled_and_filled():
    times = np.arange(250) / 250
    wave = np.sin(2 * np.pi * 7 * times)
    found = resampled(torch.from_numpy(wave), 200).numpy()
    np.testing.assert_allclose(found, np.sin(2 * np.pi * 7 * np.arange(200) / 200), atol=1e-4)
    x = np.random.default_rng(0).normal(size=(3, 251))
    for values in (x, x[:, :250]):
        for n in (200, 201, 400, 333, values.shape[1]):
            found = resampled(torch.from_numpy(values), n).numpy()
            np.testing.assert_allclose(found, resample(values, n, axis=-1), atol=1e-5)
    assert n_samples_of(70, 128.0, 200, "stretch") == 200  # 0.55 s become a second
    assert n_samples_of(70, 128.0, 200, "pad") == 109
    model = CSBrain(8, 70, 3, 128.0, NAMES, fill="pad", **{**SMALL, "patch_size": 50})
    found = model.patches(torch.ones(1, 8, 70))
    assert found.shape == (1, 8, 1, 50)
    assert (found[..., 27:] == 0).all()


def test_a_sequence_of_epochs_has_the_classes_of_each():
    torch.manual_seed(0)
    model = CSBrain(8, 600, 3 * 5, 50.0, NAMES, head="sequence", sequence=3, **SMALL).eval()
    x = torch.randn(2, 8, 600)
    assert model(x).shape == (2, 3, 5)
    tokens = model.tokens(x)
    alone = CSBrain(8, 200, 5, 50.0, NAMES, **SMALL).eval()
    alone.backbone.load_state_dict(model.backbone.state_dict())
    torch.testing.assert_close(tokens[:, 1], alone.tokens(x[..., 200:400]))
    for changes in ({"sequence": 4}, {"head": "pooled"}):
        with pytest.raises(NeurodecError, match="does not divide into a `sequence`"):
            CSBrain(8, 600, 15, 50.0, NAMES, **{"head": "sequence", "sequence": 3, **SMALL, **changes})


def test_attention_between_regions_adds_up_and_follows_the_mask():
    torch.manual_seed(0)
    names = published_tables()["pretraining"]["channels"]
    model = CSBrain(19, 1000, 2, 200.0, names, regions="pretraining", **{**SMALL, "patch_size": 200}).eval()
    x = torch.randn(2, 19, 1000)
    values, regions = model.region_attention(x, "all")
    assert regions == ["frontal", "parietal", "temporal", "occipital", "central"]
    torch.testing.assert_close(values.sum(dim=1), torch.ones(5))
    uniform = CSBrain(19, 1000, 2, 200.0, names, regions="pretraining", **{**SMALL, "patch_size": 200}).eval()
    for layer in uniform.backbone.layers:
        torch.nn.init.zeros_(layer.inter_region_attn.in_proj_weight)
    layout = uniform.backbone.layout
    allowed = layout.mask.float() / layout.mask.sum(dim=1, keepdim=True)
    wanted = layout.averaging @ allowed @ (layout.averaging > 0).float().T
    torch.testing.assert_close(uniform.region_attention(x, "all")[0], wanted)


@pytest.mark.parametrize("head", ["pooled", "attention", "flatten"])
def test_it_is_kept_with_its_montage_and_moves_to_others(head, tmp_path):
    torch.manual_seed(0)
    model = CSBrain(8, 300, 4, 100.0, NAMES, head=head, **SMALL).eval()
    x = torch.randn(3, 8, 300)
    wanted = model(x)
    assert wanted.shape == (3, 4)
    model.save_pretrained(tmp_path / "kept")
    torch.testing.assert_close(CSBrain.from_pretrained(tmp_path / "kept")(x), wanted)
    fewer = CSBrain.from_pretrained(
        tmp_path / "kept", ch_names=["Cz", "Oz"], n_times=512, sfreq=256.0, n_outputs=2
    )
    assert fewer(torch.randn(1, 2, 512)).shape == (1, 2)
    for name, values in model.backbone.state_dict().items():
        torch.testing.assert_close(fewer.backbone.state_dict()[name], values)
    started = CSBrain(
        2,
        512,
        2,
        256.0,
        chs_info=[{"ch_name": "Cz"}, {"ch_name": "Oz"}],
        start=str(tmp_path / "kept"),
        **SMALL,
    )
    torch.testing.assert_close(started.eval().backbone.state_dict(), fewer.backbone.state_dict())
    with pytest.raises(NeurodecError, match="temporal_layout: transposed"):
        CSBrain(8, 300, 4, 100.0, NAMES, start=str(tmp_path / "kept"), temporal_layout="published", **SMALL)
    model.reset_head(7)
    assert model(x).shape == (3, 7)


def test_bad_sizes_are_told():
    with pytest.raises(NeurodecError, match="give a multiple of 25"):
        CSBrain(8, 300, 4, 100.0, NAMES, **{**SMALL, "patch_size": 60})
    with pytest.raises(NeurodecError, match="needs the names of the 8 channels"):
        CSBrain(8, 300, 4, 100.0, **SMALL)
    with pytest.raises(NeurodecError, match="have 7 channels"):
        backbone()(patches(7))


def test_gradients_under_dropout_and_half_precision():
    model = backbone(dropout=0.1).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(patches(n_patches=3)).float().square().mean()
    loss.backward()
    grads = {name: own.grad for name, own in model.named_parameters() if own.requires_grad}
    assert not [name for name, grad in grads.items() if grad is None]  # every region is there, so all learn
    assert all(torch.isfinite(grad).all() for grad in grads.values())


def labelled(n_chans=8, n_times=100, n_classes=3, n=90, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    times = np.arange(n_times) / 100
    waves = np.stack([np.sin(2 * np.pi * (4 + 5 * label) * times) for label in range(n_classes)])
    weights = rng.normal(size=(n_classes, n_chans))
    clean = np.einsum("kc,kt->kct", weights, waves)[labels]
    return (clean + 0.8 * rng.normal(size=clean.shape)).astype(np.float32), labels


def test_it_classifies_whatever_channels_a_recording_names():
    responses, labels = labelled()
    info = {"modality": "eeg", "sfreq": 100.0, "ch_names": NAMES, "ch_pos": None}
    small = {**SMALL, "n_layers": 1, "dropout": 0.0, "scale": 1.0}
    decoder = ContrastiveClassifier(CSBrain, small, n_outputs=8, n_epochs=15, lr=3e-3, use_subject=False)
    told = decoder.for_trials(info)
    assert told.encoder_args["ch_names"] == NAMES
    groups = np.zeros(60)
    subjects = np.array(["a"] * 60)
    fitted = told.fit(responses[:60], labels[None, :60], groups, subjects)
    scores = fitted.scores(responses[60:], np.array(["b"] * 30))[0]
    assert (scores.argmax(axis=1) == labels[60:]).mean() > 0.6  # chance 0.33


def test_it_is_an_encoder_of_a_system_and_starts_from_weights_once(tmp_path):
    responses, labels = labelled()
    rng = np.random.default_rng(1)
    names = [f"s{row:02d}" for row in range(90)]
    table = pd.DataFrame({"stimulus": names, "concept": names, "split": "train", "subject": "01"})
    positions = [[0.01 * row, 0.0, 0.1] for row in range(8)]
    info = {
        "modality": "eeg",
        "units": "a.u.",
        "sfreq": 100.0,
        "tmin": 0.0,
        "ch_names": NAMES,
        "ch_pos": positions,
    }
    study = Study.of(Trials(responses, with_defaults(table), info))
    values = np.eye(3, 6)[labels] + 0.1 * rng.normal(size=(90, 6))
    targets = {"image": Features(values.astype(np.float32), names, {"embedding_space": "x", "key": "k"})}
    CSBrain(8, 100, 6, 100.0, NAMES, **SMALL).save_pretrained(tmp_path / "start")
    encoder = {
        "class_path": "neurodec.encoders.CSBrain",
        "init_args": {**SMALL, "start": str(tmp_path / "start")},
    }
    trainer = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
    system = LightningSystem(encoder, data=TrainingData(batch_size=30), trainer=trainer)
    system.fit(study, targets, out=tmp_path, name="fold")
    told = system.config["encoder"]["init_args"]
    assert told["ch_names"] == NAMES
    assert told["chs_info"][1]["loc"][:3] == pytest.approx([0.01, 0.0, 0.1])
    assert "start" not in told
    shutil.rmtree(tmp_path / "start")  # the trained one has its own weights
    again = LightningSystem.from_pretrained(tmp_path / "models/fold")
    np.testing.assert_allclose(again.predict(study).of("image"), system.predict(study).of("image"), atol=1e-5)


def chs_info(names, places):
    return [{"ch_name": name, "loc": [*place, *[0.0] * 9]} for name, place in zip(names, places, strict=True)]


def test_places_stand_in_for_names_that_tell_nothing():
    names = ["Fz", "C3", "P4", "O1", "T7"]
    places = standard_positions(names)
    plain = Montage.of(names)
    assert Montage.of(["E1", "C3", "E3", "O1", "E5"], None, places).regions == plain.regions
    assert Montage.of(names, None, places) == plain
    with pytest.raises(NeurodecError, match="Channel E1 follows no naming"):
        Montage.of(["E1", "C3"])
    biosemi = mne.channels.make_standard_montage("biosemi128")
    info = mne.create_info(biosemi.ch_names, 100.0, "eeg").set_montage(biosemi)
    where = [channel["loc"][:3].tolist() for channel in info["chs"]]
    counted = Montage.of(biosemi.ch_names, None, where)  # C1 is frontal on this cap, and A1 is the vertex
    regions = dict(zip(biosemi.ch_names, counted.regions, strict=True))
    assert regions["A1"] == 4
    assert regions["C17"] == 0
    assert regions["A23"] == 3
    model = CSBrain(5, 200, 2, 100.0, chs_info=chs_info(["E1", "C3", "E3", "O1", "E5"], places), **SMALL)
    assert model.backbone.layout.montage.regions == plain.regions


def test_other_montages_are_brought_to_the_models_own(tmp_path):
    torch.manual_seed(0)
    wanted = ["F3", "F4", "C3", "C4", "O1", "O2"]
    own = CSBrain(6, 200, 2, 100.0, wanted, **SMALL).eval()
    names = ["AF3", "AF4", "FC3", "FC4", "CP3", "CP4", "PO3", "PO4"]
    model = CSBrain(8, 200, 2, 100.0, names, interpolate_to=wanted, **SMALL).eval()
    model.load_state_dict(own.state_dict())
    x = torch.randn(2, 8, 200)
    matrix = spline_matrix(np.array(standard_positions(names)), np.array(standard_positions(wanted)))
    torch.testing.assert_close(model(x), own(torch.from_numpy(matrix).float() @ x))
    model.save_pretrained(tmp_path / "kept")
    torch.testing.assert_close(CSBrain.from_pretrained(tmp_path / "kept")(x), model(x))
    with pytest.raises(NeurodecError, match="needs the places of all channels"):
        CSBrain(3, 200, 2, 100.0, ["E1", "E2", "E3"], interpolate_to=wanted, **SMALL)
