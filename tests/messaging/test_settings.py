"""What a user sets for himself and for his conversations, and what each of his devices learns of it."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from google.protobuf.message import Message

from apps.messaging import log, slot_moves
from apps.messaging.log import Log
from apps.messaging.methods import conversation_states, settings
from apps.routing.envelope import ELSEWHERE
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import slot
from tests.messaging.asking import MALFORMED_BYTES, Told, ask, reply
from tests.messaging.conftest import user

ALICE = user("set1")
BOB = user("set2")
SILENT, ON_TOP, TAGS = 1, 2, 3
PEER = "peer"


@pytest.fixture(autouse=True)
def own_sets(sets: dict[str, Log], redis_client: redis.Redis) -> dict[str, Log]:
    return sets


@pytest.fixture
def told() -> Iterator[Told]:
    listener = Told()
    yield listener
    listener.close()


def states(*given: im.SessionState, version: int = 0) -> im.SessionStateModifyReq:
    return im.SessionStateModifyReq(version=version, state=given, ignoreVersion=True)


def state(target: str = PEER, kind: int = 1, **items: Any) -> im.SessionState:
    """A conversation with do-not-disturb, top or tags as given."""
    made = im.SessionState(type=kind, channelId=target)
    if "silent" in items:
        made.stateItem.add(sessionStateType=SILENT, value=items["silent"])
    if "top" in items:
        made.stateItem.add(sessionStateType=ON_TOP, value=items["top"])
    if "tags" in items:
        tags = [im.SessionTagItem(tagId=tag) for tag in items["tags"]]
        made.stateItem.add(sessionStateType=TAGS, value="[]", tags=tags)
    return made


def set_states(name: str, *given: im.SessionState, **how: Any) -> im.SessionStateModifyResp:
    version = how.pop("version", 0)
    return reply(im.SessionStateModifyResp, name, "setSeAtt", states(*given, version=version), **how)


def pulled(name: str, since: int = 0, **how: Any) -> im.SessionStates:
    return reply(im.SessionStates, name, "pullSeAtts", im.SessionReq(time=since), **how)


def known(name: str, since: int = 0, **how: Any) -> dict[str, dict[int, str]]:
    """conversation -> state type -> value, of what is newer than `since`."""
    return {
        each.channelId: {item.sessionStateType: item.value for item in each.stateItem}
        for each in pulled(name, since, **how).state
    }


def tags_of(name: str) -> dict[str, list[str]]:
    """conversation -> its tags."""
    return {
        each.channelId: [tag.tagId for item in each.stateItem for tag in item.tags]
        for each in pulled(name).state
    }


def add_tags(name: str, *tags: str, version: int | None = None) -> im.SetUserSettingOutput:
    wanted = im.SessionTagAddInput(
        version=version or 0,
        ignoreVersion=version is None,
        tags=[im.SessionTagItem(tagId=tag, name=f"name of {tag}") for tag in tags],
    )
    return reply(im.SetUserSettingOutput, name, "addSeTag", wanted)


def own_tags(name: str, since: int = 0) -> list[str] | None:
    """The tags that a device with this version learns of; None: nothing new."""
    reply_ = reply(im.PullUserSettingOutput, name, "pullUS", im.PullUserSettingInput(version=since))
    assert reply_.version >= since
    found = [[tag.tagId for tag in item.tags] for item in reply_.items if item.key == "Tag"]
    return found[0] if found else None


# --- conversations


def test_a_device_pulls_just_what_is_newer_than_its_version() -> None:
    first = set_states(ALICE, state("one", top="1")).version
    second = set_states(ALICE, state("two", silent="5"), state("three", top="1")).version
    assert second > first
    assert known(ALICE) == {"one": {ON_TOP: "1"}, "two": {SILENT: "5"}, "three": {ON_TOP: "1"}}
    assert known(ALICE, first) == {"two": {SILENT: "5"}, "three": {ON_TOP: "1"}}
    assert known(ALICE, second) == {}
    assert pulled(ALICE, second).version == second
    assert {each.time for each in pulled(ALICE).state} == {first, second}
    assert known(BOB) == {}


def test_items_are_set_one_by_one_and_a_conversation_is_pulled_whole() -> None:
    since = set_states(ALICE, state(top="1")).version
    set_states(ALICE, state(silent="5"))
    assert known(ALICE, since) == {PEER: {ON_TOP: "1", SILENT: "5"}}
    set_states(ALICE, state(top="0"))
    assert known(ALICE) == {PEER: {ON_TOP: "0", SILENT: "5"}}


def test_conversations_of_another_kind_or_channel_are_others() -> None:
    channel = state(top="1")
    channel.busChannel = "c"
    set_states(ALICE, state(top="1"), state(kind=3, top="1"), channel)
    found = {(each.type, each.channelId, each.busChannel) for each in pulled(ALICE).state}
    assert found == {(1, PEER, ""), (3, PEER, ""), (1, PEER, "c")}


def test_other_devices_are_told_and_a_change_that_is_none_tells_nobody(told: Told) -> None:
    version = set_states(ALICE, state(top="1")).version
    (signal,) = told.signals()
    assert (signal.tenant, signal.user, signal.topic, signal.but) == (
        1,
        ALICE,
        "s_cmd",
        f"{ALICE}-connection",
    )
    notice = im.NotifyMsg.FromString(signal.payload)
    assert (notice.type, notice.time) == (3, version)
    assert set_states(ALICE, state(top="1")).version == version
    assert told.signals() == []


def test_a_device_may_keep_the_new_version_if_it_had_the_one_before() -> None:
    first = set_states(ALICE, state(top="1"))
    assert first.updateVersion
    second = set_states(ALICE, state(top="0"), version=first.version)
    assert second.updateVersion
    assert not set_states(ALICE, state(top="1"), version=first.version).updateVersion


def test_each_generation_is_shown_do_not_disturb_in_its_own_form() -> None:
    set_states(ALICE, state("old", silent="1"), generation=4)
    set_states(ALICE, state("all", silent="5"), state("some", silent="1"), state("none", silent="-1"))
    assert known(ALICE) == {"old": {1: "5"}, "all": {1: "5"}, "some": {1: "1"}, "none": {1: "-1"}}
    old = known(ALICE, generation=4)
    assert old == {"old": {1: "1"}, "all": {1: "1"}, "some": {1: "1"}, "none": {1: "0"}}


def test_a_level_for_all_conversations_of_a_kind_has_no_target() -> None:
    wanted = im.TypeUnpushInput(type=3, version=0, unpushLevel=5, ignoreVersion=True)
    version = reply(im.TypeUnpushOutput, ALICE, "setTypeUnpush", wanted).version
    (of_groups,) = pulled(ALICE).state
    assert (of_groups.type, of_groups.channelId, of_groups.time) == (3, "", version)
    assert of_groups.stateItem[0].value == "5"
    stale = im.TypeUnpushInput(type=3, version=version - 1, unpushLevel=1)
    assert ask(ALICE, "setTypeUnpush", stale).status == AckStatus.SETTINGS_CONFLICT


@pytest.mark.parametrize(("letter", "kind"), [("P", 1), ("D", 3)])
def test_v2_blocks_notices_and_is_answered_by_the_status(letter: str, kind: int) -> None:
    peer = im.BlockPushInput(blockeeId=PEER)
    assert ask(ALICE, f"qry{letter}Push", peer).status == 0
    assert ask(ALICE, f"blk{letter}Push", peer).status == 0
    assert ask(ALICE, f"qry{letter}Push", peer).status == 1
    (blocked,) = pulled(ALICE).state
    assert (blocked.type, blocked.stateItem[0].value) == (kind, "5")
    assert ask(ALICE, f"unblk{letter}Push", peer).status == 0
    assert ask(ALICE, f"qry{letter}Push", peer).status == 0


# --- tags


def test_tags_are_pulled_all_together_when_one_has_changed(told: Told) -> None:
    first = add_tags(ALICE, "work").version
    (signal,) = told.signals()
    assert signal.topic == "s_us"
    assert im.UserSettingNotification.FromString(signal.payload).version == first
    assert own_tags(ALICE) == ["work"]
    assert own_tags(ALICE, first) is None
    add_tags(ALICE, "home")
    assert own_tags(ALICE, first) == ["work", "home"]
    gone = im.SessionTagDelInput(version=0, tags=[im.SessionTagItem(tagId="work")], ignoreVersion=True)
    reply(im.SetUserSettingOutput, ALICE, "delSeTag", gone)
    assert own_tags(ALICE, first) == ["home"]
    assert own_tags(BOB) is None


def test_a_tag_keeps_its_time_when_it_is_renamed() -> None:
    made = add_tags(ALICE, "work").version
    renamed = im.SessionTagAddInput(
        version=made, tags=[im.SessionTagItem(tagId="work", name="Arbeit 👩‍👩‍👧")]
    )
    reply(im.SetUserSettingOutput, ALICE, "addSeTag", renamed)
    (item,) = reply(im.PullUserSettingOutput, ALICE, "pullUS", im.PullUserSettingInput(version=0)).items
    assert [(tag.name, tag.createdTime) for tag in item.tags] == [("Arbeit 👩‍👩‍👧", made)]


def test_a_device_that_missed_a_change_must_pull_before_it_makes_one() -> None:
    first = add_tags(ALICE, "one", version=0).version
    stale = im.SessionTagAddInput(version=first - 1, tags=[im.SessionTagItem(tagId="two", name="n")])
    assert ask(ALICE, "addSeTag", stale, generation=4).status == AckStatus.SETTINGS_CONFLICT
    assert own_tags(ALICE) == ["one"]
    assert add_tags(ALICE, "two", version=first).updateVersion
    careless = add_tags(ALICE, "three")  # v5 asks for no check, and pulls then
    assert not careless.updateVersion


def test_twenty_tags_and_no_more() -> None:
    add_tags(ALICE, *(f"t{n}" for n in range(settings.TAGS_MAX)))
    one_more = im.SessionTagAddInput(tags=[im.SessionTagItem(tagId="x", name="x")], ignoreVersion=True)
    assert ask(ALICE, "addSeTag", one_more).status == AckStatus.TOO_MANY_TAGS
    assert len(own_tags(ALICE) or ()) == settings.TAGS_MAX


def test_conversations_come_under_tags_and_out_of_them() -> None:
    add_tags(ALICE, "work", "home")
    set_states(ALICE, state("one", top="1"))
    both = states(state("one", tags=["work", "home"]), state("two", tags=["work"]))
    since = reply(im.SessionStateModifyResp, ALICE, "addTag", both).version
    assert tags_of(ALICE) == {"one": ["work", "home"], "two": ["work"]}
    assert known(ALICE)["one"][ON_TOP] == "1"
    reply(im.SessionStateModifyResp, ALICE, "delTag", states(state("one", tags=["work"])))
    assert tags_of(ALICE) == {"one": ["home"], "two": ["work"]}
    assert list(known(ALICE, since)) == ["one"]


def test_a_conversation_is_on_top_within_a_tag_until_that_is_taken_back() -> None:
    add_tags(ALICE, "work")
    on_top = state(tags=["work"])
    on_top.stateItem[0].tags[0].isTop = True
    reply(im.SessionStateModifyResp, ALICE, "addTag", states(on_top))
    reply(im.SessionStateModifyResp, ALICE, "addTag", states(state(tags=["work"])))
    (found,) = pulled(ALICE).state
    assert found.stateItem[0].tags[0].isTop
    on_top.stateItem[0].tags[0].isTop = False
    reply(im.SessionStateModifyResp, ALICE, "addTag", states(on_top))
    (found,) = pulled(ALICE).state
    assert not found.stateItem[0].tags[0].isTop


@pytest.mark.parametrize("method", ["delSeTag", "disTag"])
def test_conversations_lose_a_tag_that_goes(method: str, told: Told) -> None:
    add_tags(ALICE, "work", "home")
    both = states(state("one", tags=["work", "home"]), state("two", tags=["home"]))
    reply(im.SessionStateModifyResp, ALICE, "addTag", both)
    told.signals()
    gone: dict[str, Message] = {
        "delSeTag": im.SessionTagDelInput(tags=[im.SessionTagItem(tagId="home")], ignoreVersion=True),
        "disTag": im.SessionDisTagReq(tagId=["home"]),
    }
    assert ask(ALICE, method, gone[method]).status == 0
    assert tags_of(ALICE) == {"one": ["work"], "two": []}
    assert "s_cmd" in {signal.topic for signal in told.signals()}


# --- other settings


def test_quiet_hours_are_kept_until_they_are_removed() -> None:
    def quiet() -> im.QueryUnpushPeriodOutput:
        return reply(im.QueryUnpushPeriodOutput, ALICE, "qryUnpush", im.QueryUnpushPeriodInput(nothing=1))

    assert quiet() == im.QueryUnpushPeriodOutput(isUnpush=0)
    wanted = im.AddUnpushPeriodInput(startTime="22:30:00", spanMinutes=480, level=5, timezone="Asia/Shanghai")
    assert ask(ALICE, "addUnpush", wanted).status == 0
    assert quiet() == im.QueryUnpushPeriodOutput(
        isUnpush=1, startTime="22:30:00", spanMinutes=480, level=5, timezone="Asia/Shanghai"
    )
    assert ask(ALICE, "delUnpush", im.DeleteUnpushPeriodInput(nothing=1)).status == 0
    assert quiet() == im.QueryUnpushPeriodOutput(isUnpush=0)


def test_v2_names_the_days_and_the_version_in_another_calls_message() -> None:
    wanted = im.GetQNupTokenOutput(deadline=0, token="3")
    assert ask(ALICE, "setOfflineMsgDur", wanted, generation=2).status == 0
    pulled_us = reply(im.PullUserSettingOutput, ALICE, "pullUS", im.PullUserSettingInput(version=0))
    assert pulled_us.version > 0
    stale = im.GetQNupTokenOutput(deadline=0, token="4")
    assert ask(ALICE, "setOfflineMsgDur", stale).status == AckStatus.SETTINGS_CONFLICT
    fresh = im.GetQNupTokenOutput(deadline=pulled_us.version, token="4")
    assert ask(ALICE, "setOfflineMsgDur", fresh).status == 0


@pytest.mark.parametrize("method", sorted(settings.EMPTY))
def test_what_nothing_is_kept_of_is_answered_empty(method: str) -> None:
    assert ask(ALICE, method, b"").status == 0


def test_an_empty_answer_is_not_before_the_question() -> None:
    changes = reply(im.EventChangeList, ALICE, "pullEventChange", im.QueryMsgChange(syncTime=9))
    assert (changes.syncTime, changes.hasNext) == (9, False)
    modified = reply(im.PullModifyMsgResp, ALICE, "pullModifyMsg", im.PullModifyMsgReq(pullVersion=9))
    assert (modified.nextVersion, modified.finished) == (9, True)


# --- slots, bounds, bad input


def test_a_change_goes_to_the_set_that_has_the_slot_now(own_sets: dict[str, Log]) -> None:
    def give_up(connection: Any) -> None:
        slots = bytearray(log.lock_head(connection))
        assert slot_moves._take_bit(slots, slot("1", ALICE))
        connection.execute("UPDATE messaging_head SET slots = %s", (bytes(slots),))

    own_sets["set1"].run(give_up, within=2.0)
    assert ask(ALICE, "setSeAtt", states(state(top="1"))).status == ELSEWHERE
    add = im.SessionTagAddInput(tags=[im.SessionTagItem(tagId="x", name="x")], ignoreVersion=True)
    assert ask(ALICE, "addSeTag", add).status == ELSEWHERE
    assert known(ALICE) == {}


def test_a_user_has_so_many_conversations_set_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_states, "STATES_MAX", 3)
    set_states(ALICE, state("1", top="1"), state("2", top="1"), state("3", top="1"))
    assert ask(ALICE, "setSeAtt", states(state("4", top="1"))).status == AckStatus.OPERATION_BLOCKED
    set_states(ALICE, state("3", top="0"))


LONG = "x" * 65
BAD: dict[str, list[Message | bytes]] = {
    "pullUS": [MALFORMED_BYTES],
    "pullSeAtts": [MALFORMED_BYTES],
    "setSeAtt": [
        MALFORMED_BYTES,
        b"",
        states(),
        states(im.SessionState(type=1, channelId=PEER)),
        states(state("", top="1")),
        states(state(LONG, top="1")),
        states(state("a\0b", top="1")),
        states(state("a\nb", top="1")),
        states(state(kind=0, top="1")),
        states(state(kind=-1, top="1")),
        states(state(kind=1 << 30, top="1")),
        states(state(top="")),
        states(state(top="x" * 17)),
        states(state(silent="loud")),
        states(state(silent="1" * 16)),
        states(state(tags=["work"])),
        states(im.SessionState(type=1, channelId=PEER, stateItem=[im.SessionStateItem(sessionStateType=9)])),
        states(*(state(f"t{n}", top="1") for n in range(conversation_states.STATES_A_CALL + 1))),
        states(state(top="1")).SerializeToString().replace(PEER.encode(), b"\xff\xff\xff\xff"),
    ],
    "addTag": [
        MALFORMED_BYTES,
        b"",
        states(state(tags=["unknown"])),
        states(state(tags=[])),
        states(state(top="1")),
    ],
    "delTag": [MALFORMED_BYTES, b"", states(state(tags=[])), states(state(tags=[LONG]))],
    "disTag": [MALFORMED_BYTES, b"", im.SessionDisTagReq(tagId=[""]), im.SessionDisTagReq(tagId=[LONG])],
    "setTypeUnpush": [
        MALFORMED_BYTES,
        b"",
        im.TypeUnpushInput(type=3, ignoreVersion=True),
        im.TypeUnpushInput(type=0, unpushLevel=5, ignoreVersion=True),
        im.TypeUnpushInput(type=3, unpushLevel=1000, ignoreVersion=True),
    ],
    **{
        method: [MALFORMED_BYTES, b"", im.BlockPushInput(blockeeId=""), im.BlockPushInput(blockeeId=LONG)]
        for method in ("blkPPush", "unblkPPush", "qryPPush", "blkDPush", "unblkDPush", "qryDPush")
    },
    "addSeTag": [
        MALFORMED_BYTES,
        b"",
        im.SessionTagAddInput(tags=[im.SessionTagItem(tagId="", name="n")]),
        im.SessionTagAddInput(tags=[im.SessionTagItem(tagId="t", name="")]),
        im.SessionTagAddInput(tags=[im.SessionTagItem(tagId="t", name="n\0")]),
        im.SessionTagAddInput(tags=[im.SessionTagItem(tagId=LONG, name="n")]),
        im.SessionTagAddInput(tags=[im.SessionTagItem(tagId="t", name=LONG)]),
    ],
    "delSeTag": [MALFORMED_BYTES, b"", im.SessionTagDelInput(tags=[im.SessionTagItem(tagId="")])],
    "addUnpush": [
        MALFORMED_BYTES,
        b"",
        im.AddUnpushPeriodInput(startTime="25:00:00", spanMinutes=5),
        im.AddUnpushPeriodInput(startTime="night", spanMinutes=5),
        im.AddUnpushPeriodInput(startTime="22:00:00", spanMinutes=0),
        im.AddUnpushPeriodInput(startTime="22:00:00", spanMinutes=1440),
        im.AddUnpushPeriodInput(startTime="22:00:00", spanMinutes=-5),
        im.AddUnpushPeriodInput(startTime="22:00:00", spanMinutes=5, timezone=LONG),
    ],
    "qryUnpush": [MALFORMED_BYTES],
    "delUnpush": [MALFORMED_BYTES],
    "setOfflineMsgDur": [
        MALFORMED_BYTES,
        b"",
        *(im.GetQNupTokenOutput(deadline=0, token=days) for days in ("0", "8", "12", "-1", "week")),
    ],
}


def test_every_method_of_settings_is_in_the_table_of_bad_input() -> None:
    assert BAD.keys() == settings.METHODS.keys() | conversation_states.METHODS.keys()


@pytest.mark.parametrize("method", sorted(BAD))
def test_bad_input_is_refused_and_nothing_is_stored(method: str) -> None:
    for body in BAD[method]:
        assert ask(ALICE, method, body).status == AckStatus.MALFORMED, body
    for table in ("usersetting", "conversationstate"):
        assert log.of("set1").read(f"SELECT * FROM messaging_{table}", ()) == []  # type: ignore[arg-type]
