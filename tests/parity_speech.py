"""Golden cases of the speech decoder: network, loss, windows, splits and accuracies."""

from __future__ import annotations

from types import ModuleType

import mne
import numpy as np
import pandas as pd
import torch
from parity_inputs import DEVICE, arrays_of, input_of, tensor_of

from neurodec.data.blocks import cut_sounds, merged_blocks, split_of_text
from neurodec.encoders import SimpleConv
from neurodec.encoders.sensor_attention import flattened, fourier_embedding
from neurodec.evaluation.segments.segment_measures import carried, hits, word_scores
from neurodec.preprocessing.sinc import resample_sinc
from neurodec.preprocessing.whitening import sorted_quantile_scale
from neurodec.training.objectives.sequence_contrast import SequenceContrast, sequence_scores

Outputs = dict[str, np.ndarray]
_OPTIONS = (
    "dilation_growth",
    "dilation_period",
    "skip",
    "gelu",
    "initial_nonlin",
    "merger_dropout",
    "dropout",
)
_SPLITS = {"test": 0, "validation": 1, "train": 2, None: -1}


def _layout(case: dict, fill: ModuleType) -> torch.Tensor | None:
    if "positions" not in case["inputs"]:
        return None
    layout = np.clip(0.5 + 0.2 * input_of(case, fill, "positions"), 0, 1)
    layout[:, case["inputs"]["positions"].get("invalid_channels", [])] = np.nan
    return torch.from_numpy(layout).to(DEVICE)


@torch.no_grad()
def simpleconv(case: dict, fill: ModuleType) -> Outputs:
    """Run the network, with what it has computed on the way."""
    drawn = fill.filled_state(case["published"])
    state = {name: torch.from_numpy(np.asarray(drawn[name])) for name in drawn if name not in case["kept"]}
    options = {name: case["constructor"][name] for name in _OPTIONS if name in case["constructor"]}
    model = SimpleConv.from_published(state, case["family"], **options).eval().to(DEVICE)
    response, layout = tensor_of(case, fill, "meg"), _layout(case, fill)
    subject = torch.tensor(case["inputs"]["subjects"]["values"], device=DEVICE)
    found: dict[str, torch.Tensor] = {}
    names = {"attention": "spatial_attention", "initial": "initial_linear", "subject_layer": "subject_layers"}
    for own, name in names.items():
        if getattr(model, own) is not None:
            getattr(model, own).register_forward_hook(
                lambda *given, name=name: found.update({name: given[2]})
            )
    model.encoder[-1].register_forward_hook(lambda *given: found.update(encoder=given[2]))
    found["output"] = model(response, subject, positions=layout)["audio"]
    outputs = {("" if name == "output" else "after_") + name: value for name, value in found.items()}
    for name, text in (case["slices"] or {}).items():
        steps = [int(part.strip(" :")) for part in text.partition("[")[2].rstrip("]").split(",")[1:]]
        outputs[name] = outputs[name][:, :: steps[0], :: steps[1]]
    return arrays_of({name: outputs[name] for name in case["outputs"]})


def fourier(case: dict, fill: ModuleType) -> Outputs:
    """Embed places."""
    return arrays_of({"embedding": fourier_embedding(_layout(case, fill), case["constructor"]["dimension"])})


def positions(case: dict, fill: ModuleType) -> Outputs:
    """Unroll a montage."""
    names = case["inputs"]["channels"]["values"]
    info = mne.create_info(names, 120.0, "eeg")
    info.set_montage(case["constructor"]["montage"], verbose="error")
    places = torch.tensor(np.array([channel["loc"][:3] for channel in info["chs"]]), dtype=torch.float32)
    return arrays_of({"positions": flattened(places)})


def loss(case: dict, fill: ModuleType) -> Outputs:
    """Score sequences against candidates, in all of the loss's ways."""
    candidates = tensor_of(case, fill, "candidates")
    estimate = tensor_of(case, fill, "estimate_raw")
    estimate = estimate + 0.05 * candidates[: len(estimate)]
    outputs = {}
    for name, options in case["constructor"].items():
        given = {
            own: options[own]
            for own in ("tmin", "tmax", "tmin_train", "tmax_train", "pool", "center")
            if own in options
        }
        objective = SequenceContrast(start=options["dset_tmin"], sfreq=options["sample_rate"], **given)
        objective.train(options["training"])
        scores = objective.scores(estimate, candidates)
        outputs[f"{name}_scores"] = scores
        outputs[f"{name}_probabilities"] = scores.softmax(dim=1)
        outputs[f"{name}_loss"] = objective.loss(estimate, candidates).reshape(1)
    return arrays_of(outputs)


