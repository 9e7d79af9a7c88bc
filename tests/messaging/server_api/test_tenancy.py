"""Another tenant's ids are worth what ids are worth that nobody has: with every endpoint and every method.

The walk takes endpoints and methods from their registries, so it has those that are added later. Mallory's
app does everything twice, in turns: with the ids of what Alice's app has, and with ids that nobody has. Both
must be answered alike, and nothing that is Alice's may be told or touched.
"""

import itertools
import json
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import connections
from google.protobuf.message import DecodeError

from apps.accounts.directory import TenantEntry
from apps.messaging import exchange, tasks
from apps.messaging.log import Log
from apps.messaging.server_api import view  # noqa: F401  (it declares the endpoints)
from apps.messaging.server_api.declarations import ENDPOINTS, Endpoint, MapParam, Param
from apps.routing import process, topology
from apps.routing.envelope import Batch, Request
from apps.routing.lanes import Reply
from apps.routing.methods import ALL, METHODS
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.json_form import BODIES
from apps.routing.protocol.messages import CHATROOM, DISCUSSION, GROUP, PRIVATE, SYSTEM
from apps.routing.protocol.uid import UidIssuer
from tests.accounts.tenants import signed
from tests.messaging.conftest import SETS
from tests.messaging.server_api.calls import post
from tests.messaging.test_every_method import filled

OWN = "ALICES-OWN"  # in what only Alice's app has said
UIDS = UidIssuer(7)
# What they undo is to be there when Mallory tries.
UNDOING = re.compile(
    r"destroy|dismiss|quit|remove|delete|rollback|recall|expire|/del|unblock|clean|clear|deactivate|unset"
)
CONVERSATIONS = (PRIVATE, GROUP, CHATROOM, DISCUSSION, SYSTEM)
# Tables without a tenant that a message of anybody changes.
OF_ALL = {"accounts_change", "messaging_head", "messaging_exchangecursor"}


@dataclass
class World:
    """Ids that go together: Alice's, or nobody's. Those of one sort as those of the other."""

    first: str
    said: str
    more: list[str] = field(default_factory=list)  # users that only the owner names
    discussion: str = "diz-0000000000000000"
    uids: dict[int, str] = field(default_factory=lambda: {kind: UIDS.next(kind) for kind in CONVERSATIONS})

    def id(self, what: str) -> str:
        return f"{self.first}-{what}"

    def short(self, what: str) -> str:
        return self.id(what)[-8:]

    def target(self, kind: int) -> str:
        named = {GROUP: self.id("group"), CHATROOM: self.id("room"), DISCUSSION: self.discussion}
        return named.get(kind, self.id("user2"))

    def ids(self) -> dict[str, str]:
        """id -> what stands for it in either world."""
        named = {self.id(what): f"<{what}>" for what in ("user1", "user2", "group", "room", "tag", "key")}
        named |= {uid: f"<message {kind}>" for kind, uid in self.uids.items()}
        named[self.short("tag")] = "<short tag>"
        return named | {self.discussion: "<discussion>"}


def homes(world: World, tenant: int) -> list[str]:
    return [topology.home(tenant, world.id(what)) for what in ("user1", "user2", "group", "room")]


def like(world: World, tenant: int) -> World:
    """Nobody's ids, at home in the SETs in which the world's ids are in this tenant."""
    worlds = (World(f"no{n}", "mallorys") for n in itertools.count())
    made = next(its for its in worlds if homes(its, tenant) == homes(world, tenant))
    wanted = topology.home(tenant, world.discussion)
    made.discussion = next(
        name for n in itertools.count() if topology.home(tenant, name := f"diz-{n:016x}") == wanted
    )
    return made


Value = Callable[[World, int], Any]


def fixed(value: Any) -> Value:
    return lambda world, kind: value


def named(what: str) -> Value:
    return lambda world, kind: world.id(what)


def users(world: World, kind: int) -> list[str]:
    return [world.id("user1"), world.id("user2"), *world.more]


def others(world: World, kind: int) -> list[str]:
    return users(world, kind)[1:]


def said(world: World, kind: int) -> str:
    return world.said


