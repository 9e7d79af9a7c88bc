"""What a tenant may have and take, through the server API; the other tenant is never the one who pays."""

import itertools
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack
import pytest
from django.core.exceptions import ValidationError

from apps.accounts.directory import TenantEntry
from apps.accounts.models import Tenant, User
from apps.messaging import groups
from apps.messaging.log import Entry, Log
from apps.messaging.methods import Refused, discussion, group
from apps.messaging.server_api import messages, view
from apps.routing import topology
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.lanes import Reply
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from apps.routing.quotas import Quotas
from tests.accounts.tenants import entry, signed
from tests.messaging.server_api.calls import call, post, refused

Pair = tuple[Tenant, Tenant]


@pytest.fixture(autouse=True)
def quotas(monkeypatch: pytest.MonkeyPatch) -> Iterator[Quotas]:
    """Nothing taken yet; nobody is told."""
    fresh = Quotas()
    monkeypatch.setattr(Quotas, "_tell", lambda self: None)
    for module in (view, messages):
        monkeypatch.setattr(module, "quotas", fresh)
    yield fresh


def limited(tenant: Tenant, **limits: int) -> TenantEntry:
    for name, value in limits.items():
        setattr(tenant, name, value)
    tenant.full_clean()
    tenant.save()
    return entry(tenant)


def test_a_call_past_the_rate_is_429_and_says_when_to_come_again(tenants: Pair) -> None:
    mine, other = limited(tenants[0], call_rate=2), entry(tenants[1])
    for _ in range(2):
        call(mine, "/user/getToken", userId="alice", name="A")
    response = post("/user/getToken.json", b"userId=alice&name=A", signed(mine))
    assert (response.status_code, response.json()["code"], response["Retry-After"]) == (429, 1008, "1")
    for _ in range(3):
        call(other, "/user/getToken", userId="alice", name="A")


def test_who_cannot_sign_uses_nothing_of_the_apps_share(tenants: Pair) -> None:
    mine, other = limited(tenants[0], call_rate=1), entry(tenants[1])
    for _ in range(3):
        forged = {**signed(other), "App-Key": mine.app_key}
        assert post("/user/getToken.json", b"userId=alice&name=A", forged).status_code == 401
    call(mine, "/user/getToken", userId="alice", name="A")


def test_each_receiver_of_a_call_counts_and_a_call_that_is_refused_sends_nothing(
    tenants: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Request] = []

    async def submit_all(requests: Sequence[Request]) -> list[Reply]:
        sent.extend(requests)
        return [Reply(0, 1, uuid.uuid4().hex, b"") for _ in requests]

    monkeypatch.setattr(messages, "submit_all", submit_all)
    mine, other = limited(tenants[0], message_rate=5), entry(tenants[1])
    fields: dict[str, Any] = {"fromUserId": "alice", "objectName": "app:x", "content": "x"}
    path = "/message/private/publish"
    call(mine, path, toUserId=["a", "b", "c"], **fields)
    status, code, _ = refused(mine, path, toUserId=["a", "b", "c"], **fields)
    assert (status, code, len(sent)) == (429, 1008, 3)
    call(mine, path, toUserId=["a", "b"], **fields)
    assert refused(mine, "/message/group/publish", toGroupId="g", **fields)[1] == 1008
    assert refused(mine, "/message/broadcast", **fields)[1] == 1008
    call(mine, "/group/quit", userId="a", groupId="g")  # that is no message
    call(other, path, toUserId=[f"u{n}" for n in range(20)], **fields)


def test_a_new_user_too_many_is_2007_and_those_who_are_there_stay(tenants: Pair) -> None:
    User.objects.bulk_create(User(tenant=tenants[1], user_id=f"u{n}") for n in range(5))
    mine = limited(tenants[0], users_max=2)
    for name in ("alice", "bob", "alice"):
        call(mine, "/user/getToken", userId=name, name="A")
    assert refused(mine, "/user/getToken", userId="carol", name="C")[:2] == (403, 2007)
    assert sorted(User.objects.filter(tenant=tenants[0]).values_list("user_id", flat=True)) == [
        "alice",
        "bob",
    ]
    call(mine, "/user/getToken", userId="bob", name="B")
    call(entry(tenants[1]), "/user/getToken", userId="carol", name="C")


def test_a_limit_may_be_taken_off_again(tenants: Pair) -> None:
    mine = limited(tenants[0], users_max=1)
    call(mine, "/user/getToken", userId="alice", name="A")
    assert refused(mine, "/user/getToken", userId="bob", name="B")[1] == 2007
    tenants[0].users_max = None
    tenants[0].save()
    call(entry(tenants[0]), "/user/getToken", userId="bob", name="B")


def of_set(server_set: str, tenant: int) -> Iterator[str]:
    return (name for n in itertools.count() if topology.home(tenant, name := f"g{n}") == server_set)


def joining(tenant: int, *names: str) -> list[Request]:
    payload = msgpack.packb([groups.JOIN, ["alice"], "name"])
    return [Request(tenant, "", "grpChange", name, payload, uuid.uuid4().hex, FROM_SERVER) for name in names]


def test_a_group_too_many_is_refused_wherever_the_others_are(tenants: Pair, sets: dict[str, Log]) -> None:
    mine, other = limited(tenants[0], groups_max=3).id, entry(tenants[1]).id
    here, there = of_set("set1", mine), of_set("set2", mine)
    one, two, three, four = next(here), next(there), next(here), next(here)

    def change(server_set: str, *requests: Request) -> list[int]:
        verdicts = group.change(server_set, requests)
        made = [verdict for verdict in verdicts if isinstance(verdict, Entry)]
        sets[server_set].append(made, within=1)
        return [verdict.status if isinstance(verdict, Refused) else 0 for verdict in verdicts]

    assert change("set1", *joining(mine, one)) == change("set2", *joining(mine, two)) == [0]
    full = AckStatus.GROUP_ID_INVALID
    assert change("set1", *joining(mine, one, three, four, three)) == [0, 0, full, 0]
    assert change("set1", *joining(mine, four)) == [full]
    made = im.CreateDiscussionInput(name="d").SerializeToString()
    asked = Request(mine, "alice", "crDiz", "alice", made)
    assert discussion.create("set1", asked).status == AckStatus.DISCUSSION_CREATE
    assert change("set1", *joining(other, *itertools.islice(of_set("set1", other), 5))) == [0] * 5


def test_the_server_is_told_that_there_may_be_no_more_groups(
    tenants: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def submit_all(requests: Sequence[Request]) -> list[Reply]:
        return [Reply(AckStatus.GROUP_ID_INVALID, 1, "", b"")]

    monkeypatch.setattr(messages, "submit_all", submit_all)
    mine = limited(tenants[0], groups_max=3)
    found = refused(mine, "/group/create", userId="a", groupId="g", groupName="n")
    assert found == (400, 1502, "The app may have 3 groups.")


def test_a_limit_of_nothing_is_no_limit_that_can_be_set(tenants: Pair) -> None:
    with pytest.raises(ValidationError):
        limited(tenants[0], call_rate=0)