def resampling(case: dict, fill: ModuleType) -> Outputs:
    """Resample a recording."""
    options = case["constructor"]
    found = resample_sinc(
        input_of(case, fill, "x"), options["old_sr"], options["new_sr"], options["zeros"], options["rolloff"]
    )
    return {"output": found}


def robust_scaling(case: dict, fill: ModuleType) -> Outputs:
    """Scale channels by sorted quantiles, and clamp."""
    raw = input_of(case, fill, "raw")
    for channel in range(raw.shape[1]):
        raw[:, channel] = (1 + channel) * raw[:, channel] + 3 * channel
    raw[0, 1, :5] = 500
    raw[:, -1] = 0
    options = case["constructor"]
    centre, scale = sorted_quantile_scale(raw, options["lowq"], options["highq"])
    scaled = (raw - centre[:, None]) / scale[:, None]
    clamped = scaled.clip(-options["limit"], options["limit"])
    return {"center": centre, "scale": scale, "scaled": scaled, "clamped": clamped}


def split(case: dict, fill: ModuleType) -> Outputs:
    """Assign texts to splits."""
    options = case["constructor"]
    found = [
        _SPLITS[split_of_text(uid, *options["ratios"], options["seed"], options["remove_ratio"])]
        for uid in case["inputs"]["uid"]["values"]
    ]
    return {"split": np.array(found, dtype=np.int32)}


def merging(case: dict, fill: ModuleType) -> Outputs:
    """Merge short blocks."""
    blocks = pd.DataFrame({name: case["inputs"][name]["values"] for name in ("start", "duration", "uid")})
    found = merged_blocks(blocks, case["constructor"]["min_block_duration"])
    assert found["uid"].tolist() == case["expected_uid"]
    return {name: found[name].to_numpy() for name in ("start", "duration")}


def sounds(case: dict, fill: ModuleType) -> Outputs:
    """Cut sounds at the borders of blocks."""
    events, blocks = (pd.DataFrame(case["inputs"][name]["values"]) for name in ("events", "blocks"))
    blocks.columns = ["start", "stop"]
    found = cut_sounds(events, blocks, case["constructor"]["margin"])
    return {name: found[name].to_numpy() for name in case["outputs"]}


def accuracy(case: dict, fill: ModuleType) -> Outputs:
    """Find segments and words."""
    candidates = tensor_of(case, fill, "candidates")
    shown, words = (
        np.array(case["inputs"][name]["values"]) for name in ("segment_of_estimate", "word_of_candidate")
    )
    estimate = tensor_of(case, fill, "estimate_raw") + 0.08 * candidates[shown]
    scores = sequence_scores(estimate, candidates)
    summed, _, places = word_scores(scores.cpu().numpy(), words)
    outputs = {
        "probabilities": scores.softmax(dim=1).cpu().numpy(),
        "vocab_probabilities": np.exp(summed).astype(np.float32),
    }
    rows, scores = np.arange(len(shown)), scores.cpu().numpy()
    for k in (1, 5, 10):
        outputs[f"segment_top{k}"] = np.array([hits(scores, k)[rows, shown].mean()])
        outputs[f"word_vocab_top{k}"] = np.array([hits(summed, k)[rows, places[shown]].mean()])
        outputs[f"word_any_top{k}"] = np.array([carried(scores, shown, words, k).mean()])
    return outputs


FAMILIES = {
    "speech-simpleconv": simpleconv,
    "speech-fourier": fourier,
    "speech-positions": positions,
    "speech-cliploss": loss,
    "speech-resample": resampling,
    "speech-robustscaler": robust_scaling,
    "speech-split": split,
    "speech-merge-blocks": merging,
    "speech-cut-audio": sounds,
    "speech-accuracy": accuracy,
}
