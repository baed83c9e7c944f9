"""A build's inputs: the bundles that are unchanged since the last build, and the content of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.identify import Identity, identified_before
from corpus.pipeline.identify_task import Identified, Run, attempt, identified, tasks_for
from corpus.pipeline.items import Item, Items
from corpus.pipeline.ledger import Ledger
from corpus.pipeline.memory import Memory, Row
from corpus.pipeline.names import names_before, vouched_for
from corpus.pipeline.published import PublishedRecording, annotations_of
from corpus.pipeline.request import LEAST_FOR_A_TASK, Request
from corpus.pipeline.reviewed import Texts
from corpus.pipeline.split import Bond
from corpus.pipeline.survey import Survey
from corpus.schemas.drops import Drop
from corpus.schemas.marks import FileMark, Marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An item with its content and the people it names."""

    identity: Identity
    names: tuple[str, ...]
    """People named in the annotation files."""
    bond: Bond


class Incoming:
    """All inputs of a build. Bundles that stand are not examined."""

    def __init__(
        self,
        survey: Survey,
        memory: Memory,
        ledger: Ledger,
        request: Request,
        reviews: Mapping[str, Texts],
        downloads: Path,
        run: Run | None = None,
    ) -> None:
        """`run` identifies many items elsewhere."""
        self._survey = survey
        self._bundles = survey.bundles
        self._memory = memory
        self._ledger = ledger
        self._request = request
        self._reviews = reviews
        self._downloads = downloads
        self._listing = survey.listing
        self._items: dict[str, Items] = {}
        """Those of examined bundles, by look."""
        self._run = run
        self._ready: dict[str, Identified | Drop] = {}
        """What was learnt elsewhere, by uri."""
        self._known: dict[str, list[Known]] = {}
        """By the look of their bundle."""

    def read(self, marks: Marks) -> None:
        """Identify all items whose bundle does not stand, or no longer stands because of them."""
        standing = self._memory.standing
        waiting = [bundle for bundle in self._bundles if bundle.look not in standing]
        while waiting:
            # Known hashes are keyed by path, size and time: a rehash ignores them.
            hashes = {} if self._request.rehash else marks.but(self._memory.standing)
            names = self._memory.changed().names
            items, self._listing = self._survey.items_of(waiting)
            self._items |= items
            self._identify_elsewhere(items.values(), hashes)
            for bundle in waiting:
                identities = self._identified(items[bundle.look], hashes)
                self._known[bundle.look] = [self._as_known(*one, names) for one in identities]
            falling = self._memory.release(known.bond for known in self.all)
            waiting = [bundle for bundle in self._bundles if bundle.look in falling]
        marks.save(self._memory.standing, {look: _marks(known) for look, known in self._known.items()})

    @property
    def all(self) -> Iterator[Known]:
        """The examined items, in order."""
        for bundle in self._bundles:
            yield from self._known.get(bundle.look, ())

    def rows(self, published: Callable[[str], PublishedRecording | None]) -> Iterator[Row]:
        """The rows to remember for the examined bundles; `published` finds a recording by its uri."""
        quarantined = {one.uri: one for one in self._ledger.quarantined()}
        for bundle in self._bundles:
            if (known := self._known.get(bundle.look)) is None:
                continue
            uris = self._items[bundle.look].uris
            drops = [drop for uri in uris for drop in self._ledger.drops_of(uri)]
            yield Row(
                look=bundle.look,
                # An item that could not be read may be readable the next time.
                whole=len(known) == len(uris) and not any(drop.stage == "input" for drop in drops),
                bonds=tuple(one.bond for one in known),
                published=tuple(one for one in map(published, uris) if one is not None),
                quarantined=tuple(quarantined[uri] for uri in uris if uri in quarantined),
                drops=tuple(drops),
            )

    def _identify_elsewhere(self, bundles: Iterable[Items], hashes: Mapping[str, FileMark]) -> None:
        """Have the items read elsewhere, if there are many that seem changed."""
        if self._run is None:
            return
        items = [
            item
            for bundle in bundles
            for item in bundle
            if identified_before(item, hashes, self._listing) is None
        ]
        if len(items) < LEAST_FOR_A_TASK:
            return
        settings = self._request.settings
        tasks = tasks_for(items, self._listing, hashes, self._downloads.absolute(), settings)
        for item, result in identified(self._run, tasks):
            self._ledger.step()
            self._ready[item.uri] = result

    def _identified(
        self, items: Sequence[Item], hashes: Mapping[str, FileMark]
    ) -> Iterator[tuple[Identity, tuple[str, ...] | None]]:
        """Each item's content, and whom its annotations name if that is known. Items that cannot be read are
        dropped."""
        threads = ThreadPoolExecutor(self._request.num_workers)
        try:
            results = [
                self._ready.pop(item.uri)
                if item.uri in self._ready
                else identified_before(item, hashes, self._listing)
                or threads.submit(attempt, item, hashes, self._downloads, self._listing)
                for item in items
            ]
            for item, waiting in zip(items, results, strict=True):
                result = waiting.result() if isinstance(waiting, Future) else waiting
                if isinstance(waiting, (Identity, Future)):  # the others were counted when they ended
                    self._ledger.step()
                if isinstance(result, Drop):
                    self._ledger.drop((result,))
                elif isinstance(result, Identified):
                    yield result.of(item), result.names
                else:
                    yield result, None
        finally:  # a stopped build must not wait for a file to be hashed
            threads.shutdown(wait=False, cancel_futures=True)

    def _as_known(
        self,
        identity: Identity,
        vouched: tuple[str, ...] | None,
        names: Mapping[tuple[str, ...], tuple[str, ...]],
    ) -> Known:
        # Known annotation files need not be parsed again to learn whom they name.
        if vouched is None:
            vouched = names.get(annotations_of(identity))
        if vouched is None:
            vouched = vouched_for(identity, self._request.settings)
        bond = Bond(
            recording=identity.recording,
            conversation=identity.item.conversation,
            named_speakers=names_before(identity, vouched, self._reviews.get(identity.recording, ())),
        )
        return Known(identity=identity, names=vouched, bond=bond)


def _marks(known: Sequence[Known]) -> list[FileMark]:
    return [mark for one in known for mark in (*one.identity.media, *one.identity.sidecars)]
