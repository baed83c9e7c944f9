"""The device for tensors: the named one, or a GPU if there is one."""

from __future__ import annotations

import torch

from corpus.schemas.errors import UsageError


def device_named(name: torch.device | str) -> torch.device:
    """The device called `auto`, `cpu`, `cuda` or `cuda:1`. Raises: UsageError if it does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device {name!r}", where="device", todo="cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU here", where=f"device={name}", todo="use cpu, or check the driver")
    return device
