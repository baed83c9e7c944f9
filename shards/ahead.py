"""Reading a remote file from start to end, with its next blocks requested before they are needed."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from corpus.schemas.store import UrlStore

BLOCK_BYTES = 8 << 20
BLOCKS_AHEAD = 3


class AheadFile:
    """The first block is requested on opening. At most four blocks are in memory.

    Requests that fail are repeated; what still fails raises StorageError, a missing file FileNotFoundError.
    If another file has taken its place meanwhile, leaving the context raises OSError.
    """

    def __init__(self, file: UrlStore, threads: ThreadPoolExecutor) -> None:
        """`file` is a store whose URL is the file's own."""
        self._file, self._threads = file, threads
        self._began = file.look("")
        self._size = self._began.bytes
        self._asked = 0
        self._blocks: deque[Future[bytes]] = deque()
        self._block = memoryview(b"")
        self._ask(1)

    def __str__(self) -> str:
        return self._file.shown

    def __enter__(self) -> AheadFile:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None and self._file.look("") != self._began:
            raise OSError("it was replaced while it was read; open the dataset again")

    def read(self, size: int = -1) -> bytes:
        """This many bytes, fewer only at the end; all the rest without a size."""
        parts: list[memoryview] = []
        lacking = size if size >= 0 else self._size
        while lacking:
            if not self._block:
                self._ask(1 + BLOCKS_AHEAD)
                if not self._blocks:
                    break
                self._block = memoryview(self._blocks.popleft().result())
            part, self._block = self._block[:lacking], self._block[lacking:]
            parts.append(part)
            lacking -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Stop requesting blocks."""
        for block in self._blocks:
            block.cancel()
        self._blocks.clear()
        self._asked = self._size

    def _ask(self, most: int) -> None:
        while len(self._blocks) < most and self._asked < self._size:
            stop = min(self._asked + BLOCK_BYTES, self._size)
            self._blocks.append(self._threads.submit(self._file.open_range, "", self._asked, stop))
            self._asked = stop
