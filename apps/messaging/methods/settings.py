"""What the SDKs ask at connect and imcloud keeps nothing of yet: well-formed empty answers (PROTOCOL 4.3).

A version or time in the answer is never smaller than the one in the request, or the SDK would ask again.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message

from apps.routing.envelope import Answer, Request
from apps.routing.protocol import im_pb2 as im


def _event_changes(payload: bytes) -> Message:
    return im.EventChangeList(syncTime=im.QueryMsgChange.FromString(payload).syncTime, hasNext=False)


def _modified(payload: bytes) -> Message:
    version = im.PullModifyMsgReq.FromString(payload).pullVersion
    return im.PullModifyMsgResp(nextVersion=version, finished=True)


def _subscriptions(payload: bytes) -> Message:
    return im.PullUserSubResp(
        version=im.PullUserSubReq.FromString(payload).version, hasNext=False, isFull=True
    )


def _subscribed(payload: bytes) -> Message:
    wanted = im.PullSubDataReq.FromString(payload)
    return im.PullSubDataResp(versionTime=wanted.versionTime, hasNext=False, isFull=wanted.needAllData)


EMPTY: dict[str, Callable[[bytes], Message]] = {
    "pullUS": lambda p: im.PullUserSettingOutput(version=im.PullUserSettingInput.FromString(p).version),
    "pullSeAtts": lambda p: im.SessionStates(version=im.SessionReq.FromString(p).time),
    "qrySessionsAtt": lambda p: im.SessionsAttOutput(inboxTime=0, sendboxTime=0, totalUnreadCount=0),
    "reportsdk": lambda p: im.ReportSDKOutput(nothing=0),
    "pullEventChange": _event_changes,
    "pullModifyMsg": _modified,
    "qAppBot": lambda p: im.BotOutput(),
    "pullUserSub": _subscriptions,
    "pullSubData": _subscribed,
}


def answer(server_set: str, request: Request) -> Answer:
    return Answer(0, 0, 0, EMPTY[request.method](request.payload).SerializeToString())
