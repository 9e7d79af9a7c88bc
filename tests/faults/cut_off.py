"""A process of a site that is cut off: `python -m tests.faults.cut_off SET URL SENDER TARGET`.

It goes on appending to the log at URL in the epoch that it knows, whatever becomes of the SET elsewhere, and
prints the uid of each message as soon as that is committed; at last, why it is not taken any more.
"""

import sys
import time
from dataclasses import replace
from itertools import count

import django

django.setup()

import psycopg  # noqa: E402

from apps.accounts.models import Tenant  # noqa: E402
from apps.messaging.log import Entry, Log, Unavailable  # noqa: E402
from apps.messaging.models import PRIVATE  # noqa: E402
from apps.routing.topology import topology  # noqa: E402
from bench.client import text_message  # noqa: E402

EVERY, BATCH = 0.2, 5  # s, messages
TRIED = 10.0  # s


def main(server_set: str, url: str, sender: str, target: str) -> None:
    tenant = Tenant.objects.earliest("pk").pk
    topology.renew()
    known = topology.current
    its = replace(known.sets[server_set], database=url)
    topology._value = replace(known, sets={**known.sets, server_set: its})  # type: ignore[type-var]
    log = Log(server_set)
    text = text_message(b'{"content":"x"}')
    for batch in count():
        uids = [f"cut-off-{batch}-{n}" for n in range(BATCH)]
        entries = [Entry(uid, tenant, PRIVATE, sender, target, 3, "ppMsgP", text) for uid in uids]
        try:
            log.append(entries, within=TRIED)
        except (Unavailable, psycopg.errors.ReadOnlySqlTransaction) as error:
            print("refused:", " ".join(str(error).split()), flush=True)
            return
        print(*uids, sep="\n", flush=True)
        time.sleep(EVERY)


if __name__ == "__main__":
    main(*sys.argv[1:])
