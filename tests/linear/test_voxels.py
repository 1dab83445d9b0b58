"""Closed-form encoders of voxels and their inversion: refits, formulas written out, and the numbers of the sheet."""

import json

import numpy as np
import pytest
from in_context_voxels import E, Population, cosine, explained, top1

from neurodec.errors import NeurodecError
from neurodec.linear.inversion import BayesianInversion, Gallery, likelihoods, noise_inverse
from neurodec.linear.voxel_encoders import VoxelEncoders, noise_of
from neurodec.linear.voxel_prior import PopulationPrior, PriorEncoding
from neurodec.linear.voxel_ridge import RidgeEncoding, solve_left_out


@pytest.fixture
def population():
    return Population()


def drawn(population, rng, n=30, n_voxels=40):
    weights, bias = population.voxels(rng, n_voxels)
    pictures = population.pictures(rng, n)
    return pictures, population.responses(rng, weights, bias, pictures)


def test_left_out_errors_are_those_of_refits(population, rng):
    pictures, responses = drawn(population, rng, 12, 5)
    weights, _, residuals = solve_left_out(pictures, responses, [0.5])
    centred = pictures - pictures.mean(axis=0)
    penalty = 0.5 * np.mean(np.linalg.svd(centred, compute_uv=False) ** 2)

    def refit(x, y):
        mx, my = x.mean(axis=0), y.mean(axis=0)
        w = np.linalg.solve((x - mx).T @ (x - mx) + penalty * np.eye(E), (x - mx).T @ (y - my)).T
        return w, my - w @ mx

    np.testing.assert_allclose(weights, refit(pictures, responses)[0], atol=1e-10)
    for row in range(12):
        kept = np.arange(12) != row
        w, b = refit(pictures[kept], responses[kept])
        np.testing.assert_allclose(residuals[row], responses[row] - w @ pictures[row] - b, atol=1e-9)


def test_every_voxel_has_a_penalty_of_its_own(rng):
    pictures = Population().pictures(rng, 60)
    loud, quiet = pictures @ rng.normal(size=(E, 50)) * 3, rng.normal(size=(60, 50))
    encoders = RidgeEncoding().encode(pictures, np.hstack([loud, quiet]), range(100))
    assert encoders.accuracy[:50].min() > 0.99
    assert np.linalg.norm(encoders.weights[50:], axis=1).mean() < 1.5
    assert np.median(encoders.accuracy[50:]) < 0.1
    assert set(encoders.best(50)) == set(range(50))


def test_the_posterior_is_that_of_bayes(population, rng):
    pictures, responses = drawn(population, rng, 9, 4)
    prior = PopulationPrior(population.mean, population.covariance + 1e-9 * np.eye(E + 1))
    noise = np.array([0.1, 0.25, 0.5, 1.0])
    found, spread = prior.posterior(pictures, responses, noise)
    x = np.column_stack([pictures, np.ones(9)])
    for voxel in range(4):
        inner = x @ prior.covariance @ x.T + noise[voxel] * np.eye(9)
        gain = prior.covariance @ x.T @ np.linalg.inv(inner)
        wanted = prior.mean + gain @ (responses[:, voxel] - x @ prior.mean)
        np.testing.assert_allclose(found[voxel], wanted, atol=1e-6)
        left = prior.covariance - gain @ x @ prior.covariance
        assert spread.free(np.eye(E + 1))[voxel] == pytest.approx(np.trace(left), rel=1e-5)


def test_the_likeliest_noise_is_near_the_true_one(population, rng):
    pictures, responses = drawn(population, rng, 40, 2000)
    prior = PopulationPrior(population.mean, population.covariance)
    assert np.exp(np.log(prior.likely_noise(pictures, responses)).mean()) == pytest.approx(0.25, rel=0.1)


def test_estimating_the_prior_takes_the_noise_off(rng):
    population = Population(noise=1.5)
    subjects = [drawn(population, rng, 60, 400) for _ in range(3)]
    prior = PopulationPrior.of(subjects)
    naive = np.vstack([solve_left_out(*own, [1e-6])[0] for own in subjects])
    true = np.trace(population.covariance[:E, :E])
    assert np.trace(prior.covariance[:E, :E]) == pytest.approx(true, rel=0.15)
    assert np.trace(np.cov(naive.T)) > 1.4 * true
    np.testing.assert_allclose(prior.mean[:E], population.mu, atol=0.3)


