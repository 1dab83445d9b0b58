import json

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from neurodec.errors import NeurodecError
from neurodec.priors import DiffusionPrior, LinearPrior, load_prior
from neurodec.priors.training import PriorModule

SMALL = {"hidden_dim": [64, 32], "time_embed_dim": 16, "batch_size": 500}


def seeded(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def fitted(pairs, rows=slice(None), checkpoints=None, **options):
    prior = DiffusionPrior(**{**SMALL, "max_epochs": 2, **options})
    return prior.fit(
        pairs.z[rows],
        pairs.targets[rows],
        pairs.groups[rows],
        embedding_space="test",
        checkpoints=checkpoints,
    )


@pytest.fixture(scope="module")
def quick(pairs):
    return fitted(pairs)


@pytest.fixture(scope="module")
def trained(pairs):
    return fitted(pairs, max_epochs=60, batch_size=250)


def assert_same(one, other, equal=True):
    one, other = one.state_dict(), other.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one) == equal


def test_samples_approach_the_gaussian_optimum(pairs, trained, correlate):
    draws = torch.stack(
        [trained.sample(pairs.z_test, seeded(range(k, k + 300)), n_steps=20, guidance=1.0) for k in range(20)]
    ).numpy()
    mean, best = draws.mean(axis=0), correlate(pairs.optimum, pairs.targets_test)
    assert correlate(mean, pairs.targets_test) > 0.93 * best
    assert correlate(mean, pairs.optimum) > 0.93
    assert abs(correlate(mean[::-1], pairs.targets_test)) < 0.1
    # One sample is as spread as the targets; two of a row differ less than two of different rows.
    spread = draws[0].var(axis=0).sum() / pairs.targets_test.var(axis=0).sum()
    assert spread == pytest.approx(1, abs=0.25)
    assert ((draws[0] - draws[1]) ** 2).sum() < 0.6 * ((draws[0] - draws[1, ::-1]) ** 2).sum()


def test_guidance_exaggerates_what_the_brain_tells(pairs, trained, correlate):
    found = [
        correlate(
            trained.sample(pairs.z_test, seeded(range(300)), n_steps=20, guidance=g).numpy(), pairs.optimum
        )
        for g in (0.0, 1.0, 3.0)
    ]
    assert abs(found[0]) < 0.15
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("scheduler", ["ddim", "unipc"])
def test_the_other_schedulers_find_the_same_in_fewer_steps(pairs, trained, correlate, tmp_path, scheduler):
    trained.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["init_args"]["scheduler"] = scheduler
    (tmp_path / "config.json").write_text(json.dumps(config))
    other = load_prior(tmp_path)
    draws = [
        other.sample(pairs.z_test, seeded(range(k, k + 300)), n_steps=10, guidance=1.0).numpy()
        for k in range(20)
    ]
    assert correlate(np.mean(draws, axis=0), pairs.optimum) > 0.93


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "unipc"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_row_has_the_same_bits_in_whatever_batch(pairs, scheduler, guidance):
    prior = fitted(pairs, slice(0, 500), max_epochs=1, scheduler=scheduler)
    z = torch.from_numpy(pairs.z_test[:70])

    def sample(rows):
        return prior.sample(z[rows], seeded(rows), n_steps=6, guidance=guidance)

    whole = sample(list(range(70)))
    for rows in ([0], [69], [40, 3, 17], list(range(69, -1, -1))):
        assert torch.equal(sample(rows), whole[rows])


