"""What tifffile only writes to its log: a broken chain of pages ends a series early without an error."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


@contextmanager
def warnings_of_tifffile() -> Iterator[list[str]]:
    """Yield a list that takes tifffile's warnings, which nobody else gets to see meanwhile.

    It hears them whatever the host program did to logging: levels, handlers and loggers may have been switched off by
    anybody in the process, and a truncated file must not pass for a short one because of that.
    """
    logger, said = logging.getLogger("tifffile"), list[str]()
    before = (logger.handlers, logger.propagate, logger.disabled, logger.level, logging.root.manager.disable)
    logger.handlers, logger.propagate, logger.disabled = [_Listener(said)], False, False
    logger.setLevel(logging.WARNING)
    logging.disable(logging.NOTSET)
    try:
        yield said
    finally:
        logger.handlers, logger.propagate, logger.disabled = before[:3]
        logger.setLevel(before[3])
        logging.disable(before[4])
