"""Everything for people to look at: catalog, statistics, report, clip pages, and the HTML and chart kit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corpus.schemas.lazy import loaded

if TYPE_CHECKING:
    from corpus.report.catalog import query_catalog
    from corpus.report.inspect import find_clip, write_clip_page
    from corpus.report.stats import dataset_stats

__all__ = [
    "dataset_stats",
    "find_clip",
    "query_catalog",
    "write_clip_page",
]
_HOMES = {
    "dataset_stats": "stats",
    "find_clip": "inspect",
    "query_catalog": "catalog",
    "write_clip_page": "inspect",
}

if not TYPE_CHECKING:  # else every misspelt name would pass the type checker

    def __getattr__(name: str) -> object:
        return loaded(__name__, _HOMES, name)
