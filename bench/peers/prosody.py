"""Prosody with its message archives (mod_mam, mod_muc_mam) in PostgreSQL."""

from collections.abc import Sequence
from pathlib import Path
from string import Template

from bench.peers.peer import DOMAIN, PASSWORD, Peer

CONFIG = Path(__file__).with_suffix(".cfg.lua")


class Prosody(Peer):
    """One process of it. It makes its tables while it starts."""

    name = "prosody"
    packages = ("prosody", "lua-dbi-postgresql")

    def prepare(self) -> None:
        settings = Template(CONFIG.read_text()).substitute(self.settings())
        (self.folder / CONFIG.name).write_text(settings)

    def command(self) -> tuple[list[str], dict[str, str]]:
        return ["/usr/bin/prosody", "-F", "--config", str(self.folder / CONFIG.name)], {}

    def is_ready(self) -> bool:
        tables = "pg_tables WHERE tablename = 'prosodyarchive'"
        return super().is_ready() and self.database.count(tables) == 1

    def register(self, users: Sequence[str]) -> None:
        rows = [(DOMAIN, user, "accounts", "password", "string", PASSWORD) for user in users]
        self.database.insert('prosody ("host", "user", store, key, type, value)', rows)

    def archived(self) -> int:
        return self.database.count("prosodyarchive")
