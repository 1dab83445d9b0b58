from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from neurodec.data.responses import select
from neurodec.errors import NeurodecError
from neurodec.evaluation.retrieval.similarity import (
    Centre,
    Gallery,
    chance_top,
    concept_centres,
    expected_top,
    pooled_retrieval,
    rank_bounds,
    similarity,
    top_candidates,
)


def sampled_top(scores, true, k, m, rng, n_draws):
    """The published scheme: draw k - 1 distractors, rank, count; ties broken at random."""
    hits = np.zeros(len(scores))
    for _ in range(n_draws):
        for row, target in enumerate(true):
            others = np.delete(np.arange(scores.shape[1]), target)
            drawn = rng.choice(others, k - 1, replace=False)
            rivals = scores[row, drawn]
            ahead = (rivals > scores[row, target]).sum() + rng.integers(
                (rivals == scores[row, target]).sum() + 1
            )
            hits[row] += ahead < m
    return hits / n_draws


@pytest.mark.parametrize(("k", "m"), [(2, 1), (4, 1), (10, 1), (10, 5), (20, 5), (30, 1), (30, 5)])
def test_expected_top_is_the_mean_of_sampled_draws(rng, k, m):
    scores = np.round(rng.standard_normal((8, 30)), 1)  # rounded: ties happen
    true = rng.integers(30, size=8)
    n_draws = 800
    exact = expected_top(*rank_bounds(scores, true), 30, k, m)
    error = 4 * np.sqrt(0.25 / n_draws)
    np.testing.assert_allclose(sampled_top(scores, true, k, m, rng, n_draws), exact, atol=error)


@pytest.mark.parametrize("m", [1, 2])
def test_expected_top_counts_every_subset(rng, m):
    scores = rng.standard_normal(7)
    exact = expected_top(*rank_bounds(scores[None], np.array([3])), 7, 4, m)
    others = [0, 1, 2, 4, 5, 6]
    hits = [(scores[list(drawn)] > scores[3]).sum() < m for drawn in combinations(others, 3)]
    assert exact == pytest.approx(np.mean(hits), abs=1e-12)


def test_expected_top_of_guessing_is_chance():
    n = 50
    ranks = np.arange(1, n + 1)  # uniformly distributed ranks, as blind guessing gives
    for k in (2, 10, 50):
        for m in (1, 5):
            assert expected_top(ranks, ranks, n, k, m).mean() == pytest.approx(chance_top(k, m), abs=1e-12)


def test_full_gallery_scores_are_exact_zeros_and_ones(rng):
    best = rng.integers(1, 200, size=500)
    assert set(expected_top(best, best, 200, 200)) <= {0.0, 1.0}
    assert expected_top(best, best, 200, 200, 5).sum() == (best <= 5).sum()


def test_too_large_a_k_is_refused():
    with pytest.raises(NeurodecError, match="201-way"):
        expected_top(np.array([1]), np.array([1]), 200, 201)


def test_ties_share_their_ranks():
    scores = np.array([[0.5, 0.9, 0.5, 0.5, 0.1]])
    best, worst = rank_bounds(scores, np.array([0]))
    assert (best[0], worst[0]) == (2, 4)
    assert expected_top(best, worst, 5, 5, 2) == pytest.approx(1 / 3)
    constant = np.zeros((1, 10))  # a decoder that says the same of all candidates is at chance, not at 100 %
    assert expected_top(*rank_bounds(constant, np.array([0])), 10, 10) == pytest.approx(0.1)


def test_equal_candidates_tie_whatever_the_batching(rng):
    gallery = rng.standard_normal((33, 257)).astype(np.float32)
    gallery[20] = gallery[7]
    z = (gallery[[7] * 40] + 0.5 * rng.standard_normal((40, 257))).astype(np.float32)
    best, worst = rank_bounds(similarity(z, gallery), np.full(40, 7))
    assert (best == 1).all()
    assert (worst == 2).all()
    for size in (1, 3, 7):
        scores = np.concatenate(
            [similarity(z[start : start + size], gallery) for start in range(0, 40, size)]
        )
        again = rank_bounds(scores, np.full(40, 7))
        np.testing.assert_array_equal(again, (best, worst))
        np.testing.assert_array_equal(top_candidates(scores), top_candidates(similarity(z, gallery)))


def test_ranks_of_several_columns_equal_ranks_one_by_one(rng):
    scores = np.round(rng.standard_normal((6, 9)), 1)
    columns = np.broadcast_to(np.arange(9), (6, 9))
    best, worst = rank_bounds(scores, columns)
    for column in range(9):
        np.testing.assert_array_equal(
            rank_bounds(scores, columns[:, column]), (best[:, column], worst[:, column])
        )


def test_similarity_is_the_cosine_of_flattened_tokens(rng):
    z, gallery = rng.standard_normal((3, 4, 5)), rng.standard_normal((6, 4, 5))
    expected = np.corrcoef(z[1].ravel() - z[1].mean(), gallery[2].ravel() - gallery[2].mean())[0, 1]
    centred = similarity((z - z.mean((1, 2), keepdims=True)), gallery - gallery.mean((1, 2), keepdims=True))
    assert centred[1, 2] == pytest.approx(expected)
    np.testing.assert_allclose(similarity(7 * z, gallery), similarity(z, 0.1 * gallery))
    assert not similarity(np.zeros((1, 5)), rng.standard_normal((2, 5))).any()


