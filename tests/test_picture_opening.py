import numpy as np
import pytest
from PIL import Image

from neurodec import NeurodecError
from neurodec.features.autoencoder_latents import AutoencoderLatents
from neurodec.picture_opening import open_picture
from neurodec.report.thumbnails import thumbnail


@pytest.fixture
def scene(rng):
    return Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))


def pixels(file):
    return np.asarray(open_picture(file)).astype(int)


def test_a_camera_that_was_turned(tmp_path, scene):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.asarray(scene))


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_of_grey(tmp_path, scene, kind):
    grey = np.asarray(scene.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"a.{kind}")
    np.testing.assert_array_equal(pixels(tmp_path / f"a.{kind}"), np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_the_other_way_round(tmp_path):
    values = np.linspace(0, 65535, 12).astype(">u2").reshape(3, 4)
    Image.frombytes("I;16B", (4, 3), values.tobytes()).save(tmp_path / "a.tiff")
    np.testing.assert_allclose(pixels(tmp_path / "a.tiff")[..., 0], values.astype(int) / 257, atol=0.51)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_the_page(tmp_path, scene, mode):
    seen = scene.convert(mode)
    seen.putalpha(
        Image.fromarray(np.where(np.arange(24)[:, None] < 12, 0, 255).astype(np.uint8).repeat(32, axis=1))
    )
    seen.save(tmp_path / "a.png")
    found = pixels(tmp_path / "a.png")
    assert (found[:12] == 255).all()
    np.testing.assert_array_equal(found[12:], np.asarray(scene.convert(mode[:-1]).convert("RGB"))[12:])


def test_a_palette_with_a_transparent_colour(tmp_path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 200, 10, 20])
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "a.png", transparency=0)
    found = pixels(tmp_path / "a.png")
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[1, 1].tolist() == [200, 10, 20]


def test_fractions_are_no_brightness(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(NeurodecError, match="holds fractions, not brightness"):
        open_picture(tmp_path / "a.tiff")


@pytest.mark.parametrize("side", [9_500, 30_000])
def test_pictures_too_large_to_be_pictures(tmp_path, side):
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    with pytest.raises(NeurodecError, match=r"a.png"):
        open_picture(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_damaged_ones_are_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(NeurodecError, match=r"a.png cannot be read as a picture"):
        open_picture(tmp_path / "a.png")


def test_targets_latents_and_report_see_the_same(tmp_path, scene):
    exif = Image.Exif()
    exif[0x0112] = 3
    scene.rotate(180).save(tmp_path / "turned.png", exif=exif)
    scene.save(tmp_path / "plain.png")
    assert thumbnail(tmp_path / "turned.png") == thumbnail(tmp_path / "plain.png")
    latents = AutoencoderLatents.__new__(AutoencoderLatents)
    object.__setattr__(latents, "size", 16)
    np.testing.assert_array_equal(
        latents._pixels(tmp_path / "turned.png"), latents._pixels(tmp_path / "plain.png")
    )
