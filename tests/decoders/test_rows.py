"""Bad input to a decoder: one sentence each, before anything is drawn."""

import pytest
import torch
from decoders.drawing import seeded
from PIL import Image

from neurodec import NeurodecError
from neurodec.decoders import GuidedDiffusion
from neurodec.decoders.checked_rows import in_batches, square


@pytest.fixture(scope="session")
def decoder(textless, adapters):
    return GuidedDiffusion(
        str(textless), str(adapters), "sdxl_models", "ip-adapter_sdxl_vit-h.safetensors", device="cpu"
    )


def holed(value):
    rows = torch.ones(3, 20)
    rows[1, 4] = value
    return rows


UNIT = torch.nn.functional.normalize(torch.arange(60.0).reshape(3, 20) + 1, dim=1)
PICTURE = Image.new("RGB", (16, 16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_embeds": torch.ones(3, 16)},
            r"shape \(3, 16\), the decoder reads \(B, 20\) of open_clip/ViT-H",
        ),
        ({"image_embeds": torch.ones(20)}, r"shape \(20,\), the decoder reads \(B, 20\)"),
        ({"image_embeds": torch.ones(3, 17, 20)}, r"shape \(3, 17, 20\)"),
        ({"image_embeds": torch.ones(0, 20), "generator": []}, "no embedding to decode"),
        ({"image_embeds": holed(float("nan"))}, r"1 embedding\(s\), first row 1, hold NaN"),
        ({"image_embeds": holed(float("inf"))}, r"1 embedding\(s\), first row 1, hold NaN or infinity"),
        ({"image_embeds": UNIT}, r"length 1.*`normalize: false`"),
        (
            {"embedding_space": "neurodec/tiny-clip"},
            r"are of neurodec/tiny-clip, the decoder reads open_clip/ViT-H",
        ),
        ({"generator": seeded(range(2))}, "3 embeddings but 2 generators"),
        ({"generator": torch.Generator()}, "One generator was given for all rows"),
        ({"generator": [torch.Generator()] * 3}, "share one generator"),
        ({"captions": ["a dog"] * 3}, "has no text encoder and cannot use captions"),
        ({"captions": ["a dog"]}, "3 embeddings but 1 captions"),
        ({"captions": "a dog"}, "One caption was given for all rows"),
        ({"init_images": [PICTURE] * 4}, "3 embeddings but 4 first pictures"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"guidance": -1.0}, r"guidance is -1\.0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"init_images": [PICTURE] * 3, "strength": 0.0}, r"strength is 0\.0"),
        ({"init_images": [PICTURE] * 3, "strength": 1.5}, r"strength is 1\.5"),
        ({"init_images": [PICTURE] * 3, "strength": 0.2}, r"4 step\(s\) at strength 0\.2 leave none"),
    ],
)
def test_bad_input_is_one_sentence(decoder, changes, message):
    good = {"image_embeds": torch.ones(3, 20), "generator": seeded(range(3)), "n_steps": 4, "guidance": 0.0}
    with pytest.raises(NeurodecError, match=message) as error:
        decoder.draw(**good | changes)
    assert "\n" not in str(error.value)


def test_batches_cover_every_row_once():
    for batch_size in (1, 3, 4, 10, 11):
        rows = in_batches(10, batch_size, lambda part: list(range(part.start, part.stop)), "counting")
        assert rows == list(range(10))


def test_square_leaves_pictures_of_the_right_size_alone():
    noise = Image.effect_noise((16, 16), 50)
    same, resized = square([noise.convert("RGB"), noise.resize((20, 12))], 16)
    assert same.tobytes() == noise.convert("RGB").tobytes()
    assert (resized.size, resized.mode) == ((16, 16), "RGB")
