"""ejabberd with its message archive (mod_mam) in PostgreSQL.

It is started with the Erlang options of Debian's ejabberdctl, but without a node name: so it needs no name
server and is nobody's neighbour on the machine.
"""

from collections.abc import Sequence
from pathlib import Path
from string import Template

from bench.peers.peer import PASSWORD, Peer

CONFIG = Path(__file__).with_suffix(".yml")
# pg.new.sql is for many domains in one database: a column of every row and index names the domain. For one
# domain ejabberd's default, pg.sql, is less work.
SCHEMA = Path("/usr/share/ejabberd/sql/pg.sql")
LIBRARIES = Path("/usr/lib")  # below it, in the folder of the machine's kind, ejabberd's own
POOL = 10  # connections to the database: ejabberd's default
# Schedulers without work sleep: with a database and a load generator on the same processors the default
# (they look for work for a while first) costs CPU and speed.
NO_BUSY_WAIT = ("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none")


class Ejabberd(Peer):
    """One node of it."""

    name = "ejabberd"
    packages = ("ejabberd", "erlang-p1-pgsql")

    def prepare(self) -> None:
        self.database.run(SCHEMA.read_text())
        settings = Template(CONFIG.read_text()).substitute(self.settings(), pool=POOL)
        (self.folder / CONFIG.name).write_text(settings)

    def command(self) -> tuple[list[str], dict[str, str]]:
        words = ["/usr/bin/erl", "+K", "true", "+P", "250000", *NO_BUSY_WAIT, "-noinput"]
        words += ["-mnesia", "dir", f'"{self.folder}/mnesia"', "-s", "ejabberd", "-ejabberd", "quiet", "true"]
        environment = {
            "EJABBERD_CONFIG_PATH": str(self.folder / CONFIG.name),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "ERL_CRASH_DUMP_BYTES": "0",
            "ERL_LIBS": str(next(LIBRARIES.glob("*/ejabberd-*")).parent),
            "ERL_MAX_PORTS": "32000",
            "ERL_MAX_ETS_TABLES": "1400",
        }
        return words, environment

    def register(self, users: Sequence[str]) -> None:
        self.database.insert("users (username, password)", [(user, PASSWORD) for user in users])

    def archived(self) -> int:
        return self.database.count("archive")
