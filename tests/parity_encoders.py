"""Golden cases of the encoders that moved in after ATM, their losses, and the linear decoders."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from parity_inputs import DEVICE, arrays_of, input_of, tensor_of
from torch.nn import functional as F

from neurodec.encoders import NICE, MindBridge, NeuroBridge
from neurodec.encoders.checkpoints import take_exactly
from neurodec.encoders.mindbridge import pool_voxels
from neurodec.encoders.neurobridge import published_projector
from neurodec.linear.solvers import Factor
from neurodec.systems.ridge_system import renormalised, roi_pattern
from neurodec.training.augmentations import moving_average
from neurodec.training.objectives.bridge import soft_clip
from neurodec.training.objectives.contrastive_losses import info_nce
from neurodec.training.objectives.shared_space import SharedSpaceObjective

Outputs = dict[str, np.ndarray]


def _tensors(fill: ModuleType, published: dict, prefix: str = "", kept: tuple[str, ...] = ()) -> dict:
    names = [name for name in published if name not in kept and not name.endswith("num_batches_tracked")]
    return {
        name: torch.from_numpy(np.asarray(fill.fill_array(prefix + name, tuple(published[name]))))
        for name in names
    }


@torch.no_grad()
def nice(case: dict, fill: ModuleType) -> Outputs:
    """Embed epochs and take the loss against the picture's features, which pass the image projector untouched."""
    parts = {name: _tensors(fill, case["published"][name]) for name in ("Enc_eeg", "Proj_eeg")}
    model = NICE.from_published(parts["Enc_eeg"], parts["Proj_eeg"], "case").eval().to(DEVICE)
    image = tensor_of(case, fill, "img")
    flat = model.conv(tensor_of(case, fill, "x")[:, 0])
    out = model.projector(flat)
    loss = info_nce(
        F.normalize(out, dim=-1), F.normalize(image, dim=-1), torch.tensor(1 / 0.07, device=DEVICE)
    )
    return arrays_of({"flat": flat, "out": out, "img_out": image, "loss": loss})


@torch.no_grad()
def neurobridge(case: dict, fill: ModuleType) -> Outputs:
    """Encode epochs, project both sides, and take the loss."""
    published, options = case["published"], case["constructor"]
    state = _tensors(fill, published["model_state_dict"], kept=tuple(case["kept"]))
    projector = _tensors(fill, published["eeg_projector_state_dict"], "eeg_projector.")
    model = NeuroBridge.from_published(state, projector, "case", options["channels_num"]).eval().to(DEVICE)
    own = _tensors(fill, published["img_projector_state_dict"], "img_projector.")
    of_pictures, tensors = published_projector(own, "case")
    objective = SharedSpaceObjective({"image": [options["feature_dim"]]}, **of_pictures)
    take_exactly(objective.projector, tensors, "case").to(DEVICE)
    image = tensor_of(case, fill, "img")
    feature = model.backbone(tensor_of(case, fill, "x"))
    projected = model.projector(feature)
    batch = {"image": image, "stimulus": torch.arange(len(image), device=DEVICE)}
    return arrays_of(
        {
            "feature": feature,
            "eeg_proj": projected,
            "img_proj": objective.project("image", image),
            "loss": objective({"image": projected}, batch, 0.0)["loss"],
        }
    )


def neurobridge_smooth(case: dict, fill: ModuleType) -> Outputs:
    """Smooth every channel."""
    response = tensor_of(case, fill, "x")
    return {"smoothed": moving_average(response[None], case["constructor"]["kernel_size"])[0].cpu().numpy()}


@torch.no_grad()
def mindbridge(case: dict, fill: ModuleType) -> Outputs:
    """Run every subject's chunk of a batch, and the cycle from the first to the last subject."""
    model = MindBridge.from_published(_tensors(fill, case["published"]), "case").eval().to(DEVICE)
    names = [str(name) for name in case["constructor"]["subj_list"]]
    x = tensor_of(case, fill, "x")
    chunks = x.chunk(len(names)) if model.builder else (x,)
    found = [
        model(chunk, torch.zeros(len(chunk)), space=name) for chunk, name in zip(chunks, names, strict=False)
    ]
    joined = {head: torch.cat([part[head] for part in found]) for head in found[0]}
    outputs = {"x_image": joined["image"], "x_text": joined["text"]}
    if model.builder:
        embedding = found[0]["_embedding"]
        around = model.cycle(embedding, names[-1])
        outputs |= {
            "x_rec": joined["_reconstruction"],
            "embedding": joined["_embedding"],
            "synth_a_to_b": model.synthesise(chunks[0], names[0], names[-1]),
            "cyc_b": around,
            "loss_cyc": F.mse_loss(embedding, around).reshape(1),
        }
    shapes = case["output_shapes"]
    return arrays_of({name: value[..., : shapes[name][-1]] for name, value in outputs.items()})


