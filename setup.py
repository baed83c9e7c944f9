"""Install the top-level folders as corpus.<folder>."""

from pathlib import Path

from setuptools import find_packages, setup

ALL = ("schemas", "ingest", "align", "shards", "report", "pipeline", "review", "trainer", "cli")
FOLDERS = [name for name in ALL if Path(__file__).with_name(name).is_dir()]
found = find_packages(include=[p for f in FOLDERS for p in (f, f"{f}.*")])
setup(
    packages=[f"corpus.{name}" for name in found],
    package_dir={f"corpus.{folder}": folder for folder in FOLDERS},
)
