"""`manage.py methods` prints docs/compatibility.md: what becomes of every method of the client protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand

from apps.messaging.methods.settings import EMPTY
from apps.routing.methods import METHODS

# What SDKs know: a line for each subject of PROTOCOL 4, and under it its methods.
_KNOWN = """\
Sending (4.1)
    ppMsgP ppMsgN ppMsgS pgMsgP pgMsgS pdMsgP chatMsg chatMsgS pbMsgP recallMsg updRTime updRRTime
Synchronisation (4.3)
    pullMsg chrmPull qrySessionsAtt pullUS pullSeAtts reportsdk pullEventChange pullModifyMsg qAppBot
History (4.4)
    qryPMsg qryGMsg qryDMsg qrySMsg qryCMsg qryCHMsg qryMsg delMsg cleanPMsg cleanDMsg cleanGMsg
    cleanCMsg cleanSMsg cleanMCMsg cleanMPMsg cleanMsgBatch cleanHisMsg
Conversation list (4.5)
    qryRelation qryRelationR qryRelationFilter qryRLBatch qrySessions qrySessionsUnread pullSe
    delRelation delRelationBatch delSessions addRelation
Conversation status, tags (4.6)
    setSeAtt setTypeUnpush blkPPush unblkPPush qryPPush blkDPush unblkDPush qryDPush addSeTag delSeTag
    addTag delTag disTag addUnpush qryUnpush delUnpush setOfflineMsgDur
Chatrooms (4.7)
    joinChrm joinChrmR exitChrm queryChrmI setKV delKV setKVS delKVS pullKV createChrm destroyChrm
    queryChrm
Discussions, groups, block list (4.8)
    crDiz invtDiz evctDiz quitDiz rename pdOpen dizInf addBlack rmBlack getBlack blackStat joinGrp
    exitGrp uGcmpr pGrps userInf
Online status (4.9)
    subUserStatus getUserStatus setUserStatus updUserSub pullUserSub pullSubData qrySubData
Files (4.10)
    qnTkn qnUrl aliUrl s3Url stcUrl minioUrl
Group read receipts (4.11)
    rrMsg rrList
Later read receipts (4.11)
    sendMsgRead qryMsgRead qryMsgReadCntBatch readReceipt qryReceipt qryReceiptBatch
Customer service, public services (4.1, 4.4, 4.12)
    pcMsgP pcuMsgP pmcMsgN pmpMsgN qryMCMsg qryMPMsg pullMp schMp mcFollow mcUnFollow mpFollow
    mpUnFollow
Calls (4.1, 4.13)
    prMsgS prMsgP rtcRJoin_data rtcRExit rtcPing rtcSetData userSetData rtcQryData rtcDelData
    rtcSetOutData rtcQryUserOutData rtcToken rtcUserState rtcRInfo rtcUData rtcUPut rtcUDel rtcUList
    rtcRPut rtcRDel rtcPullKv viewerJoinR viewerExitR rtcIdentityChange rtcQueryJoined rtcInvite
    rtcCancelInvite rtcInviteAnswer rtcEndInvite setRtcRoomId reqCall pullKvMsg qryVoipK
Ultra groups (4.14)
    ugMsg pullUgMsg pullUgSes qryUgMsg updUgRTime upMsgEx modifyMsg qryMsgChange operate ugUnpushQuery
    ugUnpushSet qryUgUal delUgMsg delUgSe
Hosted groups, friends, profiles (4.14)
    channelCreate upChannelInfo qChannelInfo channelMemKick channelMemQuit channelDismiss
    channelTransfer upChannelManager qChannelMem qChannelSpeMem upChannelMem channelMemJoin
    channelMemInvite channelApplyResp qChannelApplyList qChannelMemJoin qChannelMemSpeJoin
    upChannelRemark qChannelRemark upChannelFollow qChannelFollow qSimpleUserProfile friendAdd friendDel
    friendHandle friendSetPf friendCheck friendsQuery friendApplyDel friendsInfoQry friendAuthSet
    friendAuthGet pullUserProfile pullOwnProfile updUserProfile updProfilePermiss qProfilePermiss
    searchUserProfile
Translation, bots (4.14)
    upConvertMsg transLan autoTrans qBot
"""
_ABOUT = """# Which calls of the client protocol are offered?

`manage.py methods` writes this page from the tables that gateways and nodes work by; a test holds it to
them. The section numbers are those of [protocol](protocol.md).

- **offered**: it does what the SDKs' documentation says;
- **answered empty**: a well-formed reply without content, for what SDKs ask at connect and imcloud
  has nothing to say of;
- **refused**: status 20606, operation not supported. The connection stays, and the SDK hands the code to the
  app. So is every name that is not here.
"""


def known() -> dict[str, list[str]]:
    """Subject -> its methods."""
    found: dict[str, list[str]] = {}
    for line in _KNOWN.splitlines():
        if line.startswith(" "):
            found[next(reversed(found))] += line.split()
        else:
            found[line] = []
    return found


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([_ABOUT, *_table()])


def _table() -> Iterator[str]:
    yield "| Subject | Offered | Answered empty | Refused |"
    yield "|---|---|---|---|"
    for subject, names in known().items():
        columns: tuple[list[str], ...] = ([], [], [])
        for name in names:
            columns[1 if name in EMPTY else 0 if name in METHODS else 2].append(f"`{name}`")
        yield f"| {' | '.join([subject, *map(' '.join, columns)])} |"
    yield ""


class Command(BaseCommand):
    help = "Print docs/compatibility.md: which methods of the client protocol are offered, empty or refused."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(page(), ending="")
