"""Long polling against a running stack: the same road as a websocket's, in another form, and its bounds."""

import http.client
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from apps.routing import comet
from apps.routing.protocol.packets import AckStatus, DisconnectStatus
from apps.routing.sessions import OUTBOX_MAX
from bench.tokens import App
from tests.conftest import WholeStack, wait_for

Packet = dict[str, Any]
PULL, PUBLISH, QUERYCON, PING = 0x52, 0x32, 0x70, 0xC0
PATIENCE = 20  # s: a poll that is answered by what happens, not by its end
LONGER_THAN_A_POLL = comet.HELD + PATIENCE
TEXT = json.dumps({"sessionId": 3, "classname": "RC:TxtMsg", "content": '{"content":"你好 😀"}'})
FIRST_PULL = '{"syncTime":0,"ispolling":false,"isPullSend":true,"sendBoxSyncTime":0}'


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    """For polls that are open while something else happens."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def ask(app: App, method: str, path: str, body: str = "", timeout: float = PATIENCE) -> tuple[int, str]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=timeout)
    try:
        connection.request(method, path, body.encode() or None)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Poller:
    """A client that polls, as an SDK of some generation does."""

    def __init__(self, app: App, threads: ThreadPoolExecutor, user: str = "", **query: str) -> None:
        self.app = app
        self.user = user or f"u{uuid.uuid4().hex}"
        self._threads = threads
        self._number = 0
        token = app.tokens([self.user])[self.user]
        parameters = {"appId": app.key, "token": token, "sdkVer": "4.6.4", "pid": "1"} | query
        status, self.connack = ask(app, "GET", f"/websocket?{urlencode(parameters)}")
        assert status == 200
        self.session = str(json.loads(self.connack)["sessionid"])

    def path(self, path: str, **query: str | int) -> str:
        return f"{path}?{urlencode({'sessionid': self.session, **query, 'pid': '1'}, quote_via=quote)}"

    def poll(self) -> list[Packet]:
        """What there is to say, waited for."""
        status, text = ask(self.app, "GET", self.path("/pullmsg.js", timestrap=1), timeout=LONGER_THAN_A_POLL)
        assert status == 200
        return list(json.loads(text))

    def polling(self) -> "Future[list[Packet]]":
        """A poll that is open."""
        return self._threads.submit(self.poll)

    def post(self, header: int, topic: str, target: str, body: str) -> int:
        """Send one request; its number."""
        self._number += 1
        path = self.path("/websocket", messageid=self._number, header=header, topic=topic, targetid=target)
        assert ask(self.app, "POST", path, body) == (200, "[]")
        return self._number

    def until(self, fits: Any) -> list[Packet]:
        """All packets up to the first one that fits."""
        came: list[Packet] = []
        while not any(fits(packet) for packet in came):
            polled = self.poll()
            assert polled, came
            came += polled
        return came

    def answer(self, number: int) -> Packet:
        """The answer to a request, after whatever comes before it."""
        return next(p for p in self.until(lambda p: is_answer(p, number)) if is_answer(p, number))

    def pull(self, since: int = 0) -> dict[str, Any]:
        """Pull what is new, and confirm it."""
        body = json.dumps(json.loads(FIRST_PULL) | {"syncTime": since, "sendBoxSyncTime": since})
        number = self.post(PULL, "pullMsg", self.user, body)
        pulled: dict[str, Any] = json.loads(self.answer(number)["data"])
        path = self.path("/websocket", messageid=number, header=QUERYCON)
        assert ask(self.app, "POST", path, '""') == (200, "[]")
        return pulled

    def is_online(self) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.app.url).netloc, timeout=PATIENCE)
        try:
            return bool(
                self.app.post(connection, "/user/checkOnline.json", userId=self.user)["status"] == "1"
            )
        finally:
            connection.close()


def is_answer(packet: Packet, number: int) -> bool:
    return packet["messageId"] == number and packet["headerCode"] in (0x40, 0x60, 0x62)


def is_topic(topic: str) -> Any:
    return lambda packet: packet.get("topic") == topic


def test_connack_is_written_as_javascript_would_write_it_again(app: App, threads: ThreadPoolExecutor) -> None:
    poller = Poller(app, threads, user=f"爱丽丝{uuid.uuid4().hex}")
    read = json.loads(poller.connack)
    assert poller.connack == json.dumps(read, ensure_ascii=False, separators=(",", ":"))
    assert (read["status"], read["headerCode"], read["userId"]) == (0, 0x20, poller.user)


@pytest.mark.parametrize(
    ("query", "status"), [("appId=nobody&token=x", 2), ("appId=KEY&token=x", 4), ("", 2), ("appId=KEY", 4)]
)
def test_a_connect_that_is_refused_learns_why(app: App, query: str, status: int) -> None:
    answered = ask(app, "GET", f"/websocket?{query.replace('KEY', app.key)}")
    assert answered == (200, f'{{"headerCode":32,"messageId":0,"status":{status}}}')


def test_a_message_is_announced_and_pulled_and_the_next_one_too(
    app: App, threads: ThreadPoolExecutor
) -> None:
    alice, bob = Poller(app, threads), Poller(app, threads)
    alice.pull()
    since = bob.pull()["syncTime"]
    for _ in range(2):
        poll = bob.polling()
        sent = alice.answer(alice.post(PUBLISH, "ppMsgP", bob.user, TEXT))
        assert (sent["status"], bool(sent["messageUId"])) == (0, True)
        (notice,) = poll.result()
        assert (notice["topic"], notice["headerCode"]) == ("s_ntf", 0x31)
        assert json.loads(notice["data"]) == {"type": 1, "time": sent["timestamp"]}
        pulled = bob.pull(since)
        (message,) = pulled["list"]
        since = pulled["syncTime"]
        assert message["msgId"] == sent["messageUId"]
        assert json.loads(message["content"]) == {"content": "你好 😀"}


def test_a_status_message_is_pushed_since_nothing_keeps_it(app: App, threads: ThreadPoolExecutor) -> None:
    alice, bob = Poller(app, threads), Poller(app, threads)
    bob.pull()
    typing = json.dumps({"sessionId": 0, "classname": "RC:TypSts", "content": "{}"})
    alice.post(0x30, "ppMsgS", bob.user, typing)
    came = bob.until(is_topic("s_msg"))
    assert json.loads(came[-1]["data"])["extStatus"] == 0x40


@pytest.mark.parametrize(("sdk", "acknowledged"), [("4.6.4", True), ("2.5.3", False)])
def test_what_another_device_sends_is_synced_as_the_generation_can_take_it(
    app: App, threads: ThreadPoolExecutor, sdk: str, acknowledged: bool
) -> None:
    web = Poller(app, threads, sdkVer=sdk)
    other = Poller(app, threads, user=web.user, platform="MiniProgram", sdkVer=sdk)
    web.pull()
    other.pull()
    sent = other.answer(other.post(PUBLISH, "ppMsgP", f"u{uuid.uuid4().hex}", TEXT))
    came = web.until(is_topic("ppMsgP"))
    web.post(PING, "", "", "")
    came += web.until(lambda packet: packet["headerCode"] == 0xD0)
    copy = next(filter(is_topic("ppMsgP"), came))
    assert copy["headerCode"] == 0x3A
    assert json.loads(copy["data"])["classname"] == "RC:TxtMsg"
    acks = [packet["messageUId"] for packet in came if is_answer(packet, copy["messageId"])]
    assert acks == ([sent["messageUId"]] if acknowledged else [])


@pytest.mark.parametrize(("sdk", "header"), [("4.6.4", 0xE0), ("2.5.3", -32)])
def test_a_newer_login_ends_the_poll_and_says_why(
    app: App, threads: ThreadPoolExecutor, sdk: str, header: int
) -> None:
    first = Poller(app, threads, sdkVer=sdk)
    poll = first.polling()
    Poller(app, threads, user=first.user)
    assert poll.result() == [{"headerCode": header, "messageId": 0, "status": DisconnectStatus.OTHER_DEVICE}]
    wait_for(lambda: ask(app, "GET", first.path("/pullmsg.js"))[0] == 403, PATIENCE, "the session goes on")


def test_a_poll_is_held_while_there_is_nothing_to_say_and_a_session_without_one_ends(
    app: App, threads: ThreadPoolExecutor
) -> None:
    polling, silent = Poller(app, threads), Poller(app, threads)
    poll = polling.polling()
    wait_for(silent.is_online, PATIENCE, "never online")
    wait_for(lambda: not silent.is_online(), comet.UNPOLLED + PATIENCE, "online for ever")
    assert polling.is_online()
    assert poll.result() == []


def test_a_second_poll_ends_the_first_and_gets_what_comes(app: App, threads: ThreadPoolExecutor) -> None:
    poller = Poller(app, threads)
    polls = poller.polling(), poller.polling()
    wait_for(lambda: any(poll.done() for poll in polls), PATIENCE, "two polls are open")
    poller.post(PING, "", "", "")
    answers = sorted((poll.result() for poll in polls), key=len)
    assert answers == [[], [{"headerCode": 0xD0, "messageId": 0}]]


@pytest.mark.parametrize("session", ["", "null", "undefined", "0" * 32])
@pytest.mark.parametrize(("method", "path"), [("GET", "/pullmsg.js"), ("POST", "/websocket")])
def test_nobody_polls_or_posts_for_a_session_that_he_does_not_know(
    app: App, session: str, method: str, path: str
) -> None:
    query = f"?sessionid={session}&messageid=1&header=80&topic=pullMsg&targetid=x"
    assert ask(app, method, path + query, "{}" if method == "POST" else "") == (403, "")


def test_a_session_ends_when_its_page_goes_away(app: App, threads: ThreadPoolExecutor) -> None:
    poller = Poller(app, threads)
    wait_for(poller.is_online, PATIENCE, "never online")
    connection = http.client.HTTPConnection(urlsplit(app.url).netloc)
    connection.request("GET", poller.path("/pullmsg.js"))
    connection.close()
    wait_for(lambda: not poller.is_online(), comet.UNPOLLED + PATIENCE, "online for ever")
    assert ask(app, "GET", poller.path("/pullmsg.js"))[0] == 403


@pytest.mark.parametrize("body", ["", '""', "{}"])
def test_what_may_be_left_out_is_left_out(app: App, threads: ThreadPoolExecutor, body: str) -> None:
    poller = Poller(app, threads)
    assert poller.answer(poller.post(0x50, "reportsdk", poller.user, body))["status"] == 0


@pytest.mark.parametrize(
    ("header", "topic", "body", "status"),
    [
        (0x50, "pullUS", "{", AckStatus.MALFORMED),
        (0x50, "pullUS", "[" * 5000, AckStatus.MALFORMED),
        (0x50, "pullUS", '{"version":"now"}', AckStatus.MALFORMED),
        (0x50, "nonsense", "{}", AckStatus.NOT_SUPPORTED),
        (0x50, "readFeed", "{}", AckStatus.NOT_SUPPORTED),
        (0x50, "ppMsgP", TEXT, AckStatus.NOT_SUPPORTED),
        (0x32, "ppMsgP", "7", AckStatus.MALFORMED),
        (0x32, "ppMsgP", '{"content":"no class"}', AckStatus.MALFORMED),
        (0x32, "ppMsgP", '{"classname":"c","content":"\\ud83d"}', AckStatus.MALFORMED),
        (0x32, "ppMsgP", json.dumps({"classname": "c", "content": "x" * 140_000}), AckStatus.TOO_BIG),
        (0x32, "ppMsgP", json.dumps({"classname": "c", "content": "x" * 200_000}), AckStatus.MALFORMED),
        (0x32, "pullMsg", FIRST_PULL, AckStatus.NOT_SUPPORTED),
    ],
)
def test_a_bad_request_gets_its_code_and_the_session_goes_on(
    app: App, threads: ThreadPoolExecutor, header: int, topic: str, body: str, status: int
) -> None:
    poller = Poller(app, threads)
    assert poller.answer(poller.post(header, topic, "somebody", body))["status"] == status
    assert poller.answer(poller.post(0x50, "reportsdk", poller.user, "{}"))["status"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "messageid=1",
        "header=80",
        "messageid=x&header=80",
        "messageid=1&header=eighty",
        "messageid=65536&header=80",
        "messageid=-1&header=80",
        "messageid=1&header=16",
        "messageid=1&header=208",
    ],
)
def test_a_post_that_is_no_packet_is_a_bad_request_and_the_session_goes_on(
    app: App, threads: ThreadPoolExecutor, query: str
) -> None:
    poller = Poller(app, threads)
    path = f"/websocket?sessionid={poller.session}&topic=reportsdk&targetid=x&{query}"
    assert ask(app, "POST", path, "{}")[0] == 400
    assert poller.answer(poller.post(0x50, "reportsdk", poller.user, "{}"))["status"] == 0


def test_a_body_beyond_all_bounds_is_refused(app: App, threads: ThreadPoolExecutor) -> None:
    poller = Poller(app, threads)
    path = poller.path("/websocket", messageid=1, header=PUBLISH, topic="ppMsgP", targetid="x")
    assert ask(app, "POST", path, "x" * (comet.BODY_MAX + 1))[0] == 413


def test_an_id_with_a_plus_sign_is_that_id(app: App, threads: ThreadPoolExecutor) -> None:
    name = f"a+b{uuid.uuid4().hex}"
    alice, bob = Poller(app, threads), Poller(app, threads, user=name)
    bob.pull()
    path = f"/websocket?sessionid={alice.session}&messageid=1&header=50&topic=ppMsgP&targetid={name}"
    assert ask(app, "POST", path, TEXT)[0] == 200  # as v4 writes it: not escaped
    assert bob.until(is_topic("s_ntf"))


def test_a_client_that_does_not_fetch_what_it_asks_for_is_dropped(
    app: App, threads: ThreadPoolExecutor
) -> None:
    poller = Poller(app, threads)
    connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=PATIENCE)
    for _ in range(OUTBOX_MAX + 10):
        connection.request("POST", poller.path("/websocket", messageid=0, header=PING), b'""')
        response = connection.getresponse()
        response.read()
    connection.close()
    assert len(poller.poll()) <= OUTBOX_MAX + 1
    assert ask(app, "GET", poller.path("/pullmsg.js"))[0] == 403


@pytest.mark.parametrize("path", sorted(comet.PATHS))
def test_pages_of_any_origin_may_poll(app: App, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=PATIENCE)
    connection.request("OPTIONS", path, headers={"Origin": "http://elsewhere"})
    response = connection.getresponse()
    allowed = response.headers
    response.read()
    connection.close()
    assert (response.status, allowed["Access-Control-Allow-Origin"]) == (204, "*")
    assert "Content-Type" in allowed["Access-Control-Allow-Headers"]
    assert ask(app, "PUT", path)[0] == 405