SHEET = {5: (0.410, 0.162), 10: (0.588, 0.350), 20: (0.709, 0.573), 40: (0.768, 0.724)}


@pytest.mark.parametrize("n", SHEET)
def test_explained_variance_is_that_of_the_sheet(n):
    """Mean over four populations, since the sheet's has a seed that it does not tell."""
    found = {"known": [], "bayes": [], "fixed": [], "ridge": []}
    for seed in range(4):
        population, rng = Population(seed), np.random.default_rng(5)
        weights, bias = population.voxels(rng, 512)
        tests = population.pictures(rng, 400)
        answers = population.responses(rng, weights, bias, tests)
        estimated = PopulationPrior.of([drawn(population, rng, 300, 400) for _ in range(2)])
        known = PopulationPrior(population.mean, population.covariance)
        pictures = population.pictures(rng, n)
        responses = population.responses(rng, weights, bias, pictures)

        def score(w, b, tests=tests, answers=answers):
            return explained(w, b, tests, answers)

        best, _ = known.posterior(pictures, responses, np.full(512, 0.25))
        found["known"].append(score(best[:, :-1], best[:, -1]))
        fixed = [solve_left_out(pictures, responses, [alpha])[:2] for alpha in np.logspace(-3, 2, 16)]
        found["fixed"].append(max(score(*one) for one in fixed))
        for name, encoding in (("bayes", PriorEncoding(estimated)), ("ridge", RidgeEncoding())):
            own = encoding.encode(pictures, responses, range(512))
            found[name].append(score(own.weights, own.bias))
    mean = {name: np.mean(scores) for name, scores in found.items()}
    assert mean["known"] == pytest.approx(SHEET[n][0], abs=0.05)
    assert mean["fixed"] == pytest.approx(SHEET[n][1], abs=0.05)
    assert mean["ridge"] < mean["bayes"] < mean["known"] + 0.01  # nothing is better than knowing
    assert mean["known"] - mean["bayes"] < 0.06


def test_inversion_is_that_of_bayes_written_out(population, rng):
    weights, bias = population.voxels(rng, 30)
    factors = rng.normal(size=(30, 3))
    gallery = Gallery.of(population.pictures(rng, 500))
    encoders = VoxelEncoders(
        weights, bias, np.linspace(0.2, 1, 30), range(30), np.zeros(30), factors, np.full(30, 0.1)
    )
    responses = rng.normal(size=(5, 30))
    noise = np.diag(np.linspace(0.2, 1, 30) + 0.1) + factors @ factors.T
    np.testing.assert_allclose(noise_inverse(encoders)(np.eye(30)), np.linalg.inv(noise), atol=1e-8)
    inverse = np.linalg.inv(2.0 * noise)
    precision = np.linalg.inv(gallery.covariance) + weights.T @ inverse @ weights
    wanted = (
        gallery.mean
        + np.linalg.solve(precision, weights.T @ inverse @ (responses - bias - weights @ gallery.mean).T).T
    )
    found = BayesianInversion(gallery, temperature=2.0).decode(encoders, responses)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    candidates = population.pictures(rng, 7)
    scores = likelihoods(encoders, responses, candidates)
    errors = (responses - bias)[:, None] - candidates @ weights.T
    full = -0.5 * np.einsum("nci,ij,ncj->nc", errors, np.linalg.inv(noise), errors)
    np.testing.assert_allclose(scores - scores[:, :1], full - full[:, :1], atol=1e-6)


@pytest.mark.parametrize(
    ("n_voxels", "wanted"),
    [(8, (0.571, 0.190)), (16, (0.704, 0.514)), (32, (0.793, 0.790)), (64, (0.851, 0.907))],
)
def test_inversion_reaches_the_numbers_of_the_sheet(population, n_voxels, wanted):
    rng = np.random.default_rng(2)
    gallery = Gallery.of(population.pictures(rng, 5000))
    pictures, found = population.pictures(rng, 1000), []
    shares = []
    for _ in range(4):
        weights, bias = population.voxels(rng, n_voxels)
        nothing = np.zeros((n_voxels, 0))
        encoders = VoxelEncoders(
            weights,
            bias,
            np.full(n_voxels, 0.25),
            range(n_voxels),
            np.zeros(n_voxels),
            nothing,
            np.zeros(n_voxels),
        )
        decoded = BayesianInversion(gallery).decode(
            encoders, population.responses(rng, weights, bias, pictures)
        )
        found.append(cosine(decoded, pictures))
        shares.append(top1(decoded, pictures))
    assert np.mean(found) == pytest.approx(wanted[0], abs=0.06)
    assert np.mean(shares) == pytest.approx(wanted[1], abs=0.12)