def test_one_generator_serves_the_batch(pairs, quick):
    z = pairs.z_test[:5]
    one, again, other = (
        quick.sample(z, torch.Generator().manual_seed(seed), n_steps=4) for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_length_of_z_does_not_matter(pairs, quick):
    torch.testing.assert_close(
        quick.sample(pairs.z_test * 7, seeded(range(300)), n_steps=3),
        quick.sample(pairs.z_test, seeded(range(300)), n_steps=3),
        atol=1e-3,
        rtol=1e-3,
    )


def test_the_seed_decides_everything(pairs, quick):
    state = torch.get_rng_state()
    again = fitted(pairs)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(quick, again)
    assert_same(quick, fitted(pairs, seed=1), equal=False)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("damaged", [False, True])
def test_a_killed_fit_ends_as_an_unbroken_one(pairs, tmp_path, monkeypatch, damaged):
    whole = fitted(pairs, max_epochs=4)
    epochs = []

    def killed_in_the_third_epoch(module):
        epochs.append(module.current_epoch)
        if epochs == [0, 1, 2]:
            raise Killed

    monkeypatch.setattr(PriorModule, "on_train_epoch_start", killed_in_the_third_epoch)
    with pytest.raises(Killed):
        fitted(pairs, max_epochs=4, checkpoints=tmp_path)
    if damaged:
        (path,) = tmp_path.glob("*.ckpt")
        path.write_bytes(path.read_bytes()[:1000])
    assert_same(whole, fitted(pairs, max_epochs=4, checkpoints=tmp_path))
    assert epochs == [0, 1, 2, *((0, 1, 2, 3) if damaged else (2, 3))]


def test_a_checkpoint_of_other_data_is_not_taken(pairs, tmp_path, quick):
    fitted(pairs, slice(0, 2000), checkpoints=tmp_path)
    assert_same(quick, fitted(pairs, checkpoints=tmp_path))
    assert_same(quick, fitted(pairs, checkpoints=tmp_path))  # it had already ended


def test_validation_consists_of_other_concepts_and_the_best_epoch_counts(pairs, monkeypatch):
    seen = {"training_step": [], "validation_step": []}
    losses, states = [], []
    for name in seen:
        original = getattr(PriorModule, name)

        def recorded(module, batch, index, name=name, original=original):
            seen[name].append(batch[1])
            result = original(module, batch, index)
            if name == "validation_step":
                losses.append(float(module.best_loss))
                states.append(
                    {key: value.clone() for key, value in module.average.module.state_dict().items()}
                )
            return result

        monkeypatch.setattr(PriorModule, name, recorded)
    prior = fitted(pairs, max_epochs=3, lr=0.05)
    places = {target.tobytes(): place for place, target in enumerate(standardised(pairs, prior))}
    concepts = {
        name: {pairs.groups[places[row.numpy().tobytes()]] for batch in batches for row in batch}
        for name, batches in seen.items()
    }
    assert not concepts["training_step"] & concepts["validation_step"]
    assert len(concepts["validation_step"]) == 10
    best = losses.index(min(losses))
    assert all(torch.equal(value, states[best][name]) for name, value in prior.network.state_dict().items())


def standardised(pairs, prior):
    return ((torch.from_numpy(pairs.targets) - prior.target_mean) / prior.target_scale).numpy()


def published_sampler(network, c, generator, n_steps, guidance):
    """Sample one row as the authors do: every term anew in every step."""
    scheduler = DDPMScheduler()
    scheduler.set_timesteps(n_steps)
    x = torch.randn(1, network.embed_dim, generator=generator)
    with torch.no_grad():
        for t in scheduler.timesteps:
            conditional, unconditional = network(x, t[None], c), network(x, t[None])
            x = scheduler.step(
                unconditional + guidance * (conditional - unconditional), t, x, generator=generator
            ).prev_sample
    return x


def test_the_published_form_is_the_authors(pairs):
    prior = fitted(pairs, published=True)
    assert (float(prior.target_scale), float(prior.condition_scale)) == (1, 1)
    assert not prior.target_mean.any()
    assert prior.options["ema_decay"] == prior.options["validation_fraction"] == 0
    z = torch.from_numpy(pairs.z_test[:4])
    rows = [
        published_sampler(prior.network.eval(), row[None], *seeded([i]), 10, 5.0) for i, row in enumerate(z)
    ]
    drawn = prior.sample(z, seeded(range(4)), n_steps=10)
    torch.testing.assert_close(drawn, torch.cat(rows), atol=1e-3, rtol=1e-3)
    assert drawn.abs().max() <= 1
    assert fitted(pairs).sample(z, seeded(range(4)), n_steps=10).max() > 1  # targets are around 3


def test_the_published_form_drops_the_condition_of_whole_batches(pairs, monkeypatch):
    conditions = []
    original = PriorModule.loss

    def recorded(module, network, condition, target, dropped=None):
        conditions.append((condition is None, dropped))
        return original(module, network, condition, target, dropped)

    monkeypatch.setattr(PriorModule, "loss", recorded)
    fitted(pairs, slice(0, 1000), published=True, batch_size=20, condition_dropout=0.3)
    assert all(dropped is None for _, dropped in conditions)
    assert 0.1 < np.mean([absent for absent, _ in conditions]) < 0.5
    conditions.clear()
    fitted(pairs, slice(0, 1000), validation_fraction=0.0, max_epochs=1, condition_dropout=0.3)
    assert not any(absent for absent, _ in conditions)
    assert all(0.2 < dropped.float().mean() < 0.4 for _, dropped in conditions)


def test_a_published_checkpoint_comes_in(pairs, tmp_path):
    prior = fitted(pairs, slice(0, 500), published=True, max_epochs=1)
    torch.save(prior.network.state_dict(), tmp_path / "prior.pt")
    loaded = DiffusionPrior.load_published(tmp_path / "prior.pt", "test")
    z = pairs.z_test[:3]
    assert torch.equal(loaded.sample(z, seeded(range(3))), prior.sample(z, seeded(range(3))))
    loaded.save_pretrained(tmp_path / "ours")
    assert_same(load_prior(tmp_path / "ours"), loaded)


def test_it_comes_back_from_its_folder(pairs, quick, tmp_path):
    quick.save_pretrained(tmp_path)
    loaded = load_prior(tmp_path)
    assert isinstance(loaded, DiffusionPrior)
    assert loaded.embedding_space == "test"
    assert loaded.options == quick.options
    z = pairs.z_test[:3]
    assert torch.equal(loaded.sample(z, seeded(range(3))), quick.sample(z, seeded(range(3))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_folder_that_does_not_fit_names_every_tensor(quick, tmp_path):
    quick.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "embed_dim": 21}))
    with pytest.raises(NeurodecError) as error:
        DiffusionPrior.from_pretrained(tmp_path)
    names = ("target_mean", "network.input_layer.0.weight", "network.output_layer.bias")
    assert all(name in str(error.value) for name in names)


