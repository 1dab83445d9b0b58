"""What is absent, damaged or foreign is reported in one sentence that names the part and the remedy."""

import json
import shutil
import socket

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from diffusers.utils import logging as diffusers_log
from safetensors.torch import load_file, save_file

from neurodec import NeurodecError
from neurodec.decoders import Captioner, GuidedDiffusion, Kandinsky
from neurodec.foreign_code import quiet

PLACE = {"adapter_subfolder": "sdxl_models", "adapter_weights": "ip-adapter_sdxl_vit-h.safetensors"}


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty Hugging Face cache, and a machine whose every connection fails the test."""

    def refuse(*_arguments, **_options):
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return cache


def cached(cache, name, folder):
    """Put a folder into the cache as the hub's client does."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, repository / "snapshots" / ("0" * 40))


@pytest.mark.parametrize(
    ("build", "facts"),
    [
        (
            lambda **files: GuidedDiffusion("stabilityai/sdxl-turbo", files["adapters"], **PLACE),
            [
                "sdxl-turbo",
                "6.9 GB",
                "Stability AI",
                "hf download stabilityai/sdxl-turbo --include",
                ".fp16.",
            ],
        ),
        (
            lambda **files: GuidedDiffusion("someone/their-model", files["adapters"], **PLACE),
            ["someone/their-model", "model card", "hf download someone/their-model  ("],
        ),
        (
            lambda **files: GuidedDiffusion(files["sdxl"], "h94/IP-Adapter", **PLACE),
            ["Apache-2.0", "hf download h94/IP-Adapter sdxl_models/ip-adapter_sdxl_vit-h.safetensors"],
        ),
        (
            lambda **_: Kandinsky(),
            ["5.3 GB", "Apache-2.0", "hf download kandinsky-community/kandinsky-2-2-dec"],
        ),
        (
            lambda **files: Captioner(files["projector"]),
            ["1.6 GB", "licence MIT", "hf download microsoft/git-large-coco"],
        ),
    ],
    ids=["sdxl-turbo", "unknown", "adapter", "kandinsky", "git"],
)
def test_what_is_not_here_is_named_with_size_licence_and_command(
    build, facts, sdxl, adapters, projector, no_network
):
    with pytest.raises(NeurodecError) as error:
        build(sdxl=str(sdxl), adapters=str(adapters), projector=str(projector))
    assert all(fact in str(error.value) for fact in facts)


def test_hub_ids_are_read_from_the_cache(sdxl, adapters, no_network):
    """The very strings of the documentation, without network: the same pictures as from the folders."""
    cached(no_network, "stabilityai/sdxl-turbo", sdxl)
    cached(no_network, "h94/IP-Adapter", adapters)
    pictures = [
        GuidedDiffusion(pipeline, adapter, **PLACE, device="cpu").draw(
            torch.full((1, 20), 0.5), generator=[torch.Generator().manual_seed(0)], n_steps=1, guidance=0.0
        )[0]
        for pipeline, adapter in ((str(sdxl), str(adapters)), ("stabilityai/sdxl-turbo", "h94/IP-Adapter"))
    ]
    assert np.array_equal(*pictures)


def test_a_partly_fetched_hub_id_names_part_and_command(sdxl, adapters, no_network):
    cached(no_network, "stabilityai/sdxl-turbo", sdxl)
    shutil.rmtree(next(no_network.glob("**/unet")))
    with pytest.raises(NeurodecError, match=r"The unet of stabilityai/sdxl-turbo is missing.*hf download"):
        GuidedDiffusion("stabilityai/sdxl-turbo", str(adapters), **PLACE)


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def without_a_tensor(file):
    state = load_file(file)
    state.pop(next(name for name in state if name.startswith("conv_in")))
    save_file(state, file)


def pickled(file):
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()


