"""Sound that a decoder outputs before the recording begins and that libav does not remove itself.

Speex: the look-ahead of encoder and decoder, which its own player removes too (`SPEEX_GET_LOOKAHEAD`).
Opus in transport streams: `start_trim` of the first access unit. CAF: the priming frames of its packet table.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from av.audio.stream import AudioStream
from av.packet import PacketSideData, packet_sidedata_type_from_literal

if TYPE_CHECKING:
    import av
    from av.stream import Stream

_ReadAt = Callable[[int, int], bytes]
"""(position, size) -> the bytes there, fewer at the end."""

_SPEEX_SAMPLES = (80, 223, 509)
"""Narrow, wide and ultra-wide band: both look-aheads of the reference implementation."""
_SPEEX_MODE = slice(40, 44)
"""Position of the mode in its header."""
_TS_BYTES = 4 << 20
"""A transport stream lists its programmes many times a second: its first sound is no further away."""
_OPUS_HZ = 48_000
_MOST_CHUNKS = 10_000
_LONGEST_S = 1
"""A longer lead is an error in the file."""


def lead_samples(stream: Stream, container: str, read: _ReadAt) -> int:
    """How many samples the decoder outputs before the recorded sound."""
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return 0
    context = stream.codec_context
    rate_hz, samples = context.sample_rate, 0
    if context.name == "speex":
        samples = _speex(context.extradata, rate_hz)
    elif context.name in ("opus", "libopus") and container == "mpegts":
        samples = _opus_in_ts(read, stream.id) * rate_hz // _OPUS_HZ
    elif container == "caf":
        samples = _caf(read, rate_hz)
    return samples if samples <= _LONGEST_S * rate_hz else 0


def leave_out(packet: av.Packet[Stream], samples: int) -> None:
    """Make the decoder skip the samples before the sound; `packet` is its first."""
    if not samples or packet.size == 0 or packet.get_sidedata("skip_samples"):
        return
    side = PacketSideData(packet_sidedata_type_from_literal("skip_samples"), 10)  # type: ignore[call-arg]
    # Samples to be left out at the start and the end of what the packet gives, and why.
    side.update(samples.to_bytes(4, "little") + bytes(6))
    packet.set_sidedata(side)


def _speex(header: bytes | None, rate_hz: int) -> int:
    mode = int.from_bytes((header or b"")[_SPEEX_MODE], "little") if header else -1
    if header is None or len(header) < _SPEEX_MODE.stop or mode not in range(3):
        # Without a header, as in FLV: the modes are made for 8, 16 and 32 kHz.
        mode = (rate_hz > 12_500) + (rate_hz > 25_000)
    return _SPEEX_SAMPLES[mode]


def _opus_in_ts(read: _ReadAt, pid: int) -> int:
    """The lead in the first access unit of the stream, at 48 kHz."""
    data = read(0, _TS_BYTES)
    step, at = _packets_of(data)
    for start in range(at, len(data) - 188 + 1, step) if step else ():
        packet = data[start : start + 188]
        begins = packet[0] == 0x47 and packet[1] & 0x40
        if not begins or ((packet[1] & 0x1F) << 8 | packet[2]) != pid:
            continue
        payload = packet[4 + (1 + packet[4] if packet[3] & 0x20 else 0) :]
        if payload[:3] != b"\0\0\1" or len(payload) < 9:
            return 0
        return _start_trim(payload[9 + payload[8] :])
    return 0


def _packets_of(data: bytes) -> tuple[int, int]:
    """The spacing of transport packets and the position of the first; (0, 0) if there are none."""
    for step in (188, 192, 204):
        for at in range(step):
            marks: Iterable[int] = data[at : at + 5 * step : step]
            if len(data) >= at + 5 * step and all(mark == 0x47 for mark in marks):
                return step, at
    return 0, 0


def _start_trim(unit: bytes) -> int:
    """`start_trim` in the control header before an Opus access unit."""
    if len(unit) < 2 or unit[0] != 0x7F or unit[1] & 0xE0 != 0xE0 or not unit[1] & 0x10:
        return 0
    at = 2
    # The unit's size: bytes of 255 go on.
    while at < len(unit) and unit[at] == 0xFF:
        at += 1
    return int.from_bytes(unit[at + 1 : at + 3], "big") & 0x1FFF if at + 3 <= len(unit) else 0


def _caf(read: _ReadAt, rate_hz: int) -> int:
    """The priming frames in the packet table, counted at the rate of the description."""
    at, described_hz = 8, 0.0
    for _ in range(_MOST_CHUNKS):
        chunk = read(at, 36)
        if len(chunk) < 12:
            break
        length = int.from_bytes(chunk[4:12], "big", signed=True)
        if chunk[:4] == b"desc" and len(chunk) >= 20:
            (described_hz,) = struct.unpack(">d", chunk[12:20])
        if chunk[:4] == b"pakt" and len(chunk) == 36:
            (primed,) = struct.unpack(">i", chunk[28:32])
            known = 1 <= described_hz <= 1e6 and primed > 0
            return round(primed * rate_hz / described_hz) if known else 0
        if length < 0:
            break
        at += 12 + length
    return 0
