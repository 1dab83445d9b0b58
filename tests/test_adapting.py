"""A person new by pictures and responses alone: the same from arrays, images and trials, and what is refused."""

import nibabel
import numpy as np
import pytest
from in_context_voxels import cosine
from PIL import Image

from neurodec import NeuralDecoder
from neurodec.data import Study
from neurodec.decoders import GuidedDiffusion
from neurodec.errors import NeurodecError
from neurodec.features import OpenClip, embed_pictures
from neurodec.priors import LinearPrior
from neurodec.simulate.scenes import all_scenes, render
from neurodec.systems import InContextSystem

SAMPLING = {"n_steps": 2, "guidance": 1.5, "prior_n_steps": 2, "prior_guidance": 1.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Scenes with their embeddings, and a person whose 60 voxels are linear in them."""
    root = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    scenes = list(all_scenes(False))
    pictures = [render(scenes[row]) for row in rng.permutation(len(scenes))[:260]]
    for number, picture in enumerate(pictures):
        picture.save(root / f"{number}.png")
    embeddings = embed_pictures(pictures, "neurodec/tiny-clip")
    centred = embeddings - embeddings.mean(axis=0)
    clean = centred @ rng.normal(size=(128, 300))
    responses = 40 + 3 * (clean / clean.std(axis=0) + 0.5 * rng.normal(size=clean.shape))
    return root, pictures, embeddings, responses.astype(np.float32)


@pytest.fixture(scope="module")
def decoder(world, tmp_path_factory):
    """Closed-form, since nothing here is about what networks learn."""
    _, _, embeddings, responses = world
    folder = tmp_path_factory.mktemp("decoder") / "saved"
    from neurodec.data.intake import support_of
    from neurodec.features import Features

    names = [str(row) for row in range(len(embeddings))]
    study = Study.of(support_of(responses[:, :100], "other"), space="sub-other")
    targets = {"image": Features(embeddings, names, {"embedding_space": "neurodec/tiny-clip/unit"})}
    system = InContextSystem(way="prior", inverse="bayes")
    system.meta_fit(study, targets, None)
    system = system.adapt(study, targets)
    prior = LinearPrior().fit(
        embeddings, 3 * embeddings, np.arange(len(embeddings)) % 20, embedding_space="neurodec/tiny-clip"
    )
    config = {
        "decoder": {"class_path": "neurodec.decoders.GuidedDiffusion", "init_args": {}},
        "sampling": SAMPLING,
    }
    system.save_pretrained(folder / "system")
    system = InContextSystem.from_pretrained(folder / "system")
    made = NeuralDecoder(system, prior, GuidedDiffusion(), config)
    made.save_pretrained(folder.parent / "whole")
    return NeuralDecoder.from_pretrained(folder.parent / "whole")


def test_a_new_person_is_read_and_drawn(world, decoder, tmp_path):
    _, _, embeddings, responses = world
    adapted = decoder.adapt(embeddings[:200], responses[:200], "anna")
    z = adapted.embed(responses[200:], "anna")
    mean = embeddings[:200].mean(axis=0)
    assert cosine(z - mean, embeddings[200:] - mean) > 0.5
    assert len(adapted.decode(responses[200:202], "anna")) == 2
    adapted.save_pretrained(tmp_path / "anna")
    again = NeuralDecoder.from_pretrained(tmp_path / "anna")
    np.testing.assert_allclose(again.embed(responses[200:], "anna"), z, atol=1e-4)
    assert "anna" not in decoder.system.people  # the decoder itself stays as it was


def test_pictures_files_and_images_say_the_same(world, decoder):
    root, pictures, embeddings, responses = world
    wanted = decoder.adapt(embeddings[:50], responses[:50], "anna").embed(responses[200:205], "anna")
    files = [root / f"{number}.png" for number in range(50)]
    for shown in (pictures[:50], files, list(map(str, files))):
        found = decoder.adapt(shown, responses[:50], "anna").embed(responses[200:205], "anna")
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    twice = np.concatenate([embeddings[:50], embeddings[:50]])
    doubled = decoder.adapt(twice, np.concatenate([responses[:50]] * 2), "anna").embed(
        responses[200:205], "anna"
    )
    np.testing.assert_allclose(doubled, wanted, atol=1e-2)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    volumes = np.zeros((10, 10, 4, len(responses)), dtype=np.float32)
    volumes.reshape(400, -1)[40:340] = responses.T
    image = nibabel.Nifti1Image(volumes, affine)
    adapted = decoder.adapt(embeddings[:50], image.slicer[..., :50], "bert")
    np.testing.assert_allclose(adapted.embed(image.slicer[..., 200:205], "bert"), wanted, atol=1e-4)
    normalised = decoder.adapt(7 * embeddings[:50], responses[:50], "anna", normalize=True)
    np.testing.assert_allclose(normalised.embed(responses[200:205], "anna"), wanted, atol=1e-4)


def test_what_is_no_context_is_told(world, decoder):
    _, _, embeddings, responses = world
    with pytest.raises(NeurodecError, match=r"have not unit length .*pass normalize=True"):
        decoder.adapt(7 * embeddings[:50], responses[:50])
    with pytest.raises(NeurodecError, match="50 pictures and 49 responses"):
        decoder.adapt(embeddings[:50], responses[:49])
    with pytest.raises(NeurodecError, match="0 picture"):
        decoder.adapt(embeddings[:0], responses[:0])
    broken = responses[:50].copy()
    broken[3, 7] = np.nan
    with pytest.raises(NeurodecError, match="hold NaN or infinity"):
        decoder.adapt(embeddings[:50], broken)
    with pytest.raises(NeurodecError, match="give a 4-D image"):
        decoder.adapt(embeddings[:1], nibabel.Nifti1Image(np.zeros((3, 3, 3)), np.eye(4)))
    adapted = decoder.adapt(embeddings[:50], responses[:50], "anna")
    with pytest.raises(NeurodecError, match="cut them alike"):
        adapted.embed(responses[:5, :20], "anna")
    with pytest.raises(NeurodecError, match="cannot be embedded in else"):
        embed_pictures([Image.new("RGB", (8, 8))], "else")


def test_pictures_are_embedded_as_targets_are(world):
    import pandas as pd

    root, pictures, embeddings, _ = world
    table = pd.DataFrame({"stimulus": ["3", "9"], "image": ["3.png", "9.png"]})
    found = OpenClip(model="neurodec/tiny-clip").extract(table, root).values
    np.testing.assert_allclose(found, embeddings[[3, 9]], atol=1e-5)
    assert len(pictures) == 260
