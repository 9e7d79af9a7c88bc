"""How log records look and which of Django's are left out."""

import logging


class LineFormatter(logging.Formatter):
    """One line per record, tracebacks included, so that grep finds all of it; ` ⏎ ` joins the lines."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).rstrip("\n").replace("\n", " ⏎ ")


def not_unavailable(record: logging.LogRecord) -> bool:
    """Django logs every 5xx answer as an error, but 503 is what /readyz says on purpose, at every probe."""
    return getattr(record, "status_code", None) != 503
