"""Tiny random checkpoints of the published generators: their classes, configuration keys and folder layouts."""

import json

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    KandinskyV22Pipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    VQModel,
)
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    GitConfig,
    GitForCausalLM,
)

from neurodec.decoders import PixelProjector

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
TEXT_WIDTH, TEXT_WIDTH_2, POOLED = 16, 32, 24
CLIP_WIDTH, TOKEN_WIDTH, N_TOKENS = 20, 32, 17
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "small", "red", "fish", "on", "the", "left", "dog", "house"]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """A folder; every fixture below writes one checkpoint into it."""
    return tmp_path_factory.mktemp("checkpoints")


def write_tokenizer(folder, pad):
    """The files of the official CLIP tokenizers, with an alphabet for vocabulary."""
    folder.mkdir(parents=True)
    ends = ["<|startoftext|>", "<|endoftext|>"]
    words = ["!", *LETTERS, *(letter + "</w>" for letter in LETTERS), *ends]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": ends[0], "eos_token": ends[1], "unk_token": ends[1], "pad_token": pad}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    settings = {**special, "model_max_length": 77, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(words)


def text_config(n_words, width, **options):
    return CLIPTextConfig(
        vocab_size=n_words,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=n_words - 2,
        eos_token_id=n_words - 1,
        pad_token_id=n_words - 1,
        **options,
    )


def new_vae(**options):
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        **options,
    )


def save(pipeline, folder, replace=()):
    """Save as `diffusers` does, with tokenizers in the files that the hub holds."""
    pipeline.save_pretrained(folder)
    for name, pad in replace:
        for file in (folder / name).iterdir():
            file.unlink()
        (folder / name).rmdir()
        write_tokenizer(folder / name, pad)
    return folder


def sdxl_unet():
    return UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=TEXT_WIDTH + TEXT_WIDTH_2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(1, 2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + POOLED,
    )


def turbo_scheduler():
    return EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing"
    )


@pytest.fixture(scope="session")
def sdxl(checkpoints):
    """As ``stabilityai/sdxl-turbo``: two text encoders, an autoencoder that overflows in float16, ancestral noise."""
    torch.manual_seed(0)
    n_words = write_tokenizer(checkpoints / "tokenizer", "<|endoftext|>")
    tokenizer = CLIPTokenizer.from_pretrained(checkpoints / "tokenizer")
    second = text_config(n_words, TEXT_WIDTH_2, projection_dim=POOLED, hidden_act="gelu")
    pipeline = StableDiffusionXLPipeline(
        vae=new_vae(scaling_factor=0.13025, force_upcast=True),
        text_encoder=CLIPTextModel(text_config(n_words, TEXT_WIDTH)),
        text_encoder_2=CLIPTextModelWithProjection(second),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=sdxl_unet(),
        scheduler=turbo_scheduler(),
        add_watermarker=False,
    )
    return save(pipeline, checkpoints / "sdxl-turbo", [("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")])


@pytest.fixture(scope="session")
def textless(checkpoints):
    """As the embedded decoder: SDXL without text encoders."""
    torch.manual_seed(1)
    pipeline = StableDiffusionXLPipeline(
        vae=new_vae(scaling_factor=0.5),
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        unet=sdxl_unet(),
        scheduler=turbo_scheduler(),
        add_watermarker=False,
    )
    return save(pipeline, checkpoints / "textless")


