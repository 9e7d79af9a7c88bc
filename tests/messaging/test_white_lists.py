"""Strangers: where a tenant wants it, users take private messages only from those in their white lists."""

from typing import Any

import pytest
import redis

from apps.accounts.directory import directory
from apps.accounts.models import Tenant
from apps.messaging import block_lists, log, own_state, slot_moves, tenant_rules, white_lists
from apps.messaging.conversation_reads import CLASS as READ_ELSEWHERE
from apps.messaging.log import Log
from apps.messaging.methods import private
from apps.messaging.tenant_rules import Rule, rules
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, VERIFY_BLACKLIST, Request
from apps.routing.protocol.packets import AckStatus
from tests.messaging.conftest import text, user, users
from tests.messaging.sending import UIDS, send, stored, up
from tests.messaging.test_slot_moves import move

ALICE, CAROL = users("set1", 2)
BOB = user("set2")
HOUR = 3_600_000  # ms
REFUSED = AckStatus.NOT_WHITELISTED


@pytest.fixture(autouse=True)
def strict(sets: dict[str, Log], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    """Tenant 1, which wants it."""
    monkeypatch.setattr(slot_moves, "SETTLE", 0)
    made = Tenant.objects.create(pk=1, name="strict", app_key="strict", whitelist_only=True)
    Tenant.objects.create(pk=2, name="open", app_key="open")
    directory.renew()
    return made


def change(what: Any, owner: str, *others: str) -> None:
    """As the server API does it, where the owner is at home."""

    def work(connection: Any) -> None:
        with connection.cursor() as cursor:
            assert own_state.hold(cursor, 1, owner)
            what(cursor, 1, owner, others)

    log.of(topology.home(1, owner)).run(work, within=1)


def status(sender: str, receiver: str, method: str = "ppMsgP", **facts: Any) -> int:
    return send(sender, method, receiver, text(), **facts).status


def test_a_stranger_is_refused_until_he_is_in_the_list_and_after_he_was_in_it() -> None:
    before = stored()
    assert [status(BOB, ALICE, each) for each in ("ppMsgP", "ppMsgN", "ppMsgS")] == [REFUSED] * 3
    assert stored() == before
    change(white_lists.add, ALICE, BOB, CAROL)
    assert status(BOB, ALICE) == 0
    assert status(ALICE, BOB) == REFUSED  # each has a list of his own
    change(block_lists.add, ALICE, BOB)
    assert (status(BOB, ALICE), status(CAROL, ALICE)) == (AckStatus.BLOCKED_BY_PEER, 0)
    change(block_lists.remove, ALICE, BOB)
    change(white_lists.remove, ALICE, BOB)
    assert (status(BOB, ALICE), status(CAROL, ALICE)) == (REFUSED, 0)


def test_oneself_ones_other_devices_and_the_server_are_no_strangers() -> None:
    assert status(ALICE, ALICE) == 0
    assert status(BOB, ALICE, options=FROM_SERVER) == 0
    assert status(BOB, ALICE, options=FROM_SERVER | VERIFY_BLACKLIST) == 0
    read = up({"lastMessageSendTime": 5}, READ_ELSEWHERE, 0)
    assert send(BOB, "ppMsgP", ALICE, read).status == 0


def test_a_tenant_that_allows_strangers_asks_nothing_about_lists(strict: Tenant) -> None:
    """The same statement as ever, and none for a batch of the server's."""
    asked: list[str] = []
    real = log.Log.read

    def read(self: Log, sql: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(sql)
        return real(self, sql, *args, **kwargs)  # type: ignore[arg-type]

    requests = [
        Request(tenant, sender, "ppMsgP", ALICE, text(), UIDS.next(0))
        for tenant, sender in ((2, BOB), (1, BOB), (1, CAROL), (1, ALICE))
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log.Log, "read", read)
        private.admit("set1", requests[:1])
        assert len(asked) == 1 and "whiteentry" not in asked[0]
        private.admit("set1", requests)
        assert len(asked) == 2 and "whiteentry" in asked[1]
        private.admit("set1", [request._replace(options=FROM_SERVER) for request in requests])
        assert len(asked) == 2
    strict.whitelist_only = False
    strict.save()
    directory.renew()
    assert status(BOB, ALICE) == 0


def test_a_list_moves_with_its_owner_and_a_full_one_takes_nobody_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change(white_lists.add, ALICE, BOB)
    move(ALICE, "set2")
    topology.topology.renew()
    assert topology.home(1, ALICE) == "set2"
    assert status(BOB, ALICE, server_set="set2") == 0
    assert log.of("set1").read("SELECT count(*) FROM messaging_whiteentry", ()) == [(0,)]
    monkeypatch.setattr(white_lists, "ALLOWED_MAX", 2)
    with pytest.raises(white_lists.Full):
        change(white_lists.add, ALICE, CAROL, "dave")
    assert white_lists.page("set2", 1, ALICE, "", 10) == [BOB]
    change(white_lists.add, ALICE, CAROL, BOB)
    assert white_lists.page("set2", 1, ALICE, "", 10) == sorted([BOB, CAROL])
    assert white_lists.page("set2", 2, ALICE, "", 10) == []


def test_who_is_muted_in_private_may_send_again_when_the_time_is_over() -> None:
    change(white_lists.add, ALICE, BOB)
    tenant_rules.add(1, Rule.PRIVATE_MUTED, [BOB], log.now() + HOUR)
    rules.renew()
    assert status(BOB, ALICE) == AckStatus.PRIVATE_MUTED
    assert status(BOB, ALICE, options=FROM_SERVER) == 0
    assert tenant_rules.listed(2, Rule.PRIVATE_MUTED) == []
    tenant_rules.add(1, Rule.PRIVATE_MUTED, [BOB], log.now() - 1)
    rules.renew()
    assert status(BOB, ALICE) == 0
    assert tenant_rules.listed(1, Rule.PRIVATE_MUTED) == []