def mindbridge_pool(case: dict, fill: ModuleType) -> Outputs:
    """Pool voxels of several brains."""
    options = case["constructor"]
    return {
        name: pool_voxels(tensor_of(case, fill, name), options["pool_num"], options["pool_type"])
        .cpu()
        .numpy()
        for name in case["inputs"]
    }


def mindbridge_losses(case: dict, fill: ModuleType) -> Outputs:
    """Soft contrast at two temperatures, squared error, and the published helper's two shares."""
    raw, options = (tensor_of(case, fill, "pred_raw"), case["constructor"])
    pred = F.normalize(raw, dim=-1)
    targ = F.normalize(tensor_of(case, fill, "targ_raw") + 0.15 * raw, dim=-1)
    similarity, own = targ @ pred.T, torch.arange(len(pred), device=DEVICE)
    values = {
        "soft_clip": soft_clip(pred, targ, options["temp"]),
        "soft_clip_temp_0125": soft_clip(pred, targ, 0.125),
        "mse": F.mse_loss(pred, targ),
        "mse_weighted": options["mse_mult"] * F.mse_loss(pred, targ),
        "fwd_top1": (similarity.argmax(dim=1) == own).float().mean(),
        "bwd_top1": (similarity.argmax(dim=0) == own).float().mean(),
    }
    return arrays_of({name: value.reshape(1) for name, value in values.items()})


def braindiffuser_ridge(case: dict, fill: ModuleType) -> Outputs:
    """Fixed penalties, predictions renormalised over the test set, and patterns of regions."""
    raw = {name: input_of(case, fill, name).astype(np.float64) for name in case["inputs"]}
    options = case["constructor"]
    train, test = ((raw[name] * 250 + 40) / 300 for name in ("train_x", "test_x"))
    centre, scale = train.mean(axis=0), train.std(axis=0, ddof=1)
    train, test = (train - centre) / scale, (test - centre) / scale
    signal = train @ (raw["w"] / np.sqrt(train.shape[1]))
    latents, tokens = signal + raw["noise"], raw["token_noise"] + 0.3 * signal[:, None]
    factor = Factor.of(train)

    def solved(values: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        flat = values.reshape(len(values), -1)
        return factor.solve(flat - flat.mean(axis=0), np.array([alpha])), flat.mean(axis=0)

    def renormal(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        statistics = (found.mean(axis=0), found.std(axis=0), wanted.mean(axis=0), wanted.std(axis=0))
        return renormalised(found, *statistics)

    weights, mean = solved(latents, options["alpha_latents"])
    token_weights, token_mean = solved(tokens, options["alpha_tokens"])
    found = test @ weights + mean
    pattern = (raw["roi_z"] > 0.8).astype(np.float64)
    rois = renormal(roi_pattern(pattern, weights, mean, 50.0), latents)
    rois = 80.0 * rois / np.linalg.norm(rois, axis=1, keepdims=True)
    flat = tokens.reshape(len(tokens), -1)
    return {
        "latents_raw": found,
        "latents": renormal(found, latents),
        "tokens": renormal(test @ token_weights + token_mean, flat).reshape(len(test), *tokens.shape[1:]),
        "roi_latents": rois,
        "roi_tokens": roi_pattern(pattern, token_weights, token_mean, 9.0).reshape(-1, *tokens.shape[1:]),
    }


FAMILIES: dict[str, Callable[[dict, ModuleType], Outputs]] = {
    "nice": nice,
    "neurobridge": neurobridge,
    "neurobridge-smooth": neurobridge_smooth,
    "mindbridge": mindbridge,
    "mindbridge-pool": mindbridge_pool,
    "mindbridge-losses": mindbridge_losses,
    "braindiffuser-ridge": braindiffuser_ridge,
}
