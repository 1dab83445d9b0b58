"""Where published networks lie on this machine, and how to fetch those that do not: sizes, licences and commands.

Nothing is downloaded here: gigabytes are fetched by a command that the user types, knowing size and licence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from neurodec.errors import NeurodecError
from neurodec.features.weights import ASSETS, EMBEDDED


@dataclass(frozen=True)
class Download:
    """What fetching a published generator takes.

    Parameters
    ----------
    size : str
        Of the files that are needed.
    licence : str
        Of the weights.
    files : str
        Arguments that keep ``hf download`` to those files.
    """

    size: str
    licence: str
    files: str = ""

    def command(self, name: str) -> str:
        """Return the command that fetches the files of hub id `name`."""
        return f"hf download {name} {self.files}".strip()


_HALF = '--include "*.json" "*.txt" "*/*.fp16.safetensors"'
_WHOLE = '--include "*.json" "*.txt" "*/model.safetensors" "*/diffusion_pytorch_model.safetensors"'
_BIN = '--include "*.json" "pytorch_model.bin"'
_UNCHECKED = '--exclude "safety_checker/*"'
_STABILITY = "Stability AI non-commercial/community"
_UNKNOWN = Download("size in its model card", "in its model card")
DOWNLOADS = {
    "stabilityai/sdxl-turbo": Download("about 6.9 GB", _STABILITY, _HALF),
    "stabilityai/stable-diffusion-xl-base-1.0": Download("about 7.1 GB", "CreativeML OpenRAIL++-M", _HALF),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": Download(
        "about 2.1 GB", "CreativeML OpenRAIL-M", f"{_HALF} {_UNCHECKED}"
    ),
    "CompVis/stable-diffusion-v1-4": Download(
        "about 4.3 GB", "CreativeML OpenRAIL-M", f"{_WHOLE} {_UNCHECKED}"
    ),
    "kandinsky-community/kandinsky-2-2-decoder": Download(
        "about 5.3 GB", "Apache-2.0", '--include "*.json" "*/diffusion_pytorch_model.safetensors"'
    ),
    "kandinsky-community/kandinsky-2-2-prior": Download(
        "about 4 GB", "Apache-2.0", '--include "image_encoder/*.json" "image_encoder/*.safetensors"'
    ),
    "facebook/wav2vec2-large-xlsr-53": Download("about 1.3 GB", "Apache-2.0", _BIN),
    "facebook/hubert-large-ll60k": Download("about 1.3 GB", "Apache-2.0", _BIN),
    "microsoft/wavlm-large": Download("about 1.3 GB", "MIT (CC BY-SA 3.0 of its repository)", _BIN),
    "openai/whisper-small": Download("about 1 GB", "Apache-2.0", '--include "*.json" "model.safetensors"'),
    "h94/IP-Adapter": Download("0.04 to 0.9 GB per adapter", "Apache-2.0"),
    "microsoft/git-large-coco": Download(
        "about 1.6 GB", "MIT", '--include "*.json" "*.txt" "model.safetensors"'
    ),
}
"""What is known of the published generators, by hub id."""


def find_folder(name: str) -> Path:
    """Return the folder of a generator, without touching the network.

    Parameters
    ----------
    name : str
        A folder, a Hugging Face id (``stabilityai/sdxl-turbo``) whose files are in the local cache, or a packaged one
        (``neurodec/tiny-decoder``).

    Raises
    ------
    NeurodecError
        If it is not on this machine: what to fetch, how large, under which licence, and the command.
    """
    if name.startswith(EMBEDDED):
        folder = ASSETS / name.removeprefix(EMBEDDED)
        if not folder.is_dir():
            raise NeurodecError(
                f"{name} is not among the packaged generators; take neurodec/tiny-decoder, or install neurodec "
                "again if that is missing."
            )
        return folder
    if Path(name).is_dir():
        return Path(name)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise NeurodecError(f"The folder {name} does not exist; name a folder or a Hugging Face id.")
    try:
        return Path(huggingface_hub.snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise NeurodecError(_absent(name, DOWNLOADS.get(name, _UNKNOWN))) from error


def find_file(name: str, relative: str) -> Path:
    """Return one file of a generator, such as ``models/ip-adapter_sd15.safetensors`` of ``h94/IP-Adapter``.

    Raises
    ------
    NeurodecError
        If it is not on this machine; for a hub id, how to fetch this one file.
    """
    known = DOWNLOADS.get(name, _UNKNOWN)
    this = Download(known.size, known.licence, relative)
    if _is_hub_id(name):
        cached = huggingface_hub.try_to_load_from_cache(name, relative)
        if not isinstance(cached, str):
            raise NeurodecError(_absent(f"{name}'s {relative}", this, name))
        return Path(cached)
    file = find_folder(name) / relative
    if not file.is_file():
        raise NeurodecError(f"{name} has no {relative}; name a file that is in it.")
    return file


def remedy(name: str, relative: str = "") -> str:
    """Say how to mend a generator, or its one file `relative`: fetch the hub id again, or restore the folder."""
    if not _is_hub_id(name):
        return "restore its files"
    known = DOWNLOADS.get(name, _UNKNOWN)
    this = Download(known.size, known.licence, relative or known.files)
    return f"fetch it again with  {this.command(name)} --force-download"


def _is_hub_id(name: str) -> bool:
    return not Path(name).is_dir() and not name.startswith(EMBEDDED)


def _absent(what: str, download: Download, name: str = "") -> str:
    return (
        f"{what} ({download.size}, licence {download.licence}) is not on this machine; fetch it once with  "
        f"{download.command(name or what)}  (without network: elsewhere, and copy the Hugging Face cache)."
    )