def conversations(world: World, kind: int) -> str:
    return json.dumps({"conversationType": kind, "targetId": world.target(kind)})


# How a parameter is filled, by its name, or by path and name. Numbers and flags need no entry.
VALUES: dict[str, Value] = {
    **dict.fromkeys(("userId", "fromUserId", "fromuserid", "entryOwnerId", "pageToken"), named("user1")),
    **dict.fromkeys(("toUserId", "blackUserId", "whiteUserId", "whiteUserIds", "userIds"), named("user2")),
    **dict.fromkeys(("groupId", "toGroupId"), named("group")),
    **dict.fromkeys(("chatroomId", "toChatroomId"), named("room")),
    "toDiscussionId": lambda world, kind: world.discussion,
    "targetId": lambda world, kind: world.target(kind),
    **dict.fromkeys(("messageUID", "msgUID", "msgUid", "messageId"), lambda world, kind: world.uids[kind]),
    "conversationType": lambda world, kind: str(kind),
    "chatroom": lambda world, kind: {world.id("room"): world.said},
    "group": lambda world, kind: {world.id("group"): world.said},
    **dict.fromkeys(("key", "keys"), named("key")),
    **dict.fromkeys(("tagId", "tagIds"), lambda world, kind: world.short("tag")),
    "conversations": conversations,
    "requestId": named("user1"),
    **dict.fromkeys(("name", "groupName", "value", "extra", "portraitUri", "remark", "word"), said),
    **dict.fromkeys(("words", "replaceWord", "tag", "tagName"), said),
    "content": lambda world, kind: json.dumps({"content": world.said}),
    **dict.fromkeys(("objectName", "objectnames"), fixed("app:x")),
    **dict.fromkeys(("pushContent", "pushData", "busChannel", "os"), fixed("")),
    **dict.fromkeys(("pushExt", "notification", "message"), fixed("{}")),
    **dict.fromkeys(("extraContent", "extraKeyVal", "entryInfo"), fixed('{"k":"v"}')),
    "extraKey": fixed('["k"]'),
    "values": fixed(['{"a":"b"}']),
    # As much as a call may name; the same number in either world.
    "sentTime": fixed("1"),
    "time": fixed("4102444800000"),
    **dict.fromkeys(("page", "pageNo", "num"), fixed("1")),
    "offset": fixed("0"),
    **dict.fromkeys(("startTime", "msgTimestamp"), fixed("1")),
    "endTime": fixed("4102444800000"),
    "/push notification": fixed('{"alert":"x"}'),
    "/user/blockPushPeriod/set startTime": fixed("20:00:00"),
    "level": fixed("1"),
    "unpushLevel": fixed("1"),
    "type": fixed("PERSON"),
    "/sensitiveword/list type": fixed("1"),
    "/sensitiveword/querylist type": fixed("1"),
    "date": fixed("2026010100"),
    "remarks": lambda world, kind: json.dumps([{"id": world.id("user2"), "remark": world.said}]),
    **dict.fromkeys(("platform", "platforms"), fixed("android")),
    "audience": lambda world, kind: json.dumps({"userid": [world.id("user2")], "is_to_all": False}),
    "tags": lambda world, kind: [world.id("tag")],
    "/user/conversation/tag/set tags": lambda world, kind: json.dumps(
        {"tagId": world.short("tag"), "tagName": world.said}
    ),
}
# Where the parameter takes several.
OF_A_LIST: dict[str, Value] = {
    "userId": users,
    **dict.fromkeys(("blackUserId", "whiteUserId", "whiteUserIds", "userIds"), others),
}
# Without it a call is another one: of no room, of no group in particular.
WITHOUT = {"groupId", "chatroomId", "pageToken"}


def value_of(path: str, param: Param, world: World, kind: int) -> Any:
    if param.most > 1 and param.name in OF_A_LIST:
        return OF_A_LIST[param.name](world, kind)
    value = VALUES.get(f"{path} {param.name}", VALUES.get(param.name))
    if value is not None:
        return value(world, kind)
    for text in ("50", "20", "1", "0", "1000"):
        try:
            if not isinstance(param, MapParam) and isinstance(param.parse(text), int):
                return text
        except ValueError:
            continue
    pytest.fail(
        f"{path} has a parameter {param.name} that the walk of foreign ids does not know how to fill: "
        f"say in VALUES what it is, above all if it names something of a tenant."
    )


