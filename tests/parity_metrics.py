"""Golden cases of scores: pixels, two-way identification, retrieval in pools."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from parity_inputs import input_of
from scipy.ndimage import uniform_filter
from scipy.stats import binom

from neurodec.evaluation.reconstruction.measures import (
    correlation_distance,
    correlation_matrix,
    grey,
    pixcorr,
    ssim,
    two_way,
)
from neurodec.evaluation.reconstruction.picture_sets import Resize
from neurodec.evaluation.retrieval.similarity import pooled_retrieval, similarity

Outputs = dict[str, np.ndarray]


def lowlevel(case: dict, fill: ModuleType) -> Outputs:
    """Score smooth random pictures; one pair is equal, one is inverted."""
    options = case["constructor"]
    targets, others = (_pictures(input_of(case, fill, name)) for name in ("z_images", "z_recons"))
    recons = options["mix"] * targets + (1 - options["mix"]) * others
    recons[-1], recons[-2] = targets[-1], 1 - targets[-2]
    settings = {name: options[name] for name in ("interpolation", "antialias")}
    size = options["resize"]
    outputs = {"pixcorr": pixcorr(targets, recons, size, **settings)}
    for form in ("2d", "columnwise"):
        outputs[f"ssim_{form}"] = ssim(targets, recons, size, form, **settings)
    outputs |= {f"{name}_mean": values.mean(keepdims=True) for name, values in outputs.items()}
    first_pair = torch.from_numpy(np.stack([targets[0], recons[0]]))
    resized = Resize(size, **settings)(first_pair)
    return outputs | {"gray_check": grey(resized)[:, :3, :5].numpy()}


def identification(case: dict, fill: ModuleType) -> Outputs:
    """Identify noisy copies; the last two are equal."""
    reals = input_of(case, fill, "reals")
    preds = case["constructor"]["gain"] * reals + input_of(case, fill, "noise")
    preds[-1] = preds[-2]
    n = len(reals)
    per_item, distance = two_way(reals, preds), correlation_distance(reals, preds)
    successes = np.rint(per_item * (n - 1))
    share = successes.mean(keepdims=True) / (n - 1)
    # As published: the product may fall just short of a whole number, which the distribution then rounds down.
    binomial_p = 1 - binom.cdf(share * n * (n - 1), n * (n - 1), 0.5)
    return {
        "success_count": successes,
        "per_item": per_item,
        "two_way": share,
        "binomial_p": binomial_p,
        "row_direction_two_way": two_way(reals, preds, "over_recons").mean(keepdims=True),
        "correlation_distance": distance,
        "correlation_distance_mean": distance.mean(keepdims=True),
        "correlation_matrix": correlation_matrix(reals, preds),
    }


def retrieval(case: dict, fill: ModuleType) -> Outputs:
    """Find each other's partner within drawn pools, and within all rows."""
    options, keys = case["constructor"], case["inputs"]["subset_keys"]
    image = input_of(case, fill, "image")
    brain = options["gain"] * image + input_of(case, fill, "noise")
    draws = (fill.input_array(keys["seed"] + k, tuple(keys["shape"])) for k in range(options["repetitions"]))
    pools = np.stack([np.argsort(draw, kind="stable")[: options["pool"]] for draw in draws])
    scores = similarity(brain, image)
    found = pooled_retrieval(scores, pools)
    everyone = pooled_retrieval(scores, np.arange(len(image))[None])
    means = {
        f"{name}_mean": found[name].mean(keepdims=True) for name in ("image_retrieval", "brain_retrieval")
    }
    return {
        **found,
        **means,
        "full_pool_image_top1": everyone["image_retrieval"],
        "first_subset": pools[0, : case["output_shapes"]["first_subset"][0]],
    }


FAMILIES: dict[str, Callable[[dict, ModuleType], Outputs]] = {
    "metrics-lowlevel": lowlevel,
    "metrics-twoway": identification,
    "metrics-retrieval": retrieval,
}


def _pictures(noise: np.ndarray) -> np.ndarray:
    """Blur noise and squash it into 0..1."""
    blurred = uniform_filter(noise, size=(1, 1, 5, 5), mode="mirror")  # numpy and torch call it "reflect"
    return 1 / (1 + np.exp(-6 * blurred))
