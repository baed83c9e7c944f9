"""`corpus build --add`: the inputs a dataset was built from, and more."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from corpus.pipeline.request import Request
from corpus.pipeline.state import State
from corpus.schemas.codec import from_json
from corpus.schemas.settings import Settings
from corpus.schemas.urls import is_url


def added(request: Request, *, settings_given: bool) -> Request:
    """The request with the last build's inputs prepended, and its cache and settings if none are given.

    Raises:
        DatasetError: no build was started at `out`.
    """
    last = State(request.out).invocation()
    # A folder's recordings are named relative to it, so that an absolute path names the same ones.
    before = [_absolute(text, last.folder) for text in last.inputs]
    cache = request.cache or (Path(last.folder, last.cache) if last.cache else None)
    if not settings_given:
        request = replace(request, settings=from_json(Settings, last.settings, where="invocation.json"))
    here = [_absolute(text, os.getcwd()) for text in request.inputs]
    # What was let in before stays let in; of what is added only what this call says.
    local = [_absolute(text, last.folder) for text in last.local_urls]
    local += [_absolute(text, os.getcwd()) for text in request.local_urls]
    return replace(
        request, inputs=tuple(dict.fromkeys([*before, *here])), cache=cache, local_urls=tuple(local)
    )


def _absolute(text: str, folder: str) -> str:
    return text if is_url(text) else os.path.abspath(os.path.join(folder, text))
