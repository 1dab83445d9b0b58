"""Features of sound over time: numbers against plain references, clips that leak nothing, windows of a view."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.io import wavfile
from transformers import (
    BertConfig,
    BertModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperModel,
)

from neurodec.embedded.tiny_speech import new_speech_network
from neurodec.errors import NeurodecError
from neurodec.features import Mel, SpeechNetwork
from neurodec.features.audio import at_rate, read_sound, standardised
from neurodec.features.weights import ASSETS

TINY = {"model": "neurodec/tiny-speech", "layers": [1, 3]}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    loud = np.repeat(rng.uniform(0.1, 1, 40), 4000)
    sound = (loud * rng.standard_normal(160_000) * 3000).astype(np.int16)
    wavfile.write(tmp_path / "story.wav", 16_000, np.stack([sound, sound], axis=1))
    return tmp_path


def _stimuli(offsets, start=0.0, stop=10.0, duration=343 / 120):
    return pd.DataFrame(
        {
            "stimulus": [f"at {offset}" for offset in offsets],
            "audio": "story.wav",
            "offset": [str(offset) for offset in offsets],
            "duration": str(duration),
            "clip_start": str(start),
            "clip_stop": str(stop),
            "split": "train",
        }
    )


def test_hidden_states_are_those_of_transformers_own_way(root):
    network = SpeechNetwork(**TINY, scale=False, half=False)
    sound, rate = read_sound(root / "story.wav")
    given = Wav2Vec2FeatureExtractor(do_normalize=True)(sound, sampling_rate=rate, return_tensors="pt")
    packaged = type(new_speech_network()).from_pretrained(ASSETS / "tiny-speech").eval()
    with torch.inference_mode():
        states = packaged(given.input_values, output_hidden_states=True).hidden_states
    wanted = torch.stack([states[1][0], states[3][0]]).mean(dim=0).T.numpy()
    np.testing.assert_allclose(network.of_sound(sound, rate), wanted, atol=2e-5)
    assert wanted.shape[1] == (len(sound) - 400) // 320 + 1


def test_packaged_weights_are_of_the_network_that_the_builder_makes():
    """Their names and shapes; random numbers differ between versions of PyTorch and transformers."""
    made = new_speech_network()
    packaged = type(made).from_pretrained(ASSETS / "tiny-speech").state_dict()
    assert {name: value.shape for name, value in packaged.items()} == {
        name: value.shape for name, value in made.state_dict().items()
    }
    assert all(
        float(value.std()) > 0 for name, value in packaged.items() if name.endswith("attention.q_proj.weight")
    )


@pytest.mark.parametrize("kind", ["hubert", "whisper"])
def test_other_networks_of_speech_have_the_same_interface(root, kind):
    torch.manual_seed(0)
    if kind == "hubert":
        config = HubertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        )  # fmt: skip
        model = HubertModel(config)
    else:
        config = WhisperConfig(
            d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=80, vocab_size=60, pad_token_id=0, bos_token_id=1,
            eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
        )  # fmt: skip
        model = WhisperModel(config)
    model.save_pretrained(root / kind)
    found = SpeechNetwork(str(root / kind), layers=[-1]).extract(_stimuli([0.5, 1.0]), root)
    assert found.values.shape == (2, 16, 343)
    assert np.asarray(found.values).std() > 0.1


def test_mel_is_log_power_in_htk_bands(root):
    sound, rate = read_sound(root / "story.wav")
    mel = Mel(n_bands=20).of_sound(sound, rate)
    wave = np.pad(at_rate(standardised(sound), rate), 256, mode="reflect")
    window = np.hanning(513)[:-1]
    frames = np.stack([wave[start : start + 512] for start in range(0, len(wave) - 511, 128)])
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 / (window**2).sum()
    hertz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 22) / 2595) - 1)
    grid = np.linspace(0, 8000, 257)
    rise = (grid[:, None] - hertz[:-2]) / np.diff(hertz)[:-1]
    fall = (hertz[2:] - grid[:, None]) / np.diff(hertz)[1:]
    wanted = np.log10(power @ np.maximum(0, np.minimum(rise, fall)) + 1e-5).T
    np.testing.assert_allclose(mel, wanted, atol=1e-3)


def test_windows_take_the_nearest_frame_and_are_zero_beside_their_clip(root):
    mel = Mel(n_bands=8, scale=False)
    found = np.asarray(mel.extract(_stimuli([-1.0, 2.0], 0.0, 8.0), root).values)
    sound, rate = read_sound(root / "story.wav", 0.0, 8.0)
    clip = mel.of_sound(sound, rate)
    per_second = clip.shape[1] / 8.0
    first, last = round(2 * per_second), round((2 + 361 / 120) * per_second)
    nearest = first + np.arange(361) * (last - first) // 361
    np.testing.assert_array_equal(found[1], clip[:, nearest[:343]])
    assert not found[0, :, :120].any()
    assert found[0, :, 121:].any(axis=0).all()


def test_features_of_a_clip_follow_from_its_own_sound_alone(root):
    def of(start, stop):
        network = SpeechNetwork(**TINY, scale=False, half=False)
        return np.asarray(network.extract(_stimuli([4.0], start, stop), root).values)

    before = of(3.0, 8.0)
    rate, sound = wavfile.read(root / "story.wav")
    sound[: 3 * rate] = 0
    sound[8 * rate :] = 0
    wavfile.write(root / "story.wav", rate, sound)
    np.testing.assert_array_equal(of(3.0, 8.0), before)


def test_scale_is_that_of_spoken_training_samples(root):
    stimuli = _stimuli(np.arange(0, 6, 0.5)).assign(spoken="0.500-1.000 2.000-2.500")
    stimuli.loc[6:, "split"] = "test"
    plain = np.asarray(Mel(n_bands=8, scale=False).extract(stimuli, root).values)
    scaled = np.asarray(Mel(n_bands=8).extract(stimuli, root).values)
    chosen = np.concatenate([plain[:6, :, 60:120], plain[:6, :, 240:300]], axis=2)
    np.testing.assert_allclose(scaled, (plain - chosen.mean()) / chosen.std(), atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_sounds_of_other_rates_are_brought_to_one(tmp_path, rate):
    times = np.arange(2 * rate) / rate
    wavfile.write(tmp_path / "a.wav", rate, (0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32))
    sound = at_rate(*read_sound(tmp_path / "a.wav"))
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(sound)) / 16_000)
    np.testing.assert_allclose(sound[500:-500], wanted[500:-500], atol=2e-3)


def test_depths_of_wav_are_scaled_to_one(tmp_path):
    for kind, most in ((np.uint8, 255), (np.int16, 32767), (np.int32, 2**31 - 1)):
        wavfile.write(tmp_path / "a.wav", 8000, np.full(400, most, dtype=kind))
        assert read_sound(tmp_path / "a.wav")[0] == pytest.approx(1.0, abs=0.01)
    depth24 = np.repeat(np.frombuffer((2**23 - 1).to_bytes(3, "little"), np.uint8)[None], 400, axis=0)
    header = b"RIFF" + (36 + 1200).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += b"".join(
        n.to_bytes(size, "little") for n, size in ((1, 2), (1, 2), (8000, 4), (24000, 4), (3, 2), (24, 2))
    )
    (tmp_path / "b.wav").write_bytes(header + b"data" + (1200).to_bytes(4, "little") + depth24.tobytes())
    assert read_sound(tmp_path / "b.wav")[0] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda table: table.drop(columns="audio"), "need the column"),
        (lambda table: table.assign(audio=""), "have no sound"),
        (lambda table: table.assign(audio="other.wav"), "is missing"),
        (lambda table: table.assign(clip_stop="12.0"), "lasts 10.00 s"),
        (lambda table: table.assign(duration=["2", "3"]), "several durations"),
    ],
)
def test_what_has_no_features_is_one_sentence(root, change, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        Mel().extract(change(_stimuli([0.0, 1.0])), root)


def test_layers_that_are_not_there_and_networks_that_are_not_here(root):
    with pytest.raises(NeurodecError, match="hidden states 0 to 4"):
        SpeechNetwork("neurodec/tiny-speech", layers=[14]).extract(_stimuli([0.0]), root)
    with pytest.raises(NeurodecError, match="hf download facebook/wav2vec2-large-xlsr-53"):
        SpeechNetwork().extract(_stimuli([0.0]), root)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(**sizes, vocab_size=10)).save_pretrained(root / "text")
    with pytest.raises(NeurodecError, match="reads no sound"):
        SpeechNetwork(str(root / "text")).extract(_stimuli([0.0]), root)
