"""FLAC is lossless, deterministic and refuses what is not FLAC."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.schemas.errors import FormatError
from corpus.shards.flac import decode_flac, decode_flac_end, encode_flac


def sound(kind: str, channels: int, samples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "extreme":
        return rng.choice(np.array([-32768, -32767, 0, 32767], np.int16), (channels, samples))
    if kind == "silent":
        return np.zeros((channels, samples), np.int16)
    if kind == "same":
        return np.tile(rng.integers(-32768, 32768, samples).astype(np.int16), (channels, 1))
    return rng.integers(-32768, 32768, (channels, samples)).astype(np.int16)


@given(
    kind=st.sampled_from(["noise", "extreme", "silent", "same"]),
    channels=st.integers(1, 8),
    samples=st.integers(1, 9000),
    rate=st.sampled_from([16000, 24000]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_what_comes_out_is_what_went_in(kind: str, channels: int, samples: int, rate: int, seed: int) -> None:
    pcm = sound(kind, channels, samples, seed)
    data = encode_flac(pcm, rate)
    back = decode_flac(data)
    assert back.dtype == np.int16
    assert np.array_equal(back, pcm)
    assert encode_flac(pcm, rate) == data


def test_a_clip_longer_than_one_block_is_whole() -> None:
    pcm = sound("noise", 2, 3 * 65536 + 17, 1)
    assert np.array_equal(decode_flac(memoryview(encode_flac(pcm, 16000))), pcm)


@given(
    kind=st.sampled_from(["noise", "silent"]),
    channels=st.integers(1, 4),
    samples=st.integers(1, 60_000),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30)
def test_the_end_is_the_end_of_the_whole(
    kind: str, channels: int, samples: int, share: float, seed: int
) -> None:
    pcm = sound(kind, channels, samples, seed)
    wanted = max(1, round(share * samples))
    assert np.array_equal(decode_flac_end(encode_flac(pcm, 16000), wanted), pcm[:, -wanted:])


def test_an_end_longer_than_the_whole_is_refused() -> None:
    data = encode_flac(sound("noise", 2, 3200, 1), 16000)
    with pytest.raises(FormatError, match="fewer than 3201"):
        decode_flac_end(data, 3201)


def test_channels_keep_their_places() -> None:
    pcm = np.arange(8, dtype=np.int16)[:, None] * np.ones(5000, np.int16)
    assert (decode_flac(encode_flac(pcm, 16000))[:, 77] == np.arange(8)).all()


def test_the_file_names_no_encoder_version() -> None:
    data = encode_flac(sound("noise", 2, 5000, 1), 16000)
    comments = data[4 + 38 : 4 + 38 + 60]
    assert b"ffmpeg" in comments
    assert b"Lavf" not in data[:400]


@pytest.mark.parametrize("channels", [0, 9])
def test_other_numbers_of_channels_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match="1 to 8 channels"):
        encode_flac(np.zeros((channels, 10), np.int16), 16000)


CUT_OFF = encode_flac(np.ones((2, 4000), np.int16), 16000)[:90]


@pytest.mark.parametrize("data", [b"", b"fLaC", b"RIFF" * 30, CUT_OFF])
def test_broken_bytes_are_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_flac(data, where="here")