def fields(endpoint: Endpoint, world: World, kind: int, leave: str = "") -> dict[str, Any]:
    given: dict[str, Any] = {}
    for param in endpoint.params:
        if param.name == leave:
            continue
        value = value_of(endpoint.path, param, world, kind)
        if isinstance(value, dict):
            given |= {f"{param.name}[{key}]": its for key, its in value.items()}
        else:
            given[param.name] = value
    return given


def calls(endpoint: Endpoint, world: World) -> Iterator[dict[str, Any]]:
    """One of each kind of conversation where that makes a difference, and those without an optional id."""
    names = {param.name for param in endpoint.params}
    for kind in (
        CONVERSATIONS if names & {"targetId", "conversationType", "messageUID", "msgUID"} else (PRIVATE,)
    ):
        yield fields(endpoint, world, kind)
    for param in endpoint.params:
        if param.name in WITHOUT and not param.required:
            yield fields(endpoint, world, PRIVATE, leave=param.name)


def ask(tenant: TenantEntry, path: str, form: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    response = post(f"{path}.json", urlencode(form, doseq=True).encode(), signed(tenant))
    return response.status_code, response.json()


def plain(found: Any, *worlds: World) -> str:
    """An answer as text, in which the worlds' ids are what they stand for, and no time or new id is left."""
    text = json.dumps(found, sort_keys=True, ensure_ascii=False)
    for world in worlds:
        for its, stands_for in world.ids().items():
            text = text.replace(its, stands_for)
    text = re.sub(r'"(token|operateId)": "[^"]*"|"(id)": "[\w-]{22}"', r'"\1\2"', text)
    text = re.sub(
        r"\b[0-9A-Z]{4}(-[0-9A-Z]{4}){3}\b|\bdiz-[0-9a-f]{16}\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "~", text
    )
    return re.sub(r"\b\d{10,19}\b", "~", text)


# --- what nodes do, in this process


def on_node(request: Request, server_set: str = "") -> Reply:
    """A request as a node of its SET serves it."""
    method = ALL[request.method]
    its = server_set or topology.home(request.tenant, request.target if method.by_target else request.user)
    if not method.is_message:
        answer = tasks._answer(its, request)
        return Reply(answer.status, answer.time, "", answer.payload)
    request = request._replace(uid=UIDS.next(BY_METHOD.get(request.method, PRIVATE)))
    answers: list[Any] = []
    tasks._store(Batch(its, "walk", 1, 0, 1 << 50, [request]), [(0, request)], answers)
    return Reply(answers[0].status if answers else 0, 1, request.uid, b"")


BY_METHOD = {"pgMsgP": GROUP, "pdMsgP": DISCUSSION, "chatMsg": CHATROOM, "sysMsg": SYSTEM}


@pytest.fixture(autouse=True)
def nodes(sets: dict[str, Log], redis_client: "redis.Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever submits something has it done by `on_node`."""

    async def submit_all(requests: Sequence[Request], server_set: str = "") -> list[Reply]:
        return [await sync_to_async(on_node)(request, server_set) for request in requests]

    original = process.submit_all
    for module in list(sys.modules.values()):
        if getattr(module, "submit_all", None) is original:
            monkeypatch.setattr(module, "submit_all", submit_all)


# --- what there is


def alices_world(tenant: TenantEntry, other: TenantEntry) -> World:
    """Everything that can be made with calls, and what clients make.

    Its ids are at home in the same SETs for either tenant: what is looked for there is there.
    """
    worlds = (World(f"al{n}", OWN, [f"{OWN}-user"]) for n in itertools.count())
    world = next(its for its in worlds if homes(its, tenant.id) == homes(its, other.id))

    def good(path: str, **form: Any) -> dict[str, Any]:
        status, answer = ask(tenant, path, form)
        assert status == 200, (path, answer)
        return answer

    for name in users(world, PRIVATE):
        good("/user/getToken", userId=name, name=OWN)
    good("/group/create", userId=users(world, GROUP), groupId=world.id("group"), groupName=OWN)
    good("/chatroom/create", **{f"chatroom[{world.id('room')}]": OWN})
    me = world.id("user1")

    def client(method: str, body: Any, target: str = me, user: str = me) -> bytes:
        asked = Request(
            tenant.id, user, method, target, body.SerializeToString(), generation=5, connection="c"
        )
        reply = on_node(asked)
        assert reply.status == 0, (method, reply)
        return reply.payload

    for name in users(world, PRIVATE):
        client("joinChrm", im.ChrmInput(nothing=0), world.id("room"), name)
    while True:
        made = client("crDiz", im.CreateDiscussionInput(name=OWN))
        world.discussion = im.CreateDiscussionOutput.FromString(made).id
        if topology.home(other.id, world.discussion) == topology.home(tenant.id, world.discussion):
            break
    message = {"objectName": "app:x", "content": json.dumps({"content": OWN}), "expansion": 1}
    message["extraContent"] = '{"k":"v"}'
    to = {PRIVATE: "private toUserId", GROUP: "group toGroupId", CHATROOM: "chatroom toChatroomId"}
    for kind, words in (to | {DISCUSSION: "discussion toDiscussionId", SYSTEM: "system toUserId"}).items():
        path, name = words.split()
        sent = good(
            f"/message/{path}/publish",
            fromUserId=me,
            isIncludeSender=1,
            **{name: world.target(kind)},
            **message,
        )
        world.uids[kind] = sent["messageUID"]
    for endpoint in ENDPOINTS.values():
        if not UNDOING.search(endpoint.path):
            for form in calls(endpoint, world):
                ask(tenant, endpoint.path, form)
    for name in SETS:
        exchange.run(name)
    return world


def state(tenant: int, client: "redis.Redis") -> dict[str, Any]:
    """Table or key -> what the tenant has in it; of tables without tenants, all."""
    found: dict[str, Any] = {}
    for model in apps.get_models():
        table = model._meta.db_table
        columns = {each.column for each in model._meta.fields}
        column = next((name for name in ("tenant", "tenant_id") if name in columns), None)
        if table in OF_ALL:
            continue
        where = f"WHERE {column} = {tenant}" if column else ""
        if table == "accounts_tenant":
            where = f"WHERE id = {tenant}"
        for alias in SETS if getattr(model, "in_set", False) else ["default"]:
            with connections[alias].cursor() as cursor:
                cursor.execute(
                    f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t {where}"
                )
                found[f"{alias} {table}"] = cursor.fetchone()
    for key in client.scan_iter():
        if re.search(rf":{tenant}/".encode(), key) and client.ttl(key) == -1:
            found[key.decode()] = client.dump(key)
    return found


def shown(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def test_every_endpoint_treats_another_tenants_ids_as_those_that_nobody_has(
    alices: TenantEntry, mallorys: TenantEntry, redis_client: "redis.Redis"
) -> None:
    hers = alices_world(alices, mallorys)
    nobodys = like(hers, mallorys.id)
    before = state(alices.id, redis_client)
    filled_tables = sum(1 for number, _ in (it for it in before.values() if isinstance(it, tuple)) if number)
    assert filled_tables > 15, "there is too little to take from Alice"
    foreign = World(hers.first, nobodys.said, [], hers.discussion, hers.uids)
    differing, told = [], []
    # Backwards too: what asks comes before what makes, and finds nothing of Mallory's own.
    for endpoint in (*reversed(ENDPOINTS.values()), *ENDPOINTS.values()):
        for its, unknown in zip(calls(endpoint, foreign), calls(endpoint, nobodys), strict=True):
            status, answer = ask(mallorys, endpoint.path, its)
            other_status, other = ask(mallorys, endpoint.path, unknown)
            # Lists of Mallory's own users have those whom it made under either name.
            if (status, plain(answer, foreign, nobodys)) != (other_status, plain(other, nobodys, foreign)):
                differing.append((endpoint.path, its, answer, other))
            if OWN in json.dumps(answer):
                told.append((endpoint.path, answer))
    assert differing == []
    assert told == []
    for name in SETS:
        exchange.run(name)
    assert shown(before, state(alices.id, redis_client)) == set()
    # The walk proves something only where its calls are good ones.
    useless = [
        path
        for path, endpoint in ENDPOINTS.items()
        if not any(ask(alices, path, form)[0] in (200, 430) for form in calls(endpoint, hers))
    ]
    assert useless == []


def payloads(method: str, world: World) -> Iterator[tuple[bytes, str]]:
    """(payload, target): every id in all fields of the body, with the conversation that it belongs to."""
    body = BODIES[method].up
    assert body is not None
    for kind in CONVERSATIONS:
        target = world.target(kind)
        for its in (target, world.uids[kind], *([world.id("key")] if kind == PRIVATE else [])):
            yield filled(body(), its, kind).SerializePartialToString(), target
    if body is not im.UpStreamMessage:
        return
    for kind in (PRIVATE, GROUP, CHATROOM):
        uid, target = world.uids[kind], world.target(kind)
        named: dict[str, dict[str, Any]] = {
            "RC:RcCmd": {"conversationType": kind, "targetId": target, "messageUId": uid, "sentTime": 1},
            "RC:MsgExMsg": {"mid": uid, "put": {"k": "mallorys"}},
            "RC:ReadNtf": {"lastMessageSendTime": 1 << 50, "messageUId": uid, "type": 1},
            "RC:RRRspMsg": {"receiptMessageDic": {world.id("user1"): [uid]}},
            "RC:TxtMsg": {"content": "mallorys"},
        }
        for name, content in named.items():
            up = im.UpStreamMessage(sessionId=3, classname=name, content=json.dumps(content).encode())
            yield up.SerializeToString(), target


def asked(tenant: int, method: str, payload: bytes, target: str, world: World) -> tuple[int, str]:
    resource = METHODS[method].resource
    target = (resource(payload) if resource else "") or target
    user = world.id("user1")
    reply = on_node(Request(tenant, user, method, target, payload, generation=5, connection="c"))
    kind, found = BODIES[method].reply, reply.payload.hex()
    if kind is not None:
        try:
            found = str(kind.FromString(reply.payload))  # bytes of it can be read
        except (DecodeError, ValueError):
            pass
    return int(reply.status), plain(found, world)


def test_every_method_treats_another_tenants_ids_as_those_that_nobody_has(
    alices: TenantEntry, mallorys: TenantEntry, redis_client: "redis.Redis"
) -> None:
    hers = alices_world(alices, mallorys)
    nobodys = like(hers, mallorys.id)
    before = state(alices.id, redis_client)
    differing, told = [], []
    for method in METHODS:
        for (its, target), (unknown, nowhere) in zip(
            payloads(method, hers), payloads(method, nobodys), strict=True
        ):
            answer = asked(mallorys.id, method, its, target, hers)
            other = asked(mallorys.id, method, unknown, nowhere, nobodys)
            if answer != other:
                differing.append((method, target, its, answer, other))
            if OWN in str(answer):
                told.append((method, answer))
    assert differing == []
    assert told == []
    for name in SETS:
        exchange.run(name)
    assert shown(before, state(alices.id, redis_client)) == set()


def test_a_parameter_that_the_walk_cannot_fill_fails_it() -> None:
    from apps.messaging.server_api.declarations import identifier

    with pytest.raises(pytest.fail.Exception, match="does not know how to fill"):
        value_of("/new/one", Param("somethingNewId", identifier), World("x", "y"), PRIVATE)


def test_the_walk_sees_a_row_that_changes(alices: TenantEntry, redis_client: "redis.Redis") -> None:
    ask(alices, "/group/create", {"userId": ["a"], "groupId": "g", "groupName": uuid.uuid4().hex})
    before = state(alices.id, redis_client)
    ask(alices, "/group/refresh", {"groupId": "g", "groupName": "another"})
    assert any("messaging_group" in name for name in shown(before, state(alices.id, redis_client)))
