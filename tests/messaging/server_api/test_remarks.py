"""`/user/remarks/…`, `/group/remarks/…`."""

import json

import pytest
import redis

from apps.accounts.directory import TenantEntry
from apps.messaging import slot_moves
from apps.messaging.log import Log
from apps.messaging.models import PushRemark
from apps.messaging.server_api import remarks
from apps.messaging.server_api.declarations import ENDPOINTS, Refused
from apps.routing import topology
from tests.messaging.server_api.calls import call, refused
from tests.messaging.test_slot_moves import begin, finish_moves


def test_remarks_come_and_go_and_move_with_their_user(
    sets: dict[str, Log],
    alices: TenantEntry,
    mallorys: TenantEntry,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slot_moves, "SETTLE", 0)
    given = [
        {"Id": "bob", "Remark": "Bobby"},
        {"id": "carol", "remark": "老同学"},
        {"id": "dave", "remark": "D"},
    ]
    call(alices, "/user/remarks/set", userId="alice", remarks=json.dumps(given))
    call(alices, "/user/remarks/set", userId="alice", remarks='[{"id": "bob", "remark": "Bob"}]')
    call(mallorys, "/user/remarks/set", userId="alice", remarks='[{"id": "bob", "remark": "M"}]')
    call(alices, "/group/remarks/set", userId="alice", groupId="bob", remark="The team")
    for _ in range(2):
        call(alices, "/user/remarks/del", userId="alice", targetId="dave")
        call(alices, "/group/remarks/del", userId="alice", groupId="nogroup")
    there = topology.home(alices.id, "alice")
    elsewhere = next(name for name in sets if name != there)
    begin(topology.slot(str(alices.id), "alice"), elsewhere)
    finish_moves()
    topology.topology.renew()
    assert topology.home(alices.id, "alice") == elsewhere
    assert not PushRemark.objects.using(there).filter(tenant=alices.id).exists()
    bob, carol = {"id": "bob", "remark": "Bob"}, {"id": "carol", "remark": "老同学"}
    answer = call(alices, "/user/remarks/get", userId="alice")
    assert answer == {"total": 2, "users": [bob, carol]}
    assert call(alices, "/user/remarks/get", userId="alice", page=2, size=1) == {"total": 2, "users": [carol]}
    assert call(alices, "/user/remarks/get", userId="alice", page=3, size=1) == {"total": 2, "users": []}
    assert call(alices, "/group/remarks/get", userId="alice", groupId="bob") == {"remark": "The team"}
    assert call(alices, "/group/remarks/get", userId="bob", groupId="bob") == {"remark": ""}
    assert call(mallorys, "/user/remarks/get", userId="alice")["users"] == [{"id": "bob", "remark": "M"}]

    monkeypatch.setattr(remarks, "REMARKS_MAX", 3)
    two = json.dumps([{"id": name, "remark": "x"} for name in ("erin", "frank")])
    code, said = refused(alices, "/user/remarks/set", userId="alice", remarks=two)[1:]
    assert (code, said) == (1002, "A user has 3 remarks of a kind at most.")
    assert call(alices, "/user/remarks/get", userId="alice")["total"] == 2  # nothing half-done


@pytest.mark.parametrize(
    "given",
    [
        "bob",
        "{}",
        "[]",
        "[1]",
        '[{"id": "bob"}]',
        '[{"id": 7, "remark": "x"}]',
        '[{"id": "bob", "remark": null}]',
        '[{"id": "bob", "remark": ""}]',
        '[{"id": "", "remark": "x"}]',
        '[{"id": "bob", "remark": "\\u0000"}]',
        '[{"id": "bob", "remark": "\\ud800"}]',
        '[{"id": "a,b", "remark": "x"}]',
        json.dumps([{"id": "b" * 65, "remark": "x"}]),
        json.dumps([{"id": "bob", "remark": "x" * 257}]),
        json.dumps([{"id": f"u{n}", "remark": "x"} for n in range(101)]),
        "[" * 5000,
    ],
)
def test_what_is_no_list_of_remarks_is_refused(given: str) -> None:
    tenant = TenantEntry(1, "Alice's", "key", "secret")
    with pytest.raises(Refused) as why:
        ENDPOINTS["/user/remarks/set"].call(tenant, {"userId": ["alice"], "remarks": [given]})
    assert why.value.code == 1002
