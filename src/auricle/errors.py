"""The errors that auricle raises on purpose.

Each message says what was found, what was expected and what to do about it. The command line prints such a
message without a traceback and ends with exit code 2; anything else that escapes is a defect of auricle.
"""

from __future__ import annotations

from typing import Self


class AuricleError(Exception):
    """Base of every error that a user can cause and fix."""


class Reason(str):
    """Why something is skipped, or is not used as it is, with its cause: one or two words by which a ledger counts it.

    Examples:
        >>> reason = Reason("no such file; check the path", "missing")
        >>> reason.cause, Reason(reason).cause, Reason("damaged").cause
        ('missing', 'missing', 'corrupt')
    """

    __slots__ = ("cause",)
    cause: str

    def __new__(cls, text: str, cause: str | None = None) -> Self:
        """Make a reason of a text; None: with the cause that the text has, or else `corrupt`."""
        made = super().__new__(cls, text)
        made.cause = cause or (text.cause if isinstance(text, Reason) else "corrupt")
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """Return what another process makes it of."""
        return str(self), self.cause


class AudioError(AuricleError):
    """A recording can't be used: unreadable, truncated, empty, not finite.

    Attributes:
        reason: the message without the recording's name, for lists that name it themselves, with its cause.
    """

    def __init__(self, reason: str, name: str = "", cause: str | None = None) -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.reason = Reason(reason, cause)


class CorpusError(AuricleError):
    """A folder, table or label set can't serve as a corpus, or not for what was asked of it."""


class ConfigError(AuricleError):
    """A setting is unknown, of the wrong type, out of range, or contradicts another one."""


class NeedError(AuricleError):
    """An objective needs an ability that the encoder does not have.

    Attributes:
        needs: names of the abilities that are missing.
    """

    def __init__(self, message: str, needs: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.needs = needs


class CheckpointError(AuricleError):
    """A checkpoint or run folder is missing, damaged, unsafe to read, or belongs to another model."""


class StaleCacheError(AuricleError):
    """A folder holds no token cache, or the cache was cut while it was read."""


class StorageError(AuricleError):
    """Something can't be written: the disk is full, or the folder is not writable."""


class DownloadError(AuricleError):
    """A download broke off, has the wrong size or the wrong sum, or the server refuses it."""


class TrainingError(AuricleError):
    """Training can't go on: the loss is not finite, the disk is full, the run is already complete."""


class MissingExtraError(AuricleError):
    """A part of auricle needs a library that is not installed with it by default."""


class Terminated(KeyboardInterrupt):
    """The process was asked to stop by SIGTERM, and has saved what it did: it ends as one that the signal ended."""


class StudyError(AuricleError):
    """A study can't be run as it was asked for, or one of its cells can't be done."""