def test_a_folder_of_something_else_is_refused(quick, tmp_path):
    quick.save_pretrained(tmp_path)
    with pytest.raises(NeurodecError, match=r"not neurodec\.priors\.LinearPrior"):
        LinearPrior.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for content, words in (
        ({**config, "class_path": "os.system"}, r"os\.system is outside the allowed packages"),
        ({**config, "class_path": "torch.nn.Linear"}, "is not a subclass of Prior"),
        ([], "names no class"),
        ({"class_path": config["class_path"]}, "lacks init_args"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(content))
        with pytest.raises(NeurodecError, match=words):
            load_prior(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z": np.full((2, 32), np.nan)}, "first row 0, hold NaN"),
        ({"z": np.ones((2, 31))}, r"shape \(2, 31\).*\(n, 32\)"),
        ({"z": np.ones(32)}, "shape"),
        ({"z": np.ones((0, 32))}, "at least one row"),
        ({"generator": seeded([1])}, "1 generators for 2 rows"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"n_steps": 1001}, "1 to 1000"),
    ],
)
def test_a_bad_request_is_one_sentence(quick, change, words):
    call = {"z": np.ones((2, 32)), "generator": seeded([1, 2]), **change}
    with pytest.raises(NeurodecError, match=words):
        quick.sample(**call)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z": np.ones((3, 2))}, "do not pair up"),
        ({"groups": ["a"] * 4}, "two groups"),
        ({"targets": np.array([[1.0], [np.inf], [0.0], [2.0]])}, "first row 1, hold NaN"),
    ],
)
def test_bad_pairs_are_one_sentence(change, words):
    call = {"z": np.ones((4, 2)), "targets": np.ones((4, 1)), "groups": list("aabb"), **change}
    with pytest.raises(NeurodecError, match=words):
        DiffusionPrior().fit(**call, embedding_space="test")


def test_something_must_be_left_to_train_on(pairs):
    with pytest.raises(NeurodecError, match="holds out all 2 groups"):
        DiffusionPrior(validation_fraction=0.9).fit(
            pairs.z[:4], pairs.targets[:4], list("aabb"), embedding_space="test"
        )


def test_a_prior_must_be_fitted_and_possible(tmp_path):
    with pytest.raises(NeurodecError, match="never fitted"):
        DiffusionPrior().sample(np.ones((1, 4)), seeded([0]))
    with pytest.raises(NeurodecError, match="never fitted"):
        DiffusionPrior().save_pretrained(tmp_path)
    with pytest.raises(NeurodecError, match="not a scheduler"):
        DiffusionPrior(scheduler="euler")
    with pytest.raises(NeurodecError, match="clips"):
        DiffusionPrior(scheduler="unipc", published=True)