def test_bad_predictions_are_named(rng):
    z, gallery = rng.standard_normal((4, 5)), rng.standard_normal((3, 5))
    with pytest.raises(NeurodecError, match="5 values but the candidates have 6"):
        similarity(z, rng.standard_normal((3, 6)))
    z[2, 1] = np.nan
    with pytest.raises(NeurodecError, match="first row 2"):
        similarity(z, gallery)


def test_concept_centres_are_means_of_the_other_images():
    values = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0], [9.0, 9.0]])
    centres = concept_centres(values, ["cup", "cup", "fish", "tree"], ["fish", "cup"])
    np.testing.assert_array_equal(centres, [[0, 5], [2, 0]])
    with pytest.raises(NeurodecError, match="first key, have no image"):
        concept_centres(values, ["cup", "cup", "fish", "tree"], ["cup", "key"])


def test_gallery_finds_the_true_candidate_by_stimulus_or_concept():
    table = pd.DataFrame({"stimulus": ["b1", "a1"], "concept": ["b", "a"]})
    values = np.eye(2)
    np.testing.assert_array_equal(Gallery(values, ["a1", "b1"], ["a", "b"]).true_index(table), [1, 0])
    centres = Gallery(values, ["a9", "b9"], ["a", "b"], "concept_centre")
    np.testing.assert_array_equal(centres.true_index(table), [1, 0])
    with pytest.raises(NeurodecError, match="first b1, are not among"):
        Gallery(values, ["a1", "c1"], ["a", "c"]).true_index(table)


def test_real_concept_centres_find_their_image(shared):
    folder = shared / "data" / "things-test-clip-vitl14"
    centres = np.load(folder / "center_clip.npy")
    images = np.load(folder / "clip_feature_maps_test.npy")  # (200, 1, 768)
    scores = similarity(centres, images)
    ranks = rank_bounds(scores, np.arange(200))
    assert expected_top(*ranks, 200, 200).mean() == pytest.approx(0.925)
    assert expected_top(*ranks, 200, 200, 5).mean() > 0.98
    # Shrinking galleries only get easier, from this score to certainty.
    curve = [expected_top(*ranks, 200, k).mean() for k in (200, 100, 50, 10, 4, 2)]
    assert curve == sorted(curve)
    # The other way round, with the centres at unit length and, as in NICE's published code, at their own.
    for renormalise, top1 in ((True, 0.98), (False, 0.95)):
        scores = similarity(images, centres, renormalise=renormalise)
        assert expected_top(*rank_bounds(scores, np.arange(200)), 200, 200).mean() == pytest.approx(top1)


@pytest.mark.parametrize("name", ["metrics-retrieval", "metrics-retrieval-300"])
def test_pooled_retrieval_equals_the_golden_values(shared, name):
    folder = shared / "parity" / name
    case, golden = pd.read_json(folder / "case.json", typ="series"), np.load(folder / "golden.npz")

    def draw(seed, shape):
        return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape).astype("float32")

    image, noise = (draw(**case["inputs"][side]) for side in ("image", "noise"))
    keys, options = case["inputs"]["subset_keys"], case["constructor"]
    pools = np.stack(
        [
            np.argsort(draw(keys["seed"] + k, keys["shape"]), kind="stable")[: options["pool"]]
            for k in range(options["repetitions"])
        ]
    )
    brain = options["gain"] * image + noise
    scores = similarity(brain, image)
    shares = pooled_retrieval(scores, pools)
    whole = pooled_retrieval(scores, np.arange(len(image))[None])
    np.testing.assert_array_equal(pools[0][:20], golden["first_subset"])
    for key, share in shares.items():
        np.testing.assert_allclose(share, golden[key], atol=case["tolerance"])
    for key in ("image_retrieval", "brain_retrieval"):
        assert shares[key].mean() == pytest.approx(golden[f"{key}_mean"][0], abs=case["tolerance"])
    assert whole["image_retrieval"][0] == pytest.approx(
        golden["full_pool_image_top1"][0], abs=case["tolerance"]
    )


@pytest.mark.parametrize("shape", [(6,), (3, 4)], ids=["vectors", "sequences"])
def test_blocks_give_what_the_whole_gives(rng, monkeypatch, shape):
    z, values = rng.normal(size=(11, *shape)), rng.normal(size=(13, *shape)).astype(np.float32)
    centre = Centre(rng.normal(size=shape), rng.normal(size=shape))
    flat = (z - centre.prediction).reshape(11, -1), (values - centre.target).reshape(13, -1)
    expected = np.array([[a @ b / np.sqrt(a @ a * (b @ b)) for b in flat[1]] for a in flat[0]])
    np.testing.assert_allclose(similarity(z, values, centre=centre), expected, atol=1e-6)
    monkeypatch.setattr("neurodec.evaluation.retrieval.similarity._BLOCK", 8 * expected.itemsize * 10)
    found = similarity(z, select(values, np.arange(13)), centre=centre)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    broken = z.copy()
    broken[7] = np.nan
    with pytest.raises(NeurodecError, match=r"1 prediction.*first row 7"):
        similarity(broken, values)
    values[9] = np.inf
    with pytest.raises(NeurodecError, match=r"1 candidate.*first row 9"):
        similarity(z, values)