def test_shared_noise_is_found_and_its_knowledge_helps(population, rng):
    weights, bias = population.voxels(rng, 60)
    loadings = 1.5 * rng.normal(size=(60, 2))
    pictures = population.pictures(rng, 300)

    def answers(x):
        return population.responses(rng, weights, bias, x) + rng.normal(size=(len(x), 2)) @ loadings.T

    encoders = RidgeEncoding().encode(pictures, answers(pictures), range(60))
    space = np.linalg.qr(encoders.noise_factors[:, :2])[0]
    kept = np.linalg.norm(space.T @ np.linalg.qr(loadings)[0])
    assert kept == pytest.approx(np.sqrt(2), abs=0.05)  # both spans are the same
    gallery, tests = Gallery.of(population.pictures(rng, 2000)), population.pictures(rng, 200)
    responses = answers(tests)
    shared, alone = (
        cosine(BayesianInversion(gallery, shared=own).decode(encoders, responses), tests)
        for own in (True, False)
    )
    assert shared > alone + 0.05
    calibrated = BayesianInversion(gallery, shared=False).calibrated(
        RidgeEncoding(), pictures, answers(pictures), range(60)
    )
    assert calibrated.temperature > 1
    assert cosine(calibrated.decode(encoders, responses), tests) > alone


def test_noise_of_independent_voxels_has_no_factors(rng):
    noise_var, factors = noise_of(rng.normal(size=(400, 50)), 3)
    np.testing.assert_allclose(noise_var, 1, atol=0.3)
    assert np.square(factors).sum(axis=1).mean() < 0.15


@pytest.mark.parametrize("encoding", [RidgeEncoding(), PriorEncoding()])
def test_one_picture_works_and_none_is_refused(population, rng, encoding):
    pictures, responses = drawn(population, rng, 1, 3)
    found = encoding.encode(pictures, responses, ["a", "b", "c"])
    assert np.isfinite(found.weights).all()
    with pytest.raises(NeurodecError, match="0 picture"):
        encoding.encode(pictures[:0], responses[:0], ["a", "b", "c"])


def test_what_is_no_context_is_told(population, rng):
    pictures, responses = drawn(population, rng, 20, 6)
    with pytest.raises(NeurodecError, match=r"have not unit length .*normalize=True"):
        RidgeEncoding().encode(2 * pictures, responses, range(6))
    responses[3, 2] = np.nan
    with pytest.raises(NeurodecError, match=r"1 voxel\(s\) of the context, first number 2, hold NaN"):
        RidgeEncoding().encode(pictures, responses, range(6))
    responses[:, 2] = 1.0
    constant = RidgeEncoding().encode(pictures, responses, range(6))
    assert not constant.weights[2].any()
    assert 2 not in constant.best(5)
    with pytest.raises(NeurodecError, match="20 pictures and 19 responses"):
        RidgeEncoding().encode(pictures, responses[1:], range(6))


def test_encoders_are_kept_with_their_voxels(population, rng, tmp_path):
    pictures, responses = drawn(population, rng, 40, 6)
    encoders = RidgeEncoding().encode(pictures, responses, [3, 5, 8, 9, 11, 20], {"embedding_space": "x"})
    encoders.save(tmp_path / "anna")
    again = VoxelEncoders.load(tmp_path / "anna")
    np.testing.assert_array_equal(again.weights, encoders.weights)
    assert again.about == {"n_context": 40, "embedding_space": "x"}
    again.require_voxels([3, 5, 8, 9, 11, 20])
    with pytest.raises(NeurodecError, match="voxel 8 at place 1, the encoders 5"):
        again.require_voxels([3, 8, 5, 9, 11, 20])
    with pytest.raises(NeurodecError, match="5 voxels, the encoders 6"):
        again.require_voxels([3, 5, 8, 9, 11])
    np.testing.assert_allclose(
        again.predict(pictures), pictures @ encoders.weights.T + encoders.bias, atol=1e-5
    )
    told = json.loads((tmp_path / "anna/encoders.json").read_text())
    (tmp_path / "anna/encoders.json").write_text(json.dumps({**told, "voxels": told["voxels"][:5]}))
    with pytest.raises(NeurodecError, match=r"name 5 voxels and have .* for 6; delete the folder"):
        VoxelEncoders.load(tmp_path / "anna")