@pytest.fixture(scope="session")
def sd15(checkpoints):
    """As ``stable-diffusion-v1-5``, whose index lists a safety checker; its weights are not here."""
    torch.manual_seed(2)
    n_words = write_tokenizer(checkpoints / "tokenizer-sd15", "<|endoftext|>")
    pipeline = StableDiffusionPipeline(
        vae=new_vae(scaling_factor=0.18215),
        text_encoder=CLIPTextModel(text_config(n_words, TEXT_WIDTH)),
        tokenizer=CLIPTokenizer.from_pretrained(checkpoints / "tokenizer-sd15"),
        unet=UNet2DConditionModel(
            sample_size=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=2,
        ),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = save(pipeline, checkpoints / "stable-diffusion-v1-5", [("tokenizer", "<|endoftext|>")])
    index = json.loads((folder / "model_index.json").read_text())
    index.pop("requires_safety_checker")
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def attention_tensors(unet, n_values):
    """Keys and values of every cross-attention, numbered 1, 3, 5, ... as the published files number them."""
    tensors = {}
    layers = [name.removesuffix(".processor") for name in unet.attn_processors if "attn2" in name]
    for place, name in enumerate(layers):
        inner = unet.get_submodule(name).to_k.out_features
        for part in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{2 * place + 1}.{part}.weight"] = torch.randn(inner, n_values)
    return tensors


def pooled_adapter(unet, width):
    n_values = unet.config.cross_attention_dim
    return {
        "image_proj.proj.weight": torch.randn(4 * n_values, width) / width**0.5,
        "image_proj.proj.bias": torch.randn(4 * n_values),
        "image_proj.norm.weight": torch.ones(n_values),
        "image_proj.norm.bias": torch.zeros(n_values),
        **attention_tensors(unet, n_values),
    }


def token_adapter(unet, width, hidden=64):
    """The resampler of the "plus" files: four layers, heads of 64."""
    n_values = unet.config.cross_attention_dim
    projection = {
        "latents": torch.randn(1, 3, hidden),
        "proj_in.weight": torch.randn(hidden, width) / width**0.5,
        "proj_in.bias": torch.zeros(hidden),
        "proj_out.weight": torch.randn(n_values, hidden) / hidden**0.5,
        "proj_out.bias": torch.zeros(n_values),
        "norm_out.weight": torch.ones(n_values),
        "norm_out.bias": torch.zeros(n_values),
    }
    for layer in range(4):
        for name in ("0.norm1", "0.norm2", "1.0"):
            projection[f"layers.{layer}.{name}.weight"] = torch.ones(hidden)
            projection[f"layers.{layer}.{name}.bias"] = torch.zeros(hidden)
        shapes = {"0.to_q": (1, 1), "0.to_kv": (2, 1), "0.to_out": (1, 1), "1.1": (4, 1), "1.3": (1, 4)}
        for name, (rows, columns) in shapes.items():
            projection[f"layers.{layer}.{name}.weight"] = torch.randn(rows * hidden, columns * hidden) / 8
    return {
        **{f"image_proj.{name}": value for name, value in projection.items()},
        **attention_tensors(unet, n_values),
    }


def image_encoder(width):
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=TOKEN_WIDTH,
            intermediate_size=TOKEN_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=16,
            patch_size=4,
            projection_dim=width,
        )
    )


@pytest.fixture(scope="session")
def adapters(checkpoints, sd15):
    """As ``h94/IP-Adapter``: adapters for both families, one that reads tokens, and the encoder of its tokens."""
    torch.manual_seed(3)
    folder = checkpoints / "IP-Adapter"
    for part in ("models", "sdxl_models"):
        (folder / part).mkdir(parents=True)
    small = UNet2DConditionModel.from_pretrained(sd15, subfolder="unet")
    large = sdxl_unet()
    save_file(pooled_adapter(small, CLIP_WIDTH), folder / "models" / "ip-adapter_sd15.safetensors")
    save_file(pooled_adapter(large, CLIP_WIDTH), folder / "sdxl_models" / "ip-adapter_sdxl_vit-h.safetensors")
    tokens = folder / "sdxl_models" / "ip-adapter-plus_sdxl_vit-h.safetensors"
    save_file(token_adapter(large, TOKEN_WIDTH), tokens)
    image_encoder(CLIP_WIDTH).save_pretrained(folder / "models" / "image_encoder")
    return folder


@pytest.fixture(scope="session")
def kandinsky(checkpoints):
    """As ``kandinsky-community/kandinsky-2-2-decoder``."""
    torch.manual_seed(4)
    pipeline = KandinskyV22Pipeline(
        unet=UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=8,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=16,
            attention_head_dim=4,
            addition_embed_type="image",
            encoder_hid_dim=CLIP_WIDTH,
            encoder_hid_dim_type="image_proj",
            resnet_time_scale_shift="scale_shift",
        ),
        scheduler=DDPMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="linear",
            variance_type="learned_range",
            clip_sample=False,
        ),
        movq=VQModel(
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
            block_out_channels=(32, 32),
            latent_channels=4,
            num_vq_embeddings=8,
            vq_embed_dim=4,
            norm_type="spatial",
        ),
    )
    return save(pipeline, checkpoints / "kandinsky-2-2-decoder")


@pytest.fixture(scope="session")
def kandinsky_prior(checkpoints):
    """The only part of ``kandinsky-2-2-prior`` that is read."""
    torch.manual_seed(5)
    folder = checkpoints / "kandinsky-2-2-prior"
    image_encoder(CLIP_WIDTH).save_pretrained(folder / "image_encoder")
    return folder


@pytest.fixture(scope="session")
def git(checkpoints):
    """As ``microsoft/git-large-coco``: the network, and a BERT tokenizer's files."""
    torch.manual_seed(6)
    folder = checkpoints / "git-large-coco"
    config = GitConfig(
        vision_config={
            "hidden_size": TOKEN_WIDTH,
            "intermediate_size": TOKEN_WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 4,
        },
        vocab_size=len(WORDS),
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=2,
        eos_token_id=3,
        initializer_range=0.5,
    )
    GitForCausalLM(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    special = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP")}
    settings = {**special, "tokenizer_class": "BertTokenizer", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def projector(checkpoints):
    """A trained projector's file, from embeddings of `CLIP_WIDTH` to GIT's tokens."""
    torch.manual_seed(7)
    file = checkpoints / "projector.safetensors"
    save_file(PixelProjector(CLIP_WIDTH, N_TOKENS, TOKEN_WIDTH).state_dict(), file)
    return file
