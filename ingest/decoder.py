"""The decoder of a stream: libav's first choice, or one that better understands what recorders write."""

from __future__ import annotations

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

Decoder = AudioCodecContext | VideoCodecContext

_RATHER = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
"""libav's own decoders take telephone pauses (silence descriptors) for damage."""


def decoder_of(stream: AudioStream | VideoStream, *, whole: bool = False) -> Decoder:
    """A decoder that works only in this thread: the same bytes and the same load wherever it runs.

    `whole`: return all samples, including those that libav would skip at the start.
    """
    context: Decoder = stream.codec_context
    if isinstance(stream, AudioStream) and context.name in _RATHER and stream.codec_context.channels == 1:
        context = _rather(stream.codec_context)
    if whole and isinstance(stream, AudioStream):
        context.flags2 |= int(av.codec.context.Flags2.skip_manual)
    if not context.is_open:
        context.thread_count = 1
        context.thread_type = av.codec.context.ThreadType.NONE
    return context


def _rather(context: AudioCodecContext) -> AudioCodecContext:
    try:
        other = av.CodecContext.create(_RATHER[context.name], "r")
    except av.codec.codec.UnknownCodecError:  # a libav without it
        return context
    assert isinstance(other, AudioCodecContext)
    other.sample_rate, other.layout = context.sample_rate, context.layout
    return other
