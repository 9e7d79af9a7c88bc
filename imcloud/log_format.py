"""One line per log record, tracebacks included, so that a record can be found and cut out with grep."""

import logging


class LineFormatter(logging.Formatter):
    """Joins the lines of a record with ` ⏎ `."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).rstrip("\n").replace("\n", " ⏎ ")
