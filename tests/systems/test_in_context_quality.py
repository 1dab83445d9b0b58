"""Meta-trained on Gaussian voxels, both networks lie between what a user has without them and what Bayes allows."""

import numpy as np
import pytest
import torch
from in_context_voxels import E, Population, cosine, explained

from neurodec.encoders import InContextEncoder, InContextInverter
from neurodec.encoders.in_context.voxel_network import NetworkEncoding, NetworkInversion
from neurodec.linear.inversion import BayesianInversion, Gallery
from neurodec.linear.voxel_encoders import VoxelEncoders
from neurodec.linear.voxel_prior import PopulationPrior
from neurodec.linear.voxel_ridge import solve_left_out
from neurodec.systems import MetaStage
from neurodec.systems.in_context.meta_training import meta_train
from neurodec.systems.in_context.tasks import (
    Voxels,
    encoder_batch,
    encoder_loss,
    inverter_batch,
    inverter_loss,
)

SIZES = {"width": 32, "n_layers": 3, "ffn_dim": 64, "n_heads": 4, "hidden": 64}


@pytest.fixture(scope="module")
def population():
    return Population()


@pytest.fixture(scope="module")
def voxels(population):
    pool = population.pictures(np.random.default_rng(9), 20_000)
    prior = PopulationPrior(population.mean, population.covariance)
    return Voxels(pool, prior, population.noise, standardised=False)


@pytest.mark.quality
def test_the_trained_encoder_lies_between_ridge_and_bayes(population, voxels, tmp_path):
    torch.manual_seed(0)
    network = InContextEncoder(E, n_registers=4, **SIZES)
    stage = MetaStage("gaussian", 1400, (4, 40), batch_size=128, n_queries=20, lr=3e-3)
    meta_train(
        network,
        [(stage, lambda n, random: encoder_batch(voxels, n, 20, 128, random))],
        encoder_loss,
        tmp_path,
    )
    rng = np.random.default_rng(3)
    weights, bias = population.voxels(rng, 512)
    tests = population.pictures(rng, 400)
    answers = population.responses(rng, weights, bias, tests)
    known = PopulationPrior(population.mean, population.covariance)
    rising = []
    for n in (5, 10, 20):
        shares = {"bayes": [], "network": [], "ridge": []}
        for _ in range(3):
            pictures = population.pictures(rng, n)
            responses = population.responses(rng, weights, bias, pictures)
            best, _ = known.posterior(pictures, responses, np.full(512, 0.25))
            shares["bayes"].append(explained(best[:, :-1], best[:, -1], tests, answers))
            found = NetworkEncoding(network, device="cpu").weights(pictures, responses)
            shares["network"].append(explained(found[:, :-1], found[:, -1], tests, answers))
            fixed = [solve_left_out(pictures, responses, [alpha])[:2] for alpha in np.logspace(-3, 2, 16)]
            shares["ridge"].append(max(explained(*one, tests, answers) for one in fixed))
        mean = {name: float(np.mean(values)) for name, values in shares.items()}
        assert mean["ridge"] + 0.02 < mean["network"] < mean["bayes"] + 0.01, (n, mean)
        rising.append(mean["network"])
    assert rising == sorted(rising)


@pytest.mark.quality
def test_the_trained_inverter_lies_between_least_squares_and_bayes(population, voxels, tmp_path):
    torch.manual_seed(0)
    network = InContextInverter(E, n_registers=8, dropout=0.0, **SIZES)
    stage = MetaStage("gaussian", 1200, (8, 64), batch_size=96, lr=3e-3)
    meta_train(
        network, [(stage, lambda n, random: inverter_batch(voxels, n, 96, random))], inverter_loss, tmp_path
    )
    rng = np.random.default_rng(4)
    gallery, pictures = Gallery.of(population.pictures(rng, 5000)), population.pictures(rng, 500)
    rising = []
    for n_voxels in (8, 16, 32, 64):
        shares = {"bayes": [], "network": [], "squares": []}
        for _ in range(4):
            weights, bias = population.voxels(rng, n_voxels)
            nothing, zero = np.zeros((n_voxels, 0)), np.zeros(n_voxels)
            noise = np.full(n_voxels, 0.25)
            given = (
                weights.astype("float32"),
                bias.astype("float32"),
                noise,
                range(n_voxels),
                zero,
                nothing,
                zero,
            )
            encoders = VoxelEncoders(*given)
            responses = population.responses(rng, weights, bias, pictures)
            shares["bayes"].append(cosine(BayesianInversion(gallery).decode(encoders, responses), pictures))
            found = NetworkInversion(network, device="cpu").decode(encoders, responses)
            shares["network"].append(cosine(found, pictures))
            shares["squares"].append(cosine((responses - bias) @ np.linalg.pinv(weights).T, pictures))
        mean = {name: float(np.mean(values)) for name, values in shares.items()}
        assert mean["squares"] < mean["network"] < mean["bayes"] + 0.01, (n_voxels, mean)
        rising.append(mean["network"])
    assert rising == sorted(rising)