def reindexed(**changes):
    def change(file):
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def sharded(file):
    """The index of two shards, one of which did not arrive."""
    index = {"weight_map": {"conv_in.weight": "part-1.safetensors", "conv_in.bias": "part-2.safetensors"}}
    file.with_name("diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    file.rename(file.with_name("part-1.safetensors"))


UNET = "unet/diffusion_pytorch_model.safetensors"
DAMAGES = {
    "unet cut short": (UNET, cut, r"The unet of .* is damaged or cut short"),
    "unet empty": (UNET, lambda file: file.write_bytes(b""), r"The unet of .* is damaged or cut short"),
    "autoencoder cut short": ("vae/diffusion_pytorch_model.safetensors", cut, "The vae of .* cut short"),
    "text encoder cut short": ("text_encoder_2/model.safetensors", cut, "The text_encoder_2 of .* cut short"),
    "tensor missing": (UNET, without_a_tensor, r"The unet of .* holds \d+ of \d+ tensors"),
    "pickle": (UNET, pickled, r"The unet of .* has no diffusion_pytorch_model\.safetensors"),
    "shard missing": (UNET, sharded, r"The unet of .* lacks its file part-2\.safetensors"),
    "part missing": ("vae", shutil.rmtree, "The vae of .* is missing"),
    "weights missing": (UNET, lambda file: file.unlink(), "The unet of .* has no diffusion_pytorch_model"),
    "settings missing": ("unet/config.json", lambda file: file.unlink(), "The unet of .* has no config.json"),
    "settings garbled": (
        "vae/config.json",
        lambda file: file.write_text("{"),
        "The vae of .* unreadable config.json",
    ),
    "scheduler missing": ("scheduler", shutil.rmtree, "The scheduler of .* has no scheduler_config.json"),
    "vocabulary missing": (
        "tokenizer/merges.txt",
        lambda file: file.unlink(),
        "The tokenizer of .* incomplete",
    ),
    "index missing": ("model_index.json", lambda file: file.unlink(), "has no model_index.json"),
    "other sizes": ("unet/config.json", reindexed(cross_attention_dim=40), "cannot be loaded"),
    "foreign code": (
        "model_index.json",
        reindexed(unet=["their_package", "TheirNetwork"]),
        "The unet of .* is a class of their_package",
    ),
    "other pipeline": (
        "model_index.json",
        reindexed(_class_name="FluxPipeline"),
        "holds a FluxPipeline, which is none of",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_names_the_part(sdxl, adapters, tmp_path, damage):
    place, harm, message = DAMAGES[damage]
    folder = shutil.copytree(sdxl, tmp_path / "pipeline")
    harm(folder / place)
    with pytest.raises(NeurodecError, match=message):
        GuidedDiffusion(str(folder), str(adapters), **PLACE, device="cpu")


def faces(shapes):
    return {"image_proj.proj.0.weight": torch.zeros(2, 2), "image_proj.norm.weight": torch.zeros(2)}


def shallower(state):
    return {name: value for name, value in state.items() if not name.startswith("ip_adapter.1.")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (faces, "reads neither an image embedding nor its tokens"),
        (shallower, "was made for another network"),
    ],
    ids=["faces", "shallower"],
)
def test_another_adapter_is_refused(sdxl, adapters, tmp_path, change, message):
    state = load_file(adapters / "sdxl_models" / PLACE["adapter_weights"])
    save_file(change(state), tmp_path / PLACE["adapter_weights"])
    with pytest.raises(NeurodecError, match=message):
        GuidedDiffusion(str(sdxl), str(tmp_path), "", PLACE["adapter_weights"], device="cpu")


def test_bad_names_of_adapters_are_sentences(sdxl, sd15, adapters, tmp_path):
    with pytest.raises(NeurodecError, match="was made for another network than"):
        GuidedDiffusion(str(sd15), str(adapters), **PLACE, device="cpu")
    with pytest.raises(NeurodecError, match=r"has no models/ip-adapter_sdxl\.safetensors"):
        GuidedDiffusion(str(sdxl), str(adapters), "models", "ip-adapter_sdxl.safetensors")
    with pytest.raises(NeurodecError, match=r"mine\.safetensors reads is not known"):
        GuidedDiffusion(str(sdxl), str(adapters), "", "mine.safetensors")
    torch.save({}, tmp_path / "ip-adapter_sd15.bin")
    with pytest.raises(NeurodecError, match="is not a safetensors file"):
        GuidedDiffusion(str(sdxl), str(tmp_path), "", "ip-adapter_sd15.bin", "open_clip/ViT-H-14/mine")
    shutil.copy(adapters / "sdxl_models" / PLACE["adapter_weights"], tmp_path)
    cut(tmp_path / PLACE["adapter_weights"])
    with pytest.raises(NeurodecError, match=r"The adapter of .* is damaged or cut short"):
        GuidedDiffusion(str(sdxl), str(tmp_path), "", PLACE["adapter_weights"])


def test_bad_names_of_pipelines_are_sentences(adapters, kandinsky):
    with pytest.raises(NeurodecError, match="folder no/such/folder does not exist"):
        GuidedDiffusion("no/such/folder", str(adapters), **PLACE)
    with pytest.raises(NeurodecError, match="not among the packaged"):
        GuidedDiffusion("neurodec/huge-decoder", str(adapters), **PLACE)
    with pytest.raises(NeurodecError, match="holds a KandinskyV22Pipeline"):
        GuidedDiffusion(str(kandinsky), str(adapters), **PLACE)


def test_files_in_half_precision_alone_will_do(sdxl, adapters, tmp_path):
    """What the printed command fetches: ``*.fp16.safetensors`` and no others."""
    folder = shutil.copytree(sdxl, tmp_path / "pipeline")
    for file in folder.glob("*/*.safetensors"):
        save_file(
            {name: value.half() for name, value in load_file(file).items()},
            file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")),
        )
        file.unlink()
    decoder = GuidedDiffusion(str(folder), str(adapters), **PLACE, device="cpu")
    stored = load_file(folder / UNET.replace(".safetensors", ".fp16.safetensors"))["conv_in.weight"]
    assert torch.equal(decoder._pipeline.unet.conv_in.weight, stored.float())
    cut(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(NeurodecError, match=r"The vae of .* cut short"):
        GuidedDiffusion(str(folder), str(adapters), **PLACE, device="cpu")


def test_a_folder_saved_in_image_to_image_form_is_the_same(sdxl, adapters, tmp_path):
    folder = shutil.copytree(sdxl, tmp_path / "pipeline")
    reindexed(_class_name="StableDiffusionXLImg2ImgPipeline")(folder / "model_index.json")
    pictures = [
        GuidedDiffusion(str(each), str(adapters), **PLACE, device="cpu").draw(
            torch.zeros(1, 20), generator=[torch.Generator().manual_seed(0)], n_steps=1, guidance=0.0
        )[0]
        for each in (sdxl, folder)
    ]
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("device", ["abacus", "xla"])  # unknown to torch, and known but not built in
def test_devices_are_checked(sdxl, adapters, device):
    with pytest.raises(NeurodecError, match=f"There is no device {device}"):
        GuidedDiffusion(str(sdxl), str(adapters), **PLACE, device=device)


def test_offload_needs_a_gpu(sdxl, adapters):
    with pytest.raises(NeurodecError, match="offload: model keeps parts off a GPU"):
        GuidedDiffusion(str(sdxl), str(adapters), **PLACE, device="cpu", offload="model")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_an_absent_gpu_is_a_sentence(sdxl, adapters):
    with pytest.raises(NeurodecError, match="There is no device cuda"):
        GuidedDiffusion(str(sdxl), str(adapters), **PLACE, device="cuda")


def test_a_full_gpu_is_advice(sdxl, adapters, monkeypatch):
    decoder = GuidedDiffusion(str(sdxl), str(adapters), **PLACE, device="cpu")

    def fill(*_inputs, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(decoder._pipeline.unet, "forward", fill)
    with pytest.raises(
        NeurodecError, match=r"out of memory while decoding pictures 8 at once; lower .* offload"
    ):
        decoder.draw(torch.zeros(1, 20), generator=[torch.Generator()], n_steps=1, guidance=0.0)


def test_silence_ends_with_an_error():
    before = diffusers_log.get_verbosity(), diffusers_log.is_progress_bar_enabled()
    seen = []

    def fail():
        with quiet():
            seen.append(diffusers_log.is_progress_bar_enabled())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == [False]
    assert (diffusers_log.get_verbosity(), diffusers_log.is_progress_bar_enabled()) == before
