"""What holds for users until some time holds no longer then, without anybody's doing."""

from datetime import timedelta

import pytest
import redis
from django.utils import timezone

from apps.accounts.directory import directory
from apps.accounts.models import Tenant, User
from apps.messaging import chatroom_life, chatrooms, log, tenant_rules
from apps.messaging.log import Log
from apps.messaging.models import TenantRule
from apps.messaging.tenant_rules import Rule, rules
from apps.routing.envelope import JOINED
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from tests.messaging.asking import ask
from tests.messaging.conftest import text, user, users
from tests.messaging.sending import group_of, join, send

ALICE, CAROL = users("set1", 2)
BOB = user("set2")
GROUP = ROOM = group_of("set1")
HOUR = 3_600_000  # ms


@pytest.fixture(autouse=True)
def ready(sets: dict[str, Log], redis_client: redis.Redis) -> None:
    chatrooms.create("set1", 1, ROOM)
    join(GROUP, ALICE, BOB)


def rule(kind: int, name: str, until: int) -> None:
    tenant_rules.add(1, kind, [name], until)
    rules.renew()


def test_mutes_everywhere_end_at_their_time_and_are_forgotten() -> None:
    muted = {
        (Rule.GROUP_MUTED, "pgMsgP", GROUP): AckStatus.GROUP_MUTED,
        (Rule.MUTED, "chatMsg", ROOM): AckStatus.CHATROOM_MUTED,
        (Rule.PRIVATE_MUTED, "ppMsgP", ALICE): AckStatus.PRIVATE_MUTED,
    }
    for (kind, method, target), status in muted.items():
        rule(kind, BOB, log.now() + HOUR)
        assert send(BOB, method, target, text(), options=JOINED).status == status
        assert [name for name, _ in tenant_rules.listed(1, kind)] == [BOB]
        rule(kind, BOB, log.now())
        assert send(BOB, method, target, text(), options=JOINED).status == 0
        assert tenant_rules.listed(1, kind) == []
        rule(kind, "dave", log.now() + HOUR)
        assert [each.name for each in TenantRule.objects.filter(kind=kind)] == ["dave"]


def test_a_rule_that_a_worker_has_in_memory_ends_though_nobody_changes_anything() -> None:
    rule(Rule.PRIVATE_MUTED, BOB, log.now() + HOUR)
    held = rules.current
    ends = held.until[1, Rule.PRIVATE_MUTED, BOB]
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(log, "now", lambda: ends - 1)
        assert held.hold(1, Rule.PRIVATE_MUTED, BOB)
        clock.setattr(log, "now", lambda: ends)
        assert not held.hold(1, Rule.PRIVATE_MUTED, BOB)


def test_who_was_blocked_from_a_room_comes_in_again_when_the_time_is_over() -> None:
    for until, status in ((log.now() + HOUR, AckStatus.CHATROOM_KICKED), (log.now(), 0)):
        chatroom_life.block("set1", 1, ROOM, [BOB], until)
        asked = im.ChrmInput(nothing=0)
        assert ask(BOB, "joinChrmR", asked, target=ROOM, server_set="set1").status == status


def test_who_was_blocked_from_connecting_connects_again_when_the_time_is_over() -> None:
    tenant = Tenant.objects.create(name="blocking")
    bob = User.objects.create(
        tenant=tenant, user_id="bob", blocked_until=timezone.now() + timedelta(minutes=1)
    )
    directory.renew()
    assert directory.current.user_restriction(tenant.pk, "bob").blocked_until_ms > log.now()
    assert not directory.current.user_restriction(tenant.pk, "alice").blocked_until_ms
    bob.blocked_until = timezone.now()
    bob.save()
    directory.renew()
    assert directory.current.user_restriction(tenant.pk, "bob").blocked_until_ms <= log.now()
