"""The errors this project raises on purpose.

    CorpusError                    exit 1
    ├── UsageError                 exit 2   a bad argument or combination of arguments
    │   └── SettingsError                   a setting is unknown or out of range
    ├── MediaError                          a media file cannot be read as one
    ├── SidecarError                        an annotation file cannot be read
    ├── FormatError                         a file does not follow its form
    │   └── NewerSchemaError                written by a newer corpus than this one
    ├── DatasetError                        a dataset's folder cannot be used as requested
    │   └── LockedError                     another build holds the output folder
    ├── StorageError                        disk full, read-only folder, lost mount
    └── MissingError               exit 5   something must be installed or fetched first
        ├── MissingDependencyError          a package of an extra
        └── MissingModelError               model weights

A message says what was wrong, where, and what to do next. A failure of one recording never
ends a build: the pipeline turns it into a `Drop` and continues.
"""

from __future__ import annotations


class CorpusError(Exception):
    """Base of all errors raised on purpose: what was wrong, where, what to do."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        self.what = what
        self.where = where
        self.todo = todo
        super().__init__(what, where, todo)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.todo))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.todo}" if self.todo else head


def _rebuild(cls: type[CorpusError], what: str, where: str, todo: str) -> CorpusError:
    """Rebuild an error in another process: keyword-only arguments defeat plain pickling."""
    return cls(what, where=where, todo=todo)


class UsageError(CorpusError):
    """A bad argument or combination of arguments."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown, of the wrong type or out of range."""


class MediaError(CorpusError):
    """A media file cannot be read as one."""


class SidecarError(CorpusError):
    """An annotation file cannot be read at all; single bad lines are Drops instead."""


class FormatError(CorpusError):
    """A file does not follow the form it claims."""


class NewerSchemaError(FormatError):
    """The file was written by a newer version of corpus than this one."""


class DatasetError(CorpusError):
    """A dataset's folder cannot be used as requested."""


class LockedError(DatasetError):
    """Another build holds the output folder."""


class StorageError(CorpusError):
    """The disk is full, the folder is read-only, or the mount is gone."""


class MissingError(CorpusError):
    """Something must be installed or fetched before this can run."""

    exit_code = 5


class MissingDependencyError(MissingError):
    """A package of an optional extra is not installed."""


class MissingModelError(MissingError):
    """Model weights are not on this machine and are never fetched unasked."""
