"""Builds the GPU that computes nothing, and says with which environment a process finds it in place of a GPU.

    library = build(cache)                       compiled once for these sources and this torch
    subprocess.run(..., env=environment(library))

No CUDA toolkit is needed: headers come with torch's packages, names from torch's own libraries.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch

SOURCES = tuple(Path(__file__).with_name(name) for name in ("runtime.cpp", "driver_and_blas.cpp"))
LIBRARY = "libcuda.so.1"
"""Under the driver's name, so that Triton links to it and finds it loaded."""
NOT_SUPPORTED = {"cuda": 801, "cublas": 15}


class CannotBuildError(Exception):
    """What is missing here."""


def build(cache: Path) -> Path:
    """The library, made in a folder of `cache` where it is not there already.

    Raises:
        CannotBuildError: torch, the machine or its compiler do not do for it.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotBuildError("only on Linux on x86-64")
    if not (torch.version.cuda or "").startswith("13."):
        raise CannotBuildError(f"torch {torch.__version__} is not built for CUDA 13")
    for tool in ("g++", "nm"):
        if shutil.which(tool) is None:
            raise CannotBuildError(f"no {tool} here")
    includes = _includes()
    key = hashlib.sha256(f"{torch.__version__} {sys.platform}".encode())
    for source in (*SOURCES, Path(__file__)):
        key.update(source.read_bytes())
    folder = cache / key.hexdigest()[:16]
    if not (folder / LIBRARY).exists():
        _compile(folder, includes)
    return folder / LIBRARY


def environment(library: Path) -> dict[str, str]:
    """For a process of its own: what it loads stays loaded, what it compiles is kept in the cache."""
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "TRITON_LIBCUDA_PATH": str(library.parent),
        "TRITON_CACHE_DIR": str(library.parents[1] / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(library.parents[1] / "inductor"),
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }


def _includes() -> list[str]:
    """CUDA 13's headers, and after them those Triton brings for what pip leaves out."""
    found = []
    for package, below in (("nvidia", "cu13/include"), ("triton", "backends/nvidia/include")):
        spec = importlib.util.find_spec(package)
        places = [Path(place, below) for place in (spec and spec.submodule_search_locations) or ()]
        found += [str(place) for place in places if (place / "cuda_runtime_api.h").exists()][:1]
    if len(found) < 2:
        raise CannotBuildError("CUDA's headers are not installed with torch")
    return ["-I", found[0], "-idirafter", found[1]]


def _compile(folder: Path, includes: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    own = "".join(source.read_text(encoding="utf-8") for source in SOURCES)
    # cudaLaunchKernelExC and PRODUCT(cublasGemmEx) both: a name before a bracket, or in one
    known = set(re.findall(r"\b(__cuda\w+|cuda[A-Z]\w+|cublas\w+)[()]", own))
    stubs = folder / "unknown.cpp"
    lines = ['extern "C" int nullgpu_unknown(const char*, int);']
    for name in sorted(_linked() - known):
        error = NOT_SUPPORTED["cublas" if name.startswith("cublas") else "cuda"]
        lines.append(f'extern "C" int {name}() {{ return nullgpu_unknown("{name}", {error}); }}')
    stubs.write_text("\n".join(lines), encoding="utf-8")
    made = folder / f"{LIBRARY}.{os.getpid()}"
    command = ["g++", "-std=c++17", "-O1", "-Wall", "-Werror", "-fPIC", "-shared", f"-Wl,-soname,{LIBRARY}"]
    command += [*includes, *map(str, SOURCES), str(stubs), "-o", str(made), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    made.rename(folder / LIBRARY)


def _linked() -> set[str]:
    """Names of CUDA's runtime and cuBLAS that torch's libraries want from others."""
    libraries = sorted(Path(torch.__file__).parent.joinpath("lib").glob("lib*.so"))
    command = ["nm", "--dynamic", "--undefined-only", "--format=just-symbols", *map(str, libraries)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.split("@")[0] for line in out.splitlines()}
    return {name for name in names if re.match(r"(__)?cuda[A-Z]|cublas", name)}
