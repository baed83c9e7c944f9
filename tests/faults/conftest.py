"""What the fault tests build with."""

from __future__ import annotations

import pytest

from corpus.schemas.settings import (
    ClipSettings,
    DiarizeSettings,
    Settings,
    ShardSettings,
    SightSettings,
    TranscribeSettings,
)


@pytest.fixture(scope="session")
def faults_settings() -> Settings:
    return Settings(
        diarize=DiarizeSettings(backend="none"),
        transcribe=TranscribeSettings(backend="none"),
        sight=SightSettings(enabled=False),
        clips=ClipSettings(windows_per_clip=10),
        shards=ShardSettings(shard_bytes=1 << 20),
    )
