"""Backups: the control database and the logs of all SETs as of one moment, in a folder, and back.

What is in such a folder, and what users see after a restore, is in docs/backup.md.
"""


class BackupError(Exception):
    """A backup cannot be made or restored; the text is for the operator and says what to do."""
