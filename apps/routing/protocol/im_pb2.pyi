from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UpStreamMessage(_message.Message):
    __slots__ = ("sessionId", "classname", "content", "pushText", "appData", "toUserIds", "delMsgTime", "delMsgId", "configFlag", "clientUniqueId", "extraContent", "pushExt", "busChannel", "systemId", "senderPortrait", "optionBits", "extMsgData", "metadata", "refData", "modifiedAt")
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    CLASSNAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    PUSHTEXT_FIELD_NUMBER: _ClassVar[int]
    APPDATA_FIELD_NUMBER: _ClassVar[int]
    TOUSERIDS_FIELD_NUMBER: _ClassVar[int]
    DELMSGTIME_FIELD_NUMBER: _ClassVar[int]
    DELMSGID_FIELD_NUMBER: _ClassVar[int]
    CONFIGFLAG_FIELD_NUMBER: _ClassVar[int]
    CLIENTUNIQUEID_FIELD_NUMBER: _ClassVar[int]
    EXTRACONTENT_FIELD_NUMBER: _ClassVar[int]
    PUSHEXT_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    SYSTEMID_FIELD_NUMBER: _ClassVar[int]
    SENDERPORTRAIT_FIELD_NUMBER: _ClassVar[int]
    OPTIONBITS_FIELD_NUMBER: _ClassVar[int]
    EXTMSGDATA_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REFDATA_FIELD_NUMBER: _ClassVar[int]
    MODIFIEDAT_FIELD_NUMBER: _ClassVar[int]
    sessionId: int
    classname: str
    content: bytes
    pushText: str
    appData: str
    toUserIds: _containers.RepeatedScalarFieldContainer[str]
    delMsgTime: int
    delMsgId: str
    configFlag: int
    clientUniqueId: int
    extraContent: str
    pushExt: PushExtra
    busChannel: str
    systemId: str
    senderPortrait: str
    optionBits: int
    extMsgData: ExtMsgData
    metadata: str
    refData: ReferenceData
    modifiedAt: int
    def __init__(self, sessionId: _Optional[int] = ..., classname: _Optional[str] = ..., content: _Optional[bytes] = ..., pushText: _Optional[str] = ..., appData: _Optional[str] = ..., toUserIds: _Optional[_Iterable[str]] = ..., delMsgTime: _Optional[int] = ..., delMsgId: _Optional[str] = ..., configFlag: _Optional[int] = ..., clientUniqueId: _Optional[int] = ..., extraContent: _Optional[str] = ..., pushExt: _Optional[_Union[PushExtra, _Mapping]] = ..., busChannel: _Optional[str] = ..., systemId: _Optional[str] = ..., senderPortrait: _Optional[str] = ..., optionBits: _Optional[int] = ..., extMsgData: _Optional[_Union[ExtMsgData, _Mapping]] = ..., metadata: _Optional[str] = ..., refData: _Optional[_Union[ReferenceData, _Mapping]] = ..., modifiedAt: _Optional[int] = ...) -> None: ...

class DownStreamMessage(_message.Message):
    __slots__ = ("fromUserId", "type", "groupId", "classname", "content", "dataTime", "status", "extra", "msgId", "direction", "plantform", "isRemoved", "source", "clientUniqueId", "extraContent", "pushContent", "configFlag", "pushExt", "busChannel", "extStatus", "toUserIds", "groupUnpush", "optionBits", "convertExt", "extMsgData", "metadata", "refData")
    FROMUSERID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUPID_FIELD_NUMBER: _ClassVar[int]
    CLASSNAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    DATATIME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    MSGID_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    PLANTFORM_FIELD_NUMBER: _ClassVar[int]
    ISREMOVED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CLIENTUNIQUEID_FIELD_NUMBER: _ClassVar[int]
    EXTRACONTENT_FIELD_NUMBER: _ClassVar[int]
    PUSHCONTENT_FIELD_NUMBER: _ClassVar[int]
    CONFIGFLAG_FIELD_NUMBER: _ClassVar[int]
    PUSHEXT_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    EXTSTATUS_FIELD_NUMBER: _ClassVar[int]
    TOUSERIDS_FIELD_NUMBER: _ClassVar[int]
    GROUPUNPUSH_FIELD_NUMBER: _ClassVar[int]
    OPTIONBITS_FIELD_NUMBER: _ClassVar[int]
    CONVERTEXT_FIELD_NUMBER: _ClassVar[int]
    EXTMSGDATA_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REFDATA_FIELD_NUMBER: _ClassVar[int]
    fromUserId: str
    type: int
    groupId: str
    classname: str
    content: bytes
    dataTime: int
    status: int
    extra: int
    msgId: str
    direction: int
    plantform: int
    isRemoved: int
    source: str
    clientUniqueId: int
    extraContent: str
    pushContent: str
    configFlag: int
    pushExt: PushExtra
    busChannel: str
    extStatus: int
    toUserIds: _containers.RepeatedScalarFieldContainer[str]
    groupUnpush: int
    optionBits: int
    convertExt: str
    extMsgData: ExtMsgData
    metadata: str
    refData: ReferenceData
    def __init__(self, fromUserId: _Optional[str] = ..., type: _Optional[int] = ..., groupId: _Optional[str] = ..., classname: _Optional[str] = ..., content: _Optional[bytes] = ..., dataTime: _Optional[int] = ..., status: _Optional[int] = ..., extra: _Optional[int] = ..., msgId: _Optional[str] = ..., direction: _Optional[int] = ..., plantform: _Optional[int] = ..., isRemoved: _Optional[int] = ..., source: _Optional[str] = ..., clientUniqueId: _Optional[int] = ..., extraContent: _Optional[str] = ..., pushContent: _Optional[str] = ..., configFlag: _Optional[int] = ..., pushExt: _Optional[_Union[PushExtra, _Mapping]] = ..., busChannel: _Optional[str] = ..., extStatus: _Optional[int] = ..., toUserIds: _Optional[_Iterable[str]] = ..., groupUnpush: _Optional[int] = ..., optionBits: _Optional[int] = ..., convertExt: _Optional[str] = ..., extMsgData: _Optional[_Union[ExtMsgData, _Mapping]] = ..., metadata: _Optional[str] = ..., refData: _Optional[_Union[ReferenceData, _Mapping]] = ...) -> None: ...

class PushExtra(_message.Message):
    __slots__ = ("title", "templateIdNoUse", "pushId", "pushConfigs", "templateId")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEMPLATEIDNOUSE_FIELD_NUMBER: _ClassVar[int]
    PUSHID_FIELD_NUMBER: _ClassVar[int]
    PUSHCONFIGS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATEID_FIELD_NUMBER: _ClassVar[int]
    title: str
    templateIdNoUse: int
    pushId: str
    pushConfigs: str
    templateId: str
    def __init__(self, title: _Optional[str] = ..., templateIdNoUse: _Optional[int] = ..., pushId: _Optional[str] = ..., pushConfigs: _Optional[str] = ..., templateId: _Optional[str] = ...) -> None: ...

class ReferenceData(_message.Message):
    __slots__ = ("msgId", "fromUserId", "classname")
    MSGID_FIELD_NUMBER: _ClassVar[int]
    FROMUSERID_FIELD_NUMBER: _ClassVar[int]
    CLASSNAME_FIELD_NUMBER: _ClassVar[int]
    msgId: str
    fromUserId: str
    classname: str
    def __init__(self, msgId: _Optional[str] = ..., fromUserId: _Optional[str] = ..., classname: _Optional[str] = ...) -> None: ...

class ExtMsgData(_message.Message):
    __slots__ = ("seqId", "sendTime")
    SEQID_FIELD_NUMBER: _ClassVar[int]
    SENDTIME_FIELD_NUMBER: _ClassVar[int]
    seqId: int
    sendTime: int
    def __init__(self, seqId: _Optional[int] = ..., sendTime: _Optional[int] = ...) -> None: ...

class NotifyMsg(_message.Message):
    __slots__ = ("type", "time", "chrmId", "destroyType")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    CHRMID_FIELD_NUMBER: _ClassVar[int]
    DESTROYTYPE_FIELD_NUMBER: _ClassVar[int]
    type: int
    time: int
    chrmId: str
    destroyType: int
    def __init__(self, type: _Optional[int] = ..., time: _Optional[int] = ..., chrmId: _Optional[str] = ..., destroyType: _Optional[int] = ...) -> None: ...

class SyncRequestMsg(_message.Message):
    __slots__ = ("syncTime", "ispolling", "isweb", "isPullSend", "isKeeping", "sendBoxSyncTime", "broadcastSyncTime", "endTime", "compressioEnabled")
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    ISPOLLING_FIELD_NUMBER: _ClassVar[int]
    ISWEB_FIELD_NUMBER: _ClassVar[int]
    ISPULLSEND_FIELD_NUMBER: _ClassVar[int]
    ISKEEPING_FIELD_NUMBER: _ClassVar[int]
    SENDBOXSYNCTIME_FIELD_NUMBER: _ClassVar[int]
    BROADCASTSYNCTIME_FIELD_NUMBER: _ClassVar[int]
    ENDTIME_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    syncTime: int
    ispolling: bool
    isweb: bool
    isPullSend: bool
    isKeeping: bool
    sendBoxSyncTime: int
    broadcastSyncTime: int
    endTime: int
    compressioEnabled: bool
    def __init__(self, syncTime: _Optional[int] = ..., ispolling: _Optional[bool] = ..., isweb: _Optional[bool] = ..., isPullSend: _Optional[bool] = ..., isKeeping: _Optional[bool] = ..., sendBoxSyncTime: _Optional[int] = ..., broadcastSyncTime: _Optional[int] = ..., endTime: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ...) -> None: ...

class DownStreamMessages(_message.Message):
    __slots__ = ("list", "syncTime", "finished", "broadcastSyncTime", "systemTime", "credibleStartTime", "credibleEndTime", "compressioEnabled", "compressedData")
    LIST_FIELD_NUMBER: _ClassVar[int]
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    BROADCASTSYNCTIME_FIELD_NUMBER: _ClassVar[int]
    SYSTEMTIME_FIELD_NUMBER: _ClassVar[int]
    CREDIBLESTARTTIME_FIELD_NUMBER: _ClassVar[int]
    CREDIBLEENDTIME_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    COMPRESSEDDATA_FIELD_NUMBER: _ClassVar[int]
    list: _containers.RepeatedCompositeFieldContainer[DownStreamMessage]
    syncTime: int
    finished: bool
    broadcastSyncTime: int
    systemTime: int
    credibleStartTime: int
    credibleEndTime: int
    compressioEnabled: bool
    compressedData: bytes
    def __init__(self, list: _Optional[_Iterable[_Union[DownStreamMessage, _Mapping]]] = ..., syncTime: _Optional[int] = ..., finished: _Optional[bool] = ..., broadcastSyncTime: _Optional[int] = ..., systemTime: _Optional[int] = ..., credibleStartTime: _Optional[int] = ..., credibleEndTime: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ..., compressedData: _Optional[bytes] = ...) -> None: ...

class ChrmDownStreamMessages(_message.Message):
    __slots__ = ("list", "syncTime", "compressioEnabled", "compressedData")
    LIST_FIELD_NUMBER: _ClassVar[int]
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    COMPRESSEDDATA_FIELD_NUMBER: _ClassVar[int]
    list: _containers.RepeatedScalarFieldContainer[bytes]
    syncTime: int
    compressioEnabled: bool
    compressedData: bytes
    def __init__(self, list: _Optional[_Iterable[bytes]] = ..., syncTime: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ..., compressedData: _Optional[bytes] = ...) -> None: ...

class SessionsAttQryInput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class SessionsAttOutput(_message.Message):
    __slots__ = ("inboxTime", "sendboxTime", "totalUnreadCount")
    INBOXTIME_FIELD_NUMBER: _ClassVar[int]
    SENDBOXTIME_FIELD_NUMBER: _ClassVar[int]
    TOTALUNREADCOUNT_FIELD_NUMBER: _ClassVar[int]
    inboxTime: int
    sendboxTime: int
    totalUnreadCount: int
    def __init__(self, inboxTime: _Optional[int] = ..., sendboxTime: _Optional[int] = ..., totalUnreadCount: _Optional[int] = ...) -> None: ...

class HistoryMsgInput(_message.Message):
    __slots__ = ("targetId", "time", "count", "order", "busChannel", "compressioEnabled", "ignoreCmd")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    IGNORECMD_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    time: int
    count: int
    order: int
    busChannel: str
    compressioEnabled: bool
    ignoreCmd: bool
    def __init__(self, targetId: _Optional[str] = ..., time: _Optional[int] = ..., count: _Optional[int] = ..., order: _Optional[int] = ..., busChannel: _Optional[str] = ..., compressioEnabled: _Optional[bool] = ..., ignoreCmd: _Optional[bool] = ...) -> None: ...

class HistoryMsgOuput(_message.Message):
    __slots__ = ("list", "syncTime", "hasMsg", "credibleStartTime", "credibleEndTime", "compressioEnabled", "compressedData")
    LIST_FIELD_NUMBER: _ClassVar[int]
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    HASMSG_FIELD_NUMBER: _ClassVar[int]
    CREDIBLESTARTTIME_FIELD_NUMBER: _ClassVar[int]
    CREDIBLEENDTIME_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    COMPRESSEDDATA_FIELD_NUMBER: _ClassVar[int]
    list: _containers.RepeatedCompositeFieldContainer[DownStreamMessage]
    syncTime: int
    hasMsg: int
    credibleStartTime: int
    credibleEndTime: int
    compressioEnabled: bool
    compressedData: bytes
    def __init__(self, list: _Optional[_Iterable[_Union[DownStreamMessage, _Mapping]]] = ..., syncTime: _Optional[int] = ..., hasMsg: _Optional[int] = ..., credibleStartTime: _Optional[int] = ..., credibleEndTime: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ..., compressedData: _Optional[bytes] = ...) -> None: ...

class HistoryMessageInput(_message.Message):
    __slots__ = ("targetId", "dataTime", "size")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    DATATIME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    dataTime: int
    size: int
    def __init__(self, targetId: _Optional[str] = ..., dataTime: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class HistoryMessagesOuput(_message.Message):
    __slots__ = ("list", "syncTime", "hasMsg", "credibleStartTime", "credibleEndTime", "compressioEnabled", "compressedData")
    LIST_FIELD_NUMBER: _ClassVar[int]
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    HASMSG_FIELD_NUMBER: _ClassVar[int]
    CREDIBLESTARTTIME_FIELD_NUMBER: _ClassVar[int]
    CREDIBLEENDTIME_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    COMPRESSEDDATA_FIELD_NUMBER: _ClassVar[int]
    list: _containers.RepeatedCompositeFieldContainer[DownStreamMessage]
    syncTime: int
    hasMsg: int
    credibleStartTime: int
    credibleEndTime: int
    compressioEnabled: bool
    compressedData: bytes
    def __init__(self, list: _Optional[_Iterable[_Union[DownStreamMessage, _Mapping]]] = ..., syncTime: _Optional[int] = ..., hasMsg: _Optional[int] = ..., credibleStartTime: _Optional[int] = ..., credibleEndTime: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ..., compressedData: _Optional[bytes] = ...) -> None: ...

class CleanHisMsgInput(_message.Message):
    __slots__ = ("targetId", "dataTime", "conversationType", "busChannel")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    DATATIME_FIELD_NUMBER: _ClassVar[int]
    CONVERSATIONTYPE_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    dataTime: int
    conversationType: int
    busChannel: str
    def __init__(self, targetId: _Optional[str] = ..., dataTime: _Optional[int] = ..., conversationType: _Optional[int] = ..., busChannel: _Optional[str] = ...) -> None: ...

class CleanMsgBatchReq(_message.Message):
    __slots__ = ("input",)
    INPUT_FIELD_NUMBER: _ClassVar[int]
    input: _containers.RepeatedCompositeFieldContainer[CleanHisMsgInput]
    def __init__(self, input: _Optional[_Iterable[_Union[CleanHisMsgInput, _Mapping]]] = ...) -> None: ...

class DeleteMsg(_message.Message):
    __slots__ = ("msgId", "msgDataTime", "direct")
    MSGID_FIELD_NUMBER: _ClassVar[int]
    MSGDATATIME_FIELD_NUMBER: _ClassVar[int]
    DIRECT_FIELD_NUMBER: _ClassVar[int]
    msgId: str
    msgDataTime: int
    direct: int
    def __init__(self, msgId: _Optional[str] = ..., msgDataTime: _Optional[int] = ..., direct: _Optional[int] = ...) -> None: ...

class DeleteMsgInput(_message.Message):
    __slots__ = ("type", "conversationId", "msgs", "busChannel")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONVERSATIONID_FIELD_NUMBER: _ClassVar[int]
    MSGS_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    type: int
    conversationId: str
    msgs: _containers.RepeatedCompositeFieldContainer[DeleteMsg]
    busChannel: str
    def __init__(self, type: _Optional[int] = ..., conversationId: _Optional[str] = ..., msgs: _Optional[_Iterable[_Union[DeleteMsg, _Mapping]]] = ..., busChannel: _Optional[str] = ...) -> None: ...

class DeleteMsgOutput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class MsgQuery(_message.Message):
    __slots__ = ("targetId", "type", "query")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    type: int
    query: _containers.RepeatedCompositeFieldContainer[MessageQueryInfo]
    def __init__(self, targetId: _Optional[str] = ..., type: _Optional[int] = ..., query: _Optional[_Iterable[_Union[MessageQueryInfo, _Mapping]]] = ...) -> None: ...

class MessageQueryInfo(_message.Message):
    __slots__ = ("msgTime", "msgUID", "busChannel")
    MSGTIME_FIELD_NUMBER: _ClassVar[int]
    MSGUID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    msgTime: int
    msgUID: str
    busChannel: str
    def __init__(self, msgTime: _Optional[int] = ..., msgUID: _Optional[str] = ..., busChannel: _Optional[str] = ...) -> None: ...

class MsgQueryAck(_message.Message):
    __slots__ = ("list", "notExistMsgId")
    LIST_FIELD_NUMBER: _ClassVar[int]
    NOTEXISTMSGID_FIELD_NUMBER: _ClassVar[int]
    list: _containers.RepeatedCompositeFieldContainer[DownStreamMessage]
    notExistMsgId: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, list: _Optional[_Iterable[_Union[DownStreamMessage, _Mapping]]] = ..., notExistMsgId: _Optional[_Iterable[str]] = ...) -> None: ...

class RelationsInput(_message.Message):
    __slots__ = ("type", "msg", "count", "busChannel", "startTime", "endTime")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    STARTTIME_FIELD_NUMBER: _ClassVar[int]
    ENDTIME_FIELD_NUMBER: _ClassVar[int]
    type: int
    msg: DownStreamMessage
    count: int
    busChannel: _containers.RepeatedScalarFieldContainer[str]
    startTime: int
    endTime: int
    def __init__(self, type: _Optional[int] = ..., msg: _Optional[_Union[DownStreamMessage, _Mapping]] = ..., count: _Optional[int] = ..., busChannel: _Optional[_Iterable[str]] = ..., startTime: _Optional[int] = ..., endTime: _Optional[int] = ...) -> None: ...

class RelationQryInput(_message.Message):
    __slots__ = ("type", "count", "startTime", "order", "isEraseMsgContent", "endTime", "compressioEnabled", "qryType", "channelType", "botType")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    STARTTIME_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    ISERASEMSGCONTENT_FIELD_NUMBER: _ClassVar[int]
    ENDTIME_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    QRYTYPE_FIELD_NUMBER: _ClassVar[int]
    CHANNELTYPE_FIELD_NUMBER: _ClassVar[int]
    BOTTYPE_FIELD_NUMBER: _ClassVar[int]
    type: int
    count: int
    startTime: int
    order: int
    isEraseMsgContent: bool
    endTime: int
    compressioEnabled: bool
    qryType: int
    channelType: _containers.RepeatedScalarFieldContainer[int]
    botType: int
    def __init__(self, type: _Optional[int] = ..., count: _Optional[int] = ..., startTime: _Optional[int] = ..., order: _Optional[int] = ..., isEraseMsgContent: _Optional[bool] = ..., endTime: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ..., qryType: _Optional[int] = ..., channelType: _Optional[_Iterable[int]] = ..., botType: _Optional[int] = ...) -> None: ...

class RelationQryFilter(_message.Message):
    __slots__ = ("type", "count", "order", "tags", "isTagTop", "pageToken", "compress")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ISTAGTOP_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    type: _containers.RepeatedScalarFieldContainer[int]
    count: int
    order: int
    tags: _containers.RepeatedScalarFieldContainer[str]
    isTagTop: bool
    pageToken: str
    compress: bool
    def __init__(self, type: _Optional[_Iterable[int]] = ..., count: _Optional[int] = ..., order: _Optional[int] = ..., tags: _Optional[_Iterable[str]] = ..., isTagTop: _Optional[bool] = ..., pageToken: _Optional[str] = ..., compress: _Optional[bool] = ...) -> None: ...

class RelationsOutput(_message.Message):
    __slots__ = ("info", "isFinished", "pullTime", "compressioEnabled", "compressedData", "pageToken")
    INFO_FIELD_NUMBER: _ClassVar[int]
    ISFINISHED_FIELD_NUMBER: _ClassVar[int]
    PULLTIME_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    COMPRESSEDDATA_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    info: _containers.RepeatedCompositeFieldContainer[RelationInfo]
    isFinished: bool
    pullTime: int
    compressioEnabled: bool
    compressedData: bytes
    pageToken: str
    def __init__(self, info: _Optional[_Iterable[_Union[RelationInfo, _Mapping]]] = ..., isFinished: _Optional[bool] = ..., pullTime: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ..., compressedData: _Optional[bytes] = ..., pageToken: _Optional[str] = ...) -> None: ...

class RelationInfo(_message.Message):
    __slots__ = ("type", "userId", "msg", "readMsgTime", "unreadCount", "busChannel", "versionTime", "remindCount", "busChannelType", "msgInfo", "remindMeCount", "isBot")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    USERID_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    READMSGTIME_FIELD_NUMBER: _ClassVar[int]
    UNREADCOUNT_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    VERSIONTIME_FIELD_NUMBER: _ClassVar[int]
    REMINDCOUNT_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNELTYPE_FIELD_NUMBER: _ClassVar[int]
    MSGINFO_FIELD_NUMBER: _ClassVar[int]
    REMINDMECOUNT_FIELD_NUMBER: _ClassVar[int]
    ISBOT_FIELD_NUMBER: _ClassVar[int]
    type: int
    userId: str
    msg: DownStreamMessage
    readMsgTime: int
    unreadCount: int
    busChannel: str
    versionTime: int
    remindCount: int
    busChannelType: int
    msgInfo: UnreadMsgInfo
    remindMeCount: int
    isBot: bool
    def __init__(self, type: _Optional[int] = ..., userId: _Optional[str] = ..., msg: _Optional[_Union[DownStreamMessage, _Mapping]] = ..., readMsgTime: _Optional[int] = ..., unreadCount: _Optional[int] = ..., busChannel: _Optional[str] = ..., versionTime: _Optional[int] = ..., remindCount: _Optional[int] = ..., busChannelType: _Optional[int] = ..., msgInfo: _Optional[_Union[UnreadMsgInfo, _Mapping]] = ..., remindMeCount: _Optional[int] = ..., isBot: _Optional[bool] = ...) -> None: ...

class UnreadMsgInfo(_message.Message):
    __slots__ = ("msgId", "msgTime", "remindType", "className")
    MSGID_FIELD_NUMBER: _ClassVar[int]
    MSGTIME_FIELD_NUMBER: _ClassVar[int]
    REMINDTYPE_FIELD_NUMBER: _ClassVar[int]
    CLASSNAME_FIELD_NUMBER: _ClassVar[int]
    msgId: str
    msgTime: int
    remindType: int
    className: str
    def __init__(self, msgId: _Optional[str] = ..., msgTime: _Optional[int] = ..., remindType: _Optional[int] = ..., className: _Optional[str] = ...) -> None: ...

class RelationInfoReadTime(_message.Message):
    __slots__ = ("type", "readMsgTime", "targetId")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    READMSGTIME_FIELD_NUMBER: _ClassVar[int]
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    type: int
    readMsgTime: int
    targetId: str
    def __init__(self, type: _Optional[int] = ..., readMsgTime: _Optional[int] = ..., targetId: _Optional[str] = ...) -> None: ...

class RelationDel(_message.Message):
    __slots__ = ("targetId", "type", "busChannel", "cleanMsg")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    CLEANMSG_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    type: int
    busChannel: _containers.RepeatedScalarFieldContainer[str]
    cleanMsg: bool
    def __init__(self, targetId: _Optional[str] = ..., type: _Optional[int] = ..., busChannel: _Optional[_Iterable[str]] = ..., cleanMsg: _Optional[bool] = ...) -> None: ...

class RelationDelBatchReq(_message.Message):
    __slots__ = ("relation", "cleanMsg")
    RELATION_FIELD_NUMBER: _ClassVar[int]
    CLEANMSG_FIELD_NUMBER: _ClassVar[int]
    relation: _containers.RepeatedCompositeFieldContainer[RelationOpInput]
    cleanMsg: bool
    def __init__(self, relation: _Optional[_Iterable[_Union[RelationOpInput, _Mapping]]] = ..., cleanMsg: _Optional[bool] = ...) -> None: ...

class RelationOpInput(_message.Message):
    __slots__ = ("conversationId", "conversationType", "busChannel")
    CONVERSATIONID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATIONTYPE_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    conversationId: str
    conversationType: int
    busChannel: str
    def __init__(self, conversationId: _Optional[str] = ..., conversationType: _Optional[int] = ..., busChannel: _Optional[str] = ...) -> None: ...

class SessionInfo(_message.Message):
    __slots__ = ("type", "channelId", "unreadCount", "busChannel")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CHANNELID_FIELD_NUMBER: _ClassVar[int]
    UNREADCOUNT_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    type: int
    channelId: str
    unreadCount: int
    busChannel: str
    def __init__(self, type: _Optional[int] = ..., channelId: _Optional[str] = ..., unreadCount: _Optional[int] = ..., busChannel: _Optional[str] = ...) -> None: ...

class QuerySessionsInput(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[SessionInfo]
    def __init__(self, sessions: _Optional[_Iterable[_Union[SessionInfo, _Mapping]]] = ...) -> None: ...

class QuerySessionsOutPut(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[SessionInfo]
    def __init__(self, sessions: _Optional[_Iterable[_Union[SessionInfo, _Mapping]]] = ...) -> None: ...

class DeleteSessionsInput(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[SessionInfo]
    def __init__(self, sessions: _Optional[_Iterable[_Union[SessionInfo, _Mapping]]] = ...) -> None: ...

class DeleteSessionsOutput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class SessionMsgReadInput(_message.Message):
    __slots__ = ("type", "msgTime", "channelId", "busChannel")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MSGTIME_FIELD_NUMBER: _ClassVar[int]
    CHANNELID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    type: int
    msgTime: int
    channelId: str
    busChannel: str
    def __init__(self, type: _Optional[int] = ..., msgTime: _Optional[int] = ..., channelId: _Optional[str] = ..., busChannel: _Optional[str] = ...) -> None: ...

class SessionMsgReadOutput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class QryRemindListReq(_message.Message):
    __slots__ = ("groupId", "busChannel", "msgTime", "size")
    GROUPID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    MSGTIME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    groupId: str
    busChannel: str
    msgTime: int
    size: int
    def __init__(self, groupId: _Optional[str] = ..., busChannel: _Optional[str] = ..., msgTime: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class QryRemindListResp(_message.Message):
    __slots__ = ("msgInfo",)
    MSGINFO_FIELD_NUMBER: _ClassVar[int]
    msgInfo: _containers.RepeatedCompositeFieldContainer[UnreadMsgInfo]
    def __init__(self, msgInfo: _Optional[_Iterable[_Union[UnreadMsgInfo, _Mapping]]] = ...) -> None: ...

class SessionQryInput(_message.Message):
    __slots__ = ("version", "count", "compress", "pageToken")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    version: int
    count: int
    compress: bool
    pageToken: str
    def __init__(self, version: _Optional[int] = ..., count: _Optional[int] = ..., compress: _Optional[bool] = ..., pageToken: _Optional[str] = ...) -> None: ...

class SessionsOutput(_message.Message):
    __slots__ = ("session", "pageToken", "compress", "compressedData")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSEDDATA_FIELD_NUMBER: _ClassVar[int]
    session: _containers.RepeatedCompositeFieldContainer[SessionOutput]
    pageToken: str
    compress: bool
    compressedData: bytes
    def __init__(self, session: _Optional[_Iterable[_Union[SessionOutput, _Mapping]]] = ..., pageToken: _Optional[str] = ..., compress: _Optional[bool] = ..., compressedData: _Optional[bytes] = ...) -> None: ...

class SessionOutput(_message.Message):
    __slots__ = ("targetId", "busChannel", "type", "version", "unread")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    busChannel: str
    type: int
    version: int
    unread: UnreadInfo
    def __init__(self, targetId: _Optional[str] = ..., busChannel: _Optional[str] = ..., type: _Optional[int] = ..., version: _Optional[int] = ..., unread: _Optional[_Union[UnreadInfo, _Mapping]] = ...) -> None: ...

class UnreadInfo(_message.Message):
    __slots__ = ("cnt", "mentionCnt", "mentionMeCnt", "clearTime", "cutOffTime", "firstUnreadMsg")
    CNT_FIELD_NUMBER: _ClassVar[int]
    MENTIONCNT_FIELD_NUMBER: _ClassVar[int]
    MENTIONMECNT_FIELD_NUMBER: _ClassVar[int]
    CLEARTIME_FIELD_NUMBER: _ClassVar[int]
    CUTOFFTIME_FIELD_NUMBER: _ClassVar[int]
    FIRSTUNREADMSG_FIELD_NUMBER: _ClassVar[int]
    cnt: int
    mentionCnt: int
    mentionMeCnt: int
    clearTime: int
    cutOffTime: int
    firstUnreadMsg: UnreadMsgInfo
    def __init__(self, cnt: _Optional[int] = ..., mentionCnt: _Optional[int] = ..., mentionMeCnt: _Optional[int] = ..., clearTime: _Optional[int] = ..., cutOffTime: _Optional[int] = ..., firstUnreadMsg: _Optional[_Union[UnreadMsgInfo, _Mapping]] = ...) -> None: ...

class SessionReq(_message.Message):
    __slots__ = ("time",)
    TIME_FIELD_NUMBER: _ClassVar[int]
    time: int
    def __init__(self, time: _Optional[int] = ...) -> None: ...

class SessionStates(_message.Message):
    __slots__ = ("version", "state")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    version: int
    state: _containers.RepeatedCompositeFieldContainer[SessionState]
    def __init__(self, version: _Optional[int] = ..., state: _Optional[_Iterable[_Union[SessionState, _Mapping]]] = ...) -> None: ...

class SessionState(_message.Message):
    __slots__ = ("type", "channelId", "time", "stateItem", "busChannel")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CHANNELID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATEITEM_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    type: int
    channelId: str
    time: int
    stateItem: _containers.RepeatedCompositeFieldContainer[SessionStateItem]
    busChannel: str
    def __init__(self, type: _Optional[int] = ..., channelId: _Optional[str] = ..., time: _Optional[int] = ..., stateItem: _Optional[_Iterable[_Union[SessionStateItem, _Mapping]]] = ..., busChannel: _Optional[str] = ...) -> None: ...

class SessionStateItem(_message.Message):
    __slots__ = ("sessionStateType", "value", "tags", "time")
    SESSIONSTATETYPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    sessionStateType: int
    value: str
    tags: _containers.RepeatedCompositeFieldContainer[SessionTagItem]
    time: int
    def __init__(self, sessionStateType: _Optional[int] = ..., value: _Optional[str] = ..., tags: _Optional[_Iterable[_Union[SessionTagItem, _Mapping]]] = ..., time: _Optional[int] = ...) -> None: ...

class SessionStateModifyReq(_message.Message):
    __slots__ = ("version", "state", "ignoreVersion")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    IGNOREVERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    state: _containers.RepeatedCompositeFieldContainer[SessionState]
    ignoreVersion: bool
    def __init__(self, version: _Optional[int] = ..., state: _Optional[_Iterable[_Union[SessionState, _Mapping]]] = ..., ignoreVersion: _Optional[bool] = ...) -> None: ...

class SessionStateModifyResp(_message.Message):
    __slots__ = ("version", "updateVersion")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPDATEVERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    updateVersion: bool
    def __init__(self, version: _Optional[int] = ..., updateVersion: _Optional[bool] = ...) -> None: ...

class SessionTagItem(_message.Message):
    __slots__ = ("tagId", "name", "createdTime", "isTop")
    TAGID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATEDTIME_FIELD_NUMBER: _ClassVar[int]
    ISTOP_FIELD_NUMBER: _ClassVar[int]
    tagId: str
    name: str
    createdTime: int
    isTop: bool
    def __init__(self, tagId: _Optional[str] = ..., name: _Optional[str] = ..., createdTime: _Optional[int] = ..., isTop: _Optional[bool] = ...) -> None: ...

class SessionTagAddInput(_message.Message):
    __slots__ = ("version", "tags", "ignoreVersion")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    IGNOREVERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    tags: _containers.RepeatedCompositeFieldContainer[SessionTagItem]
    ignoreVersion: bool
    def __init__(self, version: _Optional[int] = ..., tags: _Optional[_Iterable[_Union[SessionTagItem, _Mapping]]] = ..., ignoreVersion: _Optional[bool] = ...) -> None: ...

class SessionTagDelInput(_message.Message):
    __slots__ = ("version", "tags", "ignoreVersion")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    IGNOREVERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    tags: _containers.RepeatedCompositeFieldContainer[SessionTagItem]
    ignoreVersion: bool
    def __init__(self, version: _Optional[int] = ..., tags: _Optional[_Iterable[_Union[SessionTagItem, _Mapping]]] = ..., ignoreVersion: _Optional[bool] = ...) -> None: ...

class SessionDisTagReq(_message.Message):
    __slots__ = ("tagId",)
    TAGID_FIELD_NUMBER: _ClassVar[int]
    tagId: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tagId: _Optional[_Iterable[str]] = ...) -> None: ...

class TypeUnpushInput(_message.Message):
    __slots__ = ("type", "version", "unpushLevel", "ignoreVersion")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UNPUSHLEVEL_FIELD_NUMBER: _ClassVar[int]
    IGNOREVERSION_FIELD_NUMBER: _ClassVar[int]
    type: int
    version: int
    unpushLevel: int
    ignoreVersion: bool
    def __init__(self, type: _Optional[int] = ..., version: _Optional[int] = ..., unpushLevel: _Optional[int] = ..., ignoreVersion: _Optional[bool] = ...) -> None: ...

class TypeUnpushOutput(_message.Message):
    __slots__ = ("version", "updateVersion")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPDATEVERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    updateVersion: bool
    def __init__(self, version: _Optional[int] = ..., updateVersion: _Optional[bool] = ...) -> None: ...

class BlockPushInput(_message.Message):
    __slots__ = ("blockeeId",)
    BLOCKEEID_FIELD_NUMBER: _ClassVar[int]
    blockeeId: str
    def __init__(self, blockeeId: _Optional[str] = ...) -> None: ...

class AddUnpushPeriodInput(_message.Message):
    __slots__ = ("startTime", "spanMinutes", "level", "timezone")
    STARTTIME_FIELD_NUMBER: _ClassVar[int]
    SPANMINUTES_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    startTime: str
    spanMinutes: int
    level: int
    timezone: str
    def __init__(self, startTime: _Optional[str] = ..., spanMinutes: _Optional[int] = ..., level: _Optional[int] = ..., timezone: _Optional[str] = ...) -> None: ...

class DeleteUnpushPeriodInput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class QueryUnpushPeriodInput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class QueryUnpushPeriodOutput(_message.Message):
    __slots__ = ("isUnpush", "startTime", "spanMinutes", "level", "timezone")
    ISUNPUSH_FIELD_NUMBER: _ClassVar[int]
    STARTTIME_FIELD_NUMBER: _ClassVar[int]
    SPANMINUTES_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    isUnpush: int
    startTime: str
    spanMinutes: int
    level: int
    timezone: str
    def __init__(self, isUnpush: _Optional[int] = ..., startTime: _Optional[str] = ..., spanMinutes: _Optional[int] = ..., level: _Optional[int] = ..., timezone: _Optional[str] = ...) -> None: ...

class PullUserSettingInput(_message.Message):
    __slots__ = ("version", "reserve", "ipType")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    IPTYPE_FIELD_NUMBER: _ClassVar[int]
    version: int
    reserve: bool
    ipType: int
    def __init__(self, version: _Optional[int] = ..., reserve: _Optional[bool] = ..., ipType: _Optional[int] = ...) -> None: ...

class PullUserSettingOutput(_message.Message):
    __slots__ = ("items", "version")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[UserSettingItem]
    version: int
    def __init__(self, items: _Optional[_Iterable[_Union[UserSettingItem, _Mapping]]] = ..., version: _Optional[int] = ...) -> None: ...

class UserSettingItem(_message.Message):
    __slots__ = ("targetId", "type", "key", "value", "version", "status", "tags")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    type: int
    key: str
    value: bytes
    version: int
    status: int
    tags: _containers.RepeatedCompositeFieldContainer[SessionTagItem]
    def __init__(self, targetId: _Optional[str] = ..., type: _Optional[int] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., version: _Optional[int] = ..., status: _Optional[int] = ..., tags: _Optional[_Iterable[_Union[SessionTagItem, _Mapping]]] = ...) -> None: ...

class SetUserSettingInput(_message.Message):
    __slots__ = ("version", "value", "ignoreVersion")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    IGNOREVERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    value: str
    ignoreVersion: bool
    def __init__(self, version: _Optional[int] = ..., value: _Optional[str] = ..., ignoreVersion: _Optional[bool] = ...) -> None: ...

class SetUserSettingOutput(_message.Message):
    __slots__ = ("version", "reserve", "updateVersion")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    UPDATEVERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    reserve: bool
    updateVersion: bool
    def __init__(self, version: _Optional[int] = ..., reserve: _Optional[bool] = ..., updateVersion: _Optional[bool] = ...) -> None: ...

class UserSettingNotification(_message.Message):
    __slots__ = ("version", "reserve")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    version: int
    reserve: bool
    def __init__(self, version: _Optional[int] = ..., reserve: _Optional[bool] = ...) -> None: ...

class ReportSDKInput(_message.Message):
    __slots__ = ("sdkInfo",)
    SDKINFO_FIELD_NUMBER: _ClassVar[int]
    sdkInfo: str
    def __init__(self, sdkInfo: _Optional[str] = ...) -> None: ...

class ReportSDKOutput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class ChrmInput(_message.Message):
    __slots__ = ("nothing", "extra")
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    extra: str
    def __init__(self, nothing: _Optional[int] = ..., extra: _Optional[str] = ...) -> None: ...

class ChrmOutput(_message.Message):
    __slots__ = ("nothing", "sessionId", "joinTime", "createTime", "memberCount", "chatroomBanState", "whiteListState")
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    JOINTIME_FIELD_NUMBER: _ClassVar[int]
    CREATETIME_FIELD_NUMBER: _ClassVar[int]
    MEMBERCOUNT_FIELD_NUMBER: _ClassVar[int]
    CHATROOMBANSTATE_FIELD_NUMBER: _ClassVar[int]
    WHITELISTSTATE_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    sessionId: str
    joinTime: int
    createTime: int
    memberCount: int
    chatroomBanState: int
    whiteListState: int
    def __init__(self, nothing: _Optional[int] = ..., sessionId: _Optional[str] = ..., joinTime: _Optional[int] = ..., createTime: _Optional[int] = ..., memberCount: _Optional[int] = ..., chatroomBanState: _Optional[int] = ..., whiteListState: _Optional[int] = ...) -> None: ...

class ChrmPullMsg(_message.Message):
    __slots__ = ("syncTime", "count", "pullMsgType", "compressioEnabled")
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PULLMSGTYPE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    syncTime: int
    count: int
    pullMsgType: int
    compressioEnabled: bool
    def __init__(self, syncTime: _Optional[int] = ..., count: _Optional[int] = ..., pullMsgType: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ...) -> None: ...

class ChrmPullMsgNew(_message.Message):
    __slots__ = ("count", "syncTime", "chrmId")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    CHRMID_FIELD_NUMBER: _ClassVar[int]
    count: int
    syncTime: int
    chrmId: str
    def __init__(self, count: _Optional[int] = ..., syncTime: _Optional[int] = ..., chrmId: _Optional[str] = ...) -> None: ...

class QueryChatRoomInfoInput(_message.Message):
    __slots__ = ("count", "order")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    count: int
    order: int
    def __init__(self, count: _Optional[int] = ..., order: _Optional[int] = ...) -> None: ...

class QueryChatRoomInfoOutput(_message.Message):
    __slots__ = ("userTotalNums", "userInfos")
    USERTOTALNUMS_FIELD_NUMBER: _ClassVar[int]
    USERINFOS_FIELD_NUMBER: _ClassVar[int]
    userTotalNums: int
    userInfos: _containers.RepeatedCompositeFieldContainer[ChrmMember]
    def __init__(self, userTotalNums: _Optional[int] = ..., userInfos: _Optional[_Iterable[_Union[ChrmMember, _Mapping]]] = ...) -> None: ...

class ChrmMember(_message.Message):
    __slots__ = ("time", "id")
    TIME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    time: int
    id: str
    def __init__(self, time: _Optional[int] = ..., id: _Optional[str] = ...) -> None: ...

class ChrmKVEntity(_message.Message):
    __slots__ = ("key", "value", "status", "timestamp", "uid", "version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    status: int
    timestamp: int
    uid: str
    version: int
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ..., status: _Optional[int] = ..., timestamp: _Optional[int] = ..., uid: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class SetChrmKV(_message.Message):
    __slots__ = ("entry", "bNotify", "notification", "type")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    BNOTIFY_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    entry: ChrmKVEntity
    bNotify: bool
    notification: UpStreamMessage
    type: int
    def __init__(self, entry: _Optional[_Union[ChrmKVEntity, _Mapping]] = ..., bNotify: _Optional[bool] = ..., notification: _Optional[_Union[UpStreamMessage, _Mapping]] = ..., type: _Optional[int] = ...) -> None: ...

class DeleteChrmKV(_message.Message):
    __slots__ = ("entry", "bNotify", "notification", "type")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    BNOTIFY_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    entry: ChrmKVEntity
    bNotify: bool
    notification: UpStreamMessage
    type: int
    def __init__(self, entry: _Optional[_Union[ChrmKVEntity, _Mapping]] = ..., bNotify: _Optional[bool] = ..., notification: _Optional[_Union[UpStreamMessage, _Mapping]] = ..., type: _Optional[int] = ...) -> None: ...

class SetChrmKVS(_message.Message):
    __slots__ = ("entry", "bNotify", "notification", "type")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    BNOTIFY_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    entry: _containers.RepeatedCompositeFieldContainer[ChrmKVEntity]
    bNotify: bool
    notification: UpStreamMessage
    type: int
    def __init__(self, entry: _Optional[_Iterable[_Union[ChrmKVEntity, _Mapping]]] = ..., bNotify: _Optional[bool] = ..., notification: _Optional[_Union[UpStreamMessage, _Mapping]] = ..., type: _Optional[int] = ...) -> None: ...

class DeleteChrmKVS(_message.Message):
    __slots__ = ("entry", "bNotify", "notification", "type")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    BNOTIFY_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    entry: _containers.RepeatedCompositeFieldContainer[ChrmKVEntity]
    bNotify: bool
    notification: UpStreamMessage
    type: int
    def __init__(self, entry: _Optional[_Iterable[_Union[ChrmKVEntity, _Mapping]]] = ..., bNotify: _Optional[bool] = ..., notification: _Optional[_Union[UpStreamMessage, _Mapping]] = ..., type: _Optional[int] = ...) -> None: ...

class QueryChrmKV(_message.Message):
    __slots__ = ("timestamp", "compressioEnabled")
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    timestamp: int
    compressioEnabled: bool
    def __init__(self, timestamp: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ...) -> None: ...

class ChrmKVOutput(_message.Message):
    __slots__ = ("entries", "bFullUpdate", "syncTime", "compressioEnabled", "compressedData")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BFULLUPDATE_FIELD_NUMBER: _ClassVar[int]
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    COMPRESSEDDATA_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[ChrmKVEntity]
    bFullUpdate: bool
    syncTime: int
    compressioEnabled: bool
    compressedData: bytes
    def __init__(self, entries: _Optional[_Iterable[_Union[ChrmKVEntity, _Mapping]]] = ..., bFullUpdate: _Optional[bool] = ..., syncTime: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ..., compressedData: _Optional[bytes] = ...) -> None: ...

class ChrmKVSOutput(_message.Message):
    __slots__ = ("errorKeys", "keysVersion")
    ERRORKEYS_FIELD_NUMBER: _ClassVar[int]
    KEYSVERSION_FIELD_NUMBER: _ClassVar[int]
    errorKeys: _containers.RepeatedCompositeFieldContainer[ChrmKVSOutputEntity]
    keysVersion: _containers.RepeatedCompositeFieldContainer[ChrmKVSVersionEntity]
    def __init__(self, errorKeys: _Optional[_Iterable[_Union[ChrmKVSOutputEntity, _Mapping]]] = ..., keysVersion: _Optional[_Iterable[_Union[ChrmKVSVersionEntity, _Mapping]]] = ...) -> None: ...

class ChrmKVSOutputEntity(_message.Message):
    __slots__ = ("key", "errorCode")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ERRORCODE_FIELD_NUMBER: _ClassVar[int]
    key: str
    errorCode: int
    def __init__(self, key: _Optional[str] = ..., errorCode: _Optional[int] = ...) -> None: ...

class ChrmKVSVersionEntity(_message.Message):
    __slots__ = ("version", "key")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    version: int
    key: str
    def __init__(self, version: _Optional[int] = ..., key: _Optional[str] = ...) -> None: ...

class CreateDiscussionInput(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CreateDiscussionOutput(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ChannelInvitationInput(_message.Message):
    __slots__ = ("users",)
    USERS_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, users: _Optional[_Iterable[str]] = ...) -> None: ...

class LeaveChannelInput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class ChannelEvictionInput(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class RenameChannelInput(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ModifyPermissionInput(_message.Message):
    __slots__ = ("openStatus",)
    OPENSTATUS_FIELD_NUMBER: _ClassVar[int]
    openStatus: int
    def __init__(self, openStatus: _Optional[int] = ...) -> None: ...

class ChannelInfoInput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class ChannelInfoOutput(_message.Message):
    __slots__ = ("type", "channelId", "channelName", "adminUserId", "firstTenUserIds", "openStatus")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CHANNELID_FIELD_NUMBER: _ClassVar[int]
    CHANNELNAME_FIELD_NUMBER: _ClassVar[int]
    ADMINUSERID_FIELD_NUMBER: _ClassVar[int]
    FIRSTTENUSERIDS_FIELD_NUMBER: _ClassVar[int]
    OPENSTATUS_FIELD_NUMBER: _ClassVar[int]
    type: int
    channelId: str
    channelName: str
    adminUserId: str
    firstTenUserIds: _containers.RepeatedScalarFieldContainer[str]
    openStatus: int
    def __init__(self, type: _Optional[int] = ..., channelId: _Optional[str] = ..., channelName: _Optional[str] = ..., adminUserId: _Optional[str] = ..., firstTenUserIds: _Optional[_Iterable[str]] = ..., openStatus: _Optional[int] = ...) -> None: ...

class ChannelInfosInput(_message.Message):
    __slots__ = ("page", "number")
    PAGE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    page: int
    number: int
    def __init__(self, page: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class ChannelInfosOutput(_message.Message):
    __slots__ = ("channels", "total")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    channels: _containers.RepeatedCompositeFieldContainer[ChannelInfoOutput]
    total: int
    def __init__(self, channels: _Optional[_Iterable[_Union[ChannelInfoOutput, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class MemberInfo(_message.Message):
    __slots__ = ("userId", "userName", "userPortrait", "extension")
    USERID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    USERPORTRAIT_FIELD_NUMBER: _ClassVar[int]
    EXTENSION_FIELD_NUMBER: _ClassVar[int]
    userId: str
    userName: str
    userPortrait: str
    extension: str
    def __init__(self, userId: _Optional[str] = ..., userName: _Optional[str] = ..., userPortrait: _Optional[str] = ..., extension: _Optional[str] = ...) -> None: ...

class GroupMembersInput(_message.Message):
    __slots__ = ("page", "number")
    PAGE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    page: int
    number: int
    def __init__(self, page: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class GroupMembersOutput(_message.Message):
    __slots__ = ("members", "total")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[MemberInfo]
    total: int
    def __init__(self, members: _Optional[_Iterable[_Union[MemberInfo, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class GroupInput(_message.Message):
    __slots__ = ("groupInfo",)
    GROUPINFO_FIELD_NUMBER: _ClassVar[int]
    groupInfo: _containers.RepeatedCompositeFieldContainer[GroupInfo]
    def __init__(self, groupInfo: _Optional[_Iterable[_Union[GroupInfo, _Mapping]]] = ...) -> None: ...

class GroupOutput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class GroupInfo(_message.Message):
    __slots__ = ("id", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class GroupHashInput(_message.Message):
    __slots__ = ("userId", "groupHashCode")
    USERID_FIELD_NUMBER: _ClassVar[int]
    GROUPHASHCODE_FIELD_NUMBER: _ClassVar[int]
    userId: str
    groupHashCode: str
    def __init__(self, userId: _Optional[str] = ..., groupHashCode: _Optional[str] = ...) -> None: ...

class GroupHashOutput(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: int
    def __init__(self, result: _Optional[int] = ...) -> None: ...

class Add2BlackListInput(_message.Message):
    __slots__ = ("userId",)
    USERID_FIELD_NUMBER: _ClassVar[int]
    userId: str
    def __init__(self, userId: _Optional[str] = ...) -> None: ...

class RemoveFromBlackListInput(_message.Message):
    __slots__ = ("userId",)
    USERID_FIELD_NUMBER: _ClassVar[int]
    userId: str
    def __init__(self, userId: _Optional[str] = ...) -> None: ...

class QueryBlackListInput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class QueryBlackListOutput(_message.Message):
    __slots__ = ("userIds",)
    USERIDS_FIELD_NUMBER: _ClassVar[int]
    userIds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, userIds: _Optional[_Iterable[str]] = ...) -> None: ...

class BlackListStatusInput(_message.Message):
    __slots__ = ("userId",)
    USERID_FIELD_NUMBER: _ClassVar[int]
    userId: str
    def __init__(self, userId: _Optional[str] = ...) -> None: ...

class GetUserInfoInput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class GetUserInfoOutput(_message.Message):
    __slots__ = ("userId", "userName", "userPortrait")
    USERID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    USERPORTRAIT_FIELD_NUMBER: _ClassVar[int]
    userId: str
    userName: str
    userPortrait: str
    def __init__(self, userId: _Optional[str] = ..., userName: _Optional[str] = ..., userPortrait: _Optional[str] = ...) -> None: ...

class GetSessionIdInput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class GetSessionIdOutput(_message.Message):
    __slots__ = ("sessionId",)
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    sessionId: int
    def __init__(self, sessionId: _Optional[int] = ...) -> None: ...

class SetUserStatusInput(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: int
    def __init__(self, status: _Optional[int] = ...) -> None: ...

class SetUserStatusOutput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class GetUserStatusInput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class GetUserStatusOutput(_message.Message):
    __slots__ = ("status", "subUserId")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SUBUSERID_FIELD_NUMBER: _ClassVar[int]
    status: str
    subUserId: str
    def __init__(self, status: _Optional[str] = ..., subUserId: _Optional[str] = ...) -> None: ...

class SubUserStatusInput(_message.Message):
    __slots__ = ("userid",)
    USERID_FIELD_NUMBER: _ClassVar[int]
    userid: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, userid: _Optional[_Iterable[str]] = ...) -> None: ...

class SubUserStatusOutput(_message.Message):
    __slots__ = ("nothing",)
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    def __init__(self, nothing: _Optional[int] = ...) -> None: ...

class UpdateUserSubReq(_message.Message):
    __slots__ = ("subType", "subUsers", "opType", "expiry")
    SUBTYPE_FIELD_NUMBER: _ClassVar[int]
    SUBUSERS_FIELD_NUMBER: _ClassVar[int]
    OPTYPE_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    subType: int
    subUsers: _containers.RepeatedCompositeFieldContainer[UserSubDetail]
    opType: int
    expiry: int
    def __init__(self, subType: _Optional[int] = ..., subUsers: _Optional[_Iterable[_Union[UserSubDetail, _Mapping]]] = ..., opType: _Optional[int] = ..., expiry: _Optional[int] = ...) -> None: ...

class UpdateUserSubResp(_message.Message):
    __slots__ = ("subUsers", "subTime")
    SUBUSERS_FIELD_NUMBER: _ClassVar[int]
    SUBTIME_FIELD_NUMBER: _ClassVar[int]
    subUsers: _containers.RepeatedCompositeFieldContainer[UserSubDetail]
    subTime: int
    def __init__(self, subUsers: _Optional[_Iterable[_Union[UserSubDetail, _Mapping]]] = ..., subTime: _Optional[int] = ...) -> None: ...

class UserSubDetail(_message.Message):
    __slots__ = ("subUserId",)
    SUBUSERID_FIELD_NUMBER: _ClassVar[int]
    subUserId: str
    def __init__(self, subUserId: _Optional[str] = ...) -> None: ...

class UserSubList(_message.Message):
    __slots__ = ("subUsers", "subType", "subTime", "expiry", "opType")
    SUBUSERS_FIELD_NUMBER: _ClassVar[int]
    SUBTYPE_FIELD_NUMBER: _ClassVar[int]
    SUBTIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    OPTYPE_FIELD_NUMBER: _ClassVar[int]
    subUsers: _containers.RepeatedCompositeFieldContainer[UserSubDetail]
    subType: int
    subTime: int
    expiry: int
    opType: int
    def __init__(self, subUsers: _Optional[_Iterable[_Union[UserSubDetail, _Mapping]]] = ..., subType: _Optional[int] = ..., subTime: _Optional[int] = ..., expiry: _Optional[int] = ..., opType: _Optional[int] = ...) -> None: ...

class PullUserSubReq(_message.Message):
    __slots__ = ("version", "pageToken")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    version: int
    pageToken: str
    def __init__(self, version: _Optional[int] = ..., pageToken: _Optional[str] = ...) -> None: ...

class PullUserSubResp(_message.Message):
    __slots__ = ("list", "version", "hasNext", "pageToken", "isFull")
    LIST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HASNEXT_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    ISFULL_FIELD_NUMBER: _ClassVar[int]
    list: _containers.RepeatedCompositeFieldContainer[UserSubList]
    version: int
    hasNext: bool
    pageToken: str
    isFull: bool
    def __init__(self, list: _Optional[_Iterable[_Union[UserSubList, _Mapping]]] = ..., version: _Optional[int] = ..., hasNext: _Optional[bool] = ..., pageToken: _Optional[str] = ..., isFull: _Optional[bool] = ...) -> None: ...

class PullSubDataReq(_message.Message):
    __slots__ = ("versionTime", "needAllData", "pageToken")
    VERSIONTIME_FIELD_NUMBER: _ClassVar[int]
    NEEDALLDATA_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    versionTime: int
    needAllData: bool
    pageToken: str
    def __init__(self, versionTime: _Optional[int] = ..., needAllData: _Optional[bool] = ..., pageToken: _Optional[str] = ...) -> None: ...

class PullSubDataResp(_message.Message):
    __slots__ = ("list", "versionTime", "hasNext", "pageToken", "isFull")
    LIST_FIELD_NUMBER: _ClassVar[int]
    VERSIONTIME_FIELD_NUMBER: _ClassVar[int]
    HASNEXT_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    ISFULL_FIELD_NUMBER: _ClassVar[int]
    list: _containers.RepeatedCompositeFieldContainer[SubDataDetail]
    versionTime: int
    hasNext: bool
    pageToken: str
    isFull: bool
    def __init__(self, list: _Optional[_Iterable[_Union[SubDataDetail, _Mapping]]] = ..., versionTime: _Optional[int] = ..., hasNext: _Optional[bool] = ..., pageToken: _Optional[str] = ..., isFull: _Optional[bool] = ...) -> None: ...

class SubDataDetail(_message.Message):
    __slots__ = ("statusStr", "subUserId", "data", "subType")
    STATUSSTR_FIELD_NUMBER: _ClassVar[int]
    SUBUSERID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SUBTYPE_FIELD_NUMBER: _ClassVar[int]
    statusStr: str
    subUserId: str
    data: _containers.RepeatedCompositeFieldContainer[SubData]
    subType: int
    def __init__(self, statusStr: _Optional[str] = ..., subUserId: _Optional[str] = ..., data: _Optional[_Iterable[_Union[SubData, _Mapping]]] = ..., subType: _Optional[int] = ...) -> None: ...

class SubData(_message.Message):
    __slots__ = ("platformInfo", "value", "versionTime")
    PLATFORMINFO_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSIONTIME_FIELD_NUMBER: _ClassVar[int]
    platformInfo: int
    value: int
    versionTime: int
    def __init__(self, platformInfo: _Optional[int] = ..., value: _Optional[int] = ..., versionTime: _Optional[int] = ...) -> None: ...

class QrySubDataReq(_message.Message):
    __slots__ = ("subType", "subUsers")
    SUBTYPE_FIELD_NUMBER: _ClassVar[int]
    SUBUSERS_FIELD_NUMBER: _ClassVar[int]
    subType: int
    subUsers: _containers.RepeatedCompositeFieldContainer[UserSubDetail]
    def __init__(self, subType: _Optional[int] = ..., subUsers: _Optional[_Iterable[_Union[UserSubDetail, _Mapping]]] = ...) -> None: ...

class GetQNupTokenInput(_message.Message):
    __slots__ = ("type", "key", "httpMethod", "queryString", "url", "ext", "size", "ipType")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    HTTPMETHOD_FIELD_NUMBER: _ClassVar[int]
    QUERYSTRING_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    EXT_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    IPTYPE_FIELD_NUMBER: _ClassVar[int]
    type: int
    key: str
    httpMethod: str
    queryString: str
    url: str
    ext: str
    size: int
    ipType: int
    def __init__(self, type: _Optional[int] = ..., key: _Optional[str] = ..., httpMethod: _Optional[str] = ..., queryString: _Optional[str] = ..., url: _Optional[str] = ..., ext: _Optional[str] = ..., size: _Optional[int] = ..., ipType: _Optional[int] = ...) -> None: ...

class GetQNupTokenOutput(_message.Message):
    __slots__ = ("deadline", "token", "bosToken", "bosDate", "path", "osskeyId", "ossPolicy", "ossSign", "ossBucketName", "s3Credential", "s3Algorithm", "s3Date", "s3Policy", "s3Signature", "s3BucketName", "stcAuthorization", "stcContentSha256", "stcDate", "stcBucketName", "minioAuthorization", "minioContentSha256", "minioDate", "minioBucketName", "downloadAuthInfo", "ossConfig")
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    BOSTOKEN_FIELD_NUMBER: _ClassVar[int]
    BOSDATE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    OSSKEYID_FIELD_NUMBER: _ClassVar[int]
    OSSPOLICY_FIELD_NUMBER: _ClassVar[int]
    OSSSIGN_FIELD_NUMBER: _ClassVar[int]
    OSSBUCKETNAME_FIELD_NUMBER: _ClassVar[int]
    S3CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    S3ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    S3DATE_FIELD_NUMBER: _ClassVar[int]
    S3POLICY_FIELD_NUMBER: _ClassVar[int]
    S3SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    S3BUCKETNAME_FIELD_NUMBER: _ClassVar[int]
    STCAUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    STCCONTENTSHA256_FIELD_NUMBER: _ClassVar[int]
    STCDATE_FIELD_NUMBER: _ClassVar[int]
    STCBUCKETNAME_FIELD_NUMBER: _ClassVar[int]
    MINIOAUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    MINIOCONTENTSHA256_FIELD_NUMBER: _ClassVar[int]
    MINIODATE_FIELD_NUMBER: _ClassVar[int]
    MINIOBUCKETNAME_FIELD_NUMBER: _ClassVar[int]
    DOWNLOADAUTHINFO_FIELD_NUMBER: _ClassVar[int]
    OSSCONFIG_FIELD_NUMBER: _ClassVar[int]
    deadline: int
    token: str
    bosToken: str
    bosDate: str
    path: str
    osskeyId: str
    ossPolicy: str
    ossSign: str
    ossBucketName: str
    s3Credential: str
    s3Algorithm: str
    s3Date: str
    s3Policy: str
    s3Signature: str
    s3BucketName: str
    stcAuthorization: str
    stcContentSha256: str
    stcDate: str
    stcBucketName: str
    minioAuthorization: str
    minioContentSha256: str
    minioDate: str
    minioBucketName: str
    downloadAuthInfo: str
    ossConfig: str
    def __init__(self, deadline: _Optional[int] = ..., token: _Optional[str] = ..., bosToken: _Optional[str] = ..., bosDate: _Optional[str] = ..., path: _Optional[str] = ..., osskeyId: _Optional[str] = ..., ossPolicy: _Optional[str] = ..., ossSign: _Optional[str] = ..., ossBucketName: _Optional[str] = ..., s3Credential: _Optional[str] = ..., s3Algorithm: _Optional[str] = ..., s3Date: _Optional[str] = ..., s3Policy: _Optional[str] = ..., s3Signature: _Optional[str] = ..., s3BucketName: _Optional[str] = ..., stcAuthorization: _Optional[str] = ..., stcContentSha256: _Optional[str] = ..., stcDate: _Optional[str] = ..., stcBucketName: _Optional[str] = ..., minioAuthorization: _Optional[str] = ..., minioContentSha256: _Optional[str] = ..., minioDate: _Optional[str] = ..., minioBucketName: _Optional[str] = ..., downloadAuthInfo: _Optional[str] = ..., ossConfig: _Optional[str] = ...) -> None: ...

class GetQNdownloadUrlInput(_message.Message):
    __slots__ = ("type", "key", "fileName")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    type: int
    key: str
    fileName: str
    def __init__(self, type: _Optional[int] = ..., key: _Optional[str] = ..., fileName: _Optional[str] = ...) -> None: ...

class GetQNdownloadUrlOutput(_message.Message):
    __slots__ = ("downloadUrl",)
    DOWNLOADURL_FIELD_NUMBER: _ClassVar[int]
    downloadUrl: str
    def __init__(self, downloadUrl: _Optional[str] = ...) -> None: ...

class GetDownloadUrlInput(_message.Message):
    __slots__ = ("type", "key", "fileName", "ext", "size", "ipType")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    EXT_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    IPTYPE_FIELD_NUMBER: _ClassVar[int]
    type: int
    key: str
    fileName: str
    ext: str
    size: int
    ipType: int
    def __init__(self, type: _Optional[int] = ..., key: _Optional[str] = ..., fileName: _Optional[str] = ..., ext: _Optional[str] = ..., size: _Optional[int] = ..., ipType: _Optional[int] = ...) -> None: ...

class GetDownloadUrlOutput(_message.Message):
    __slots__ = ("downloadUrl",)
    DOWNLOADURL_FIELD_NUMBER: _ClassVar[int]
    downloadUrl: str
    def __init__(self, downloadUrl: _Optional[str] = ...) -> None: ...

class MPFollowInput(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class MPFollowOutput(_message.Message):
    __slots__ = ("nothing", "info")
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    info: MpInfo
    def __init__(self, nothing: _Optional[int] = ..., info: _Optional[_Union[MpInfo, _Mapping]] = ...) -> None: ...

class MCFollowInput(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: str
    def __init__(self, state: _Optional[str] = ...) -> None: ...

class MCFollowOutput(_message.Message):
    __slots__ = ("nothing", "info")
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    info: MpInfo
    def __init__(self, nothing: _Optional[int] = ..., info: _Optional[_Union[MpInfo, _Mapping]] = ...) -> None: ...

class MpInfo(_message.Message):
    __slots__ = ("mpid", "name", "type", "time", "portraitUrl", "extra")
    MPID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    PORTRAITURL_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    mpid: str
    name: str
    type: str
    time: int
    portraitUrl: str
    extra: str
    def __init__(self, mpid: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., time: _Optional[int] = ..., portraitUrl: _Optional[str] = ..., extra: _Optional[str] = ...) -> None: ...

class SearchMpInput(_message.Message):
    __slots__ = ("type", "id")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    type: int
    id: str
    def __init__(self, type: _Optional[int] = ..., id: _Optional[str] = ...) -> None: ...

class SearchMpOutput(_message.Message):
    __slots__ = ("nothing", "info")
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    nothing: int
    info: _containers.RepeatedCompositeFieldContainer[MpInfo]
    def __init__(self, nothing: _Optional[int] = ..., info: _Optional[_Iterable[_Union[MpInfo, _Mapping]]] = ...) -> None: ...

class PullMpInput(_message.Message):
    __slots__ = ("time", "mpid")
    TIME_FIELD_NUMBER: _ClassVar[int]
    MPID_FIELD_NUMBER: _ClassVar[int]
    time: int
    mpid: str
    def __init__(self, time: _Optional[int] = ..., mpid: _Optional[str] = ...) -> None: ...

class PullMpOutput(_message.Message):
    __slots__ = ("status", "info")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    status: int
    info: _containers.RepeatedCompositeFieldContainer[MpInfo]
    def __init__(self, status: _Optional[int] = ..., info: _Optional[_Iterable[_Union[MpInfo, _Mapping]]] = ...) -> None: ...

class GrpReadReceiptMsg(_message.Message):
    __slots__ = ("msgId", "channelId")
    MSGID_FIELD_NUMBER: _ClassVar[int]
    CHANNELID_FIELD_NUMBER: _ClassVar[int]
    msgId: _containers.RepeatedScalarFieldContainer[str]
    channelId: str
    def __init__(self, msgId: _Optional[_Iterable[str]] = ..., channelId: _Optional[str] = ...) -> None: ...

class GrpReadReceiptQryReq(_message.Message):
    __slots__ = ("msgId", "channelId")
    MSGID_FIELD_NUMBER: _ClassVar[int]
    CHANNELID_FIELD_NUMBER: _ClassVar[int]
    msgId: _containers.RepeatedScalarFieldContainer[str]
    channelId: str
    def __init__(self, msgId: _Optional[_Iterable[str]] = ..., channelId: _Optional[str] = ...) -> None: ...

class GrpReadReceiptQryResp(_message.Message):
    __slots__ = ("totalMemberNum", "list")
    TOTALMEMBERNUM_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    totalMemberNum: int
    list: _containers.RepeatedCompositeFieldContainer[GrpMsgReadUser]
    def __init__(self, totalMemberNum: _Optional[int] = ..., list: _Optional[_Iterable[_Union[GrpMsgReadUser, _Mapping]]] = ...) -> None: ...

class GrpMsgReadUser(_message.Message):
    __slots__ = ("readTime", "userId")
    READTIME_FIELD_NUMBER: _ClassVar[int]
    USERID_FIELD_NUMBER: _ClassVar[int]
    readTime: int
    userId: str
    def __init__(self, readTime: _Optional[int] = ..., userId: _Optional[str] = ...) -> None: ...

class ReadReceiptMsg(_message.Message):
    __slots__ = ("targetId", "type", "busChannel", "startMsgId", "endMsgId")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    STARTMSGID_FIELD_NUMBER: _ClassVar[int]
    ENDMSGID_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    type: int
    busChannel: str
    startMsgId: str
    endMsgId: str
    def __init__(self, targetId: _Optional[str] = ..., type: _Optional[int] = ..., busChannel: _Optional[str] = ..., startMsgId: _Optional[str] = ..., endMsgId: _Optional[str] = ...) -> None: ...

class ReceiptQryReq(_message.Message):
    __slots__ = ("msgId", "busChannel", "targetId")
    MSGID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    msgId: str
    busChannel: str
    targetId: str
    def __init__(self, msgId: _Optional[str] = ..., busChannel: _Optional[str] = ..., targetId: _Optional[str] = ...) -> None: ...

class ReceiptCntQryReq(_message.Message):
    __slots__ = ("type", "channelId", "busChannel", "msgId")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CHANNELID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    MSGID_FIELD_NUMBER: _ClassVar[int]
    type: int
    channelId: str
    busChannel: str
    msgId: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, type: _Optional[int] = ..., channelId: _Optional[str] = ..., busChannel: _Optional[str] = ..., msgId: _Optional[_Iterable[str]] = ...) -> None: ...

class ReceiptCntQryResp(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: _containers.RepeatedCompositeFieldContainer[MsgReadCnt]
    def __init__(self, result: _Optional[_Iterable[_Union[MsgReadCnt, _Mapping]]] = ...) -> None: ...

class MsgReadCnt(_message.Message):
    __slots__ = ("msgId", "cnt", "tmn")
    MSGID_FIELD_NUMBER: _ClassVar[int]
    CNT_FIELD_NUMBER: _ClassVar[int]
    TMN_FIELD_NUMBER: _ClassVar[int]
    msgId: str
    cnt: int
    tmn: int
    def __init__(self, msgId: _Optional[str] = ..., cnt: _Optional[int] = ..., tmn: _Optional[int] = ...) -> None: ...

class ReadReceipt(_message.Message):
    __slots__ = ("targetId", "type", "channelId", "readType", "msgIds", "fromId")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CHANNELID_FIELD_NUMBER: _ClassVar[int]
    READTYPE_FIELD_NUMBER: _ClassVar[int]
    MSGIDS_FIELD_NUMBER: _ClassVar[int]
    FROMID_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    type: int
    channelId: str
    readType: int
    msgIds: _containers.RepeatedScalarFieldContainer[str]
    fromId: str
    def __init__(self, targetId: _Optional[str] = ..., type: _Optional[int] = ..., channelId: _Optional[str] = ..., readType: _Optional[int] = ..., msgIds: _Optional[_Iterable[str]] = ..., fromId: _Optional[str] = ...) -> None: ...

class QueryReceiptReq(_message.Message):
    __slots__ = ("targetId", "busChannel", "type", "msgIds", "qryType", "order", "compress", "readType", "pageType", "pageSize", "pageToken", "users")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MSGIDS_FIELD_NUMBER: _ClassVar[int]
    QRYTYPE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    READTYPE_FIELD_NUMBER: _ClassVar[int]
    PAGETYPE_FIELD_NUMBER: _ClassVar[int]
    PAGESIZE_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    busChannel: str
    type: int
    msgIds: _containers.RepeatedScalarFieldContainer[str]
    qryType: int
    order: int
    compress: bool
    readType: int
    pageType: int
    pageSize: int
    pageToken: str
    users: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, targetId: _Optional[str] = ..., busChannel: _Optional[str] = ..., type: _Optional[int] = ..., msgIds: _Optional[_Iterable[str]] = ..., qryType: _Optional[int] = ..., order: _Optional[int] = ..., compress: _Optional[bool] = ..., readType: _Optional[int] = ..., pageType: _Optional[int] = ..., pageSize: _Optional[int] = ..., pageToken: _Optional[str] = ..., users: _Optional[_Iterable[str]] = ...) -> None: ...

class QueryReceiptBatchReq(_message.Message):
    __slots__ = ("items", "compress")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[QueryReceipt]
    compress: bool
    def __init__(self, items: _Optional[_Iterable[_Union[QueryReceipt, _Mapping]]] = ..., compress: _Optional[bool] = ...) -> None: ...

class QueryReceipt(_message.Message):
    __slots__ = ("targetId", "busChannel", "type", "msgIds")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MSGIDS_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    busChannel: str
    type: int
    msgIds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, targetId: _Optional[str] = ..., busChannel: _Optional[str] = ..., type: _Optional[int] = ..., msgIds: _Optional[_Iterable[str]] = ...) -> None: ...

class ReceiptResp(_message.Message):
    __slots__ = ("resp", "compress", "compressData", "pageToken")
    RESP_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSDATA_FIELD_NUMBER: _ClassVar[int]
    PAGETOKEN_FIELD_NUMBER: _ClassVar[int]
    resp: _containers.RepeatedCompositeFieldContainer[QueryReceiptRespItem]
    compress: bool
    compressData: bytes
    pageToken: str
    def __init__(self, resp: _Optional[_Iterable[_Union[QueryReceiptRespItem, _Mapping]]] = ..., compress: _Optional[bool] = ..., compressData: _Optional[bytes] = ..., pageToken: _Optional[str] = ...) -> None: ...

class QueryReceiptResp(_message.Message):
    __slots__ = ("num", "list", "readCnt")
    NUM_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    READCNT_FIELD_NUMBER: _ClassVar[int]
    num: int
    list: _containers.RepeatedCompositeFieldContainer[ReceiptUser]
    readCnt: int
    def __init__(self, num: _Optional[int] = ..., list: _Optional[_Iterable[_Union[ReceiptUser, _Mapping]]] = ..., readCnt: _Optional[int] = ...) -> None: ...

class QueryReceiptBatchResp(_message.Message):
    __slots__ = ("item", "compress", "compressData")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSDATA_FIELD_NUMBER: _ClassVar[int]
    item: _containers.RepeatedCompositeFieldContainer[QueryReceiptBatchRespItem]
    compress: bool
    compressData: bytes
    def __init__(self, item: _Optional[_Iterable[_Union[QueryReceiptBatchRespItem, _Mapping]]] = ..., compress: _Optional[bool] = ..., compressData: _Optional[bytes] = ...) -> None: ...

class QueryReceiptBatchRespItem(_message.Message):
    __slots__ = ("targetId", "busChannel", "type", "msg")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    busChannel: str
    type: int
    msg: _containers.RepeatedCompositeFieldContainer[QueryReceiptRespItem]
    def __init__(self, targetId: _Optional[str] = ..., busChannel: _Optional[str] = ..., type: _Optional[int] = ..., msg: _Optional[_Iterable[_Union[QueryReceiptRespItem, _Mapping]]] = ...) -> None: ...

class QueryReceiptRespItem(_message.Message):
    __slots__ = ("msgId", "msgTime", "totalCnt", "readCnt", "readUser", "unreadList", "unreadCnt", "unreadUser")
    MSGID_FIELD_NUMBER: _ClassVar[int]
    MSGTIME_FIELD_NUMBER: _ClassVar[int]
    TOTALCNT_FIELD_NUMBER: _ClassVar[int]
    READCNT_FIELD_NUMBER: _ClassVar[int]
    READUSER_FIELD_NUMBER: _ClassVar[int]
    UNREADLIST_FIELD_NUMBER: _ClassVar[int]
    UNREADCNT_FIELD_NUMBER: _ClassVar[int]
    UNREADUSER_FIELD_NUMBER: _ClassVar[int]
    msgId: str
    msgTime: int
    totalCnt: int
    readCnt: int
    readUser: _containers.RepeatedCompositeFieldContainer[ReceiptUser]
    unreadList: _containers.RepeatedScalarFieldContainer[str]
    unreadCnt: int
    unreadUser: _containers.RepeatedCompositeFieldContainer[ReceiptUser]
    def __init__(self, msgId: _Optional[str] = ..., msgTime: _Optional[int] = ..., totalCnt: _Optional[int] = ..., readCnt: _Optional[int] = ..., readUser: _Optional[_Iterable[_Union[ReceiptUser, _Mapping]]] = ..., unreadList: _Optional[_Iterable[str]] = ..., unreadCnt: _Optional[int] = ..., unreadUser: _Optional[_Iterable[_Union[ReceiptUser, _Mapping]]] = ...) -> None: ...

class ReceiptUser(_message.Message):
    __slots__ = ("receiptTime", "userId", "name", "portrait", "mentioned")
    RECEIPTTIME_FIELD_NUMBER: _ClassVar[int]
    USERID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORTRAIT_FIELD_NUMBER: _ClassVar[int]
    MENTIONED_FIELD_NUMBER: _ClassVar[int]
    receiptTime: int
    userId: str
    name: str
    portrait: str
    mentioned: bool
    def __init__(self, receiptTime: _Optional[int] = ..., userId: _Optional[str] = ..., name: _Optional[str] = ..., portrait: _Optional[str] = ..., mentioned: _Optional[bool] = ...) -> None: ...

class MsgReadEvent(_message.Message):
    __slots__ = ("msgId", "msgTime", "totalCnt", "readCnt", "unreadCnt", "readList")
    MSGID_FIELD_NUMBER: _ClassVar[int]
    MSGTIME_FIELD_NUMBER: _ClassVar[int]
    TOTALCNT_FIELD_NUMBER: _ClassVar[int]
    READCNT_FIELD_NUMBER: _ClassVar[int]
    UNREADCNT_FIELD_NUMBER: _ClassVar[int]
    READLIST_FIELD_NUMBER: _ClassVar[int]
    msgId: str
    msgTime: int
    totalCnt: int
    readCnt: int
    unreadCnt: int
    readList: _containers.RepeatedCompositeFieldContainer[ReceiptUser]
    def __init__(self, msgId: _Optional[str] = ..., msgTime: _Optional[int] = ..., totalCnt: _Optional[int] = ..., readCnt: _Optional[int] = ..., unreadCnt: _Optional[int] = ..., readList: _Optional[_Iterable[_Union[ReceiptUser, _Mapping]]] = ...) -> None: ...

class UltraGrpPullSes(_message.Message):
    __slots__ = ("syncTime", "isEraseMsgContent")
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    ISERASEMSGCONTENT_FIELD_NUMBER: _ClassVar[int]
    syncTime: int
    isEraseMsgContent: bool
    def __init__(self, syncTime: _Optional[int] = ..., isEraseMsgContent: _Optional[bool] = ...) -> None: ...

class UltraGrpPullMsg(_message.Message):
    __slots__ = ("syncTime", "compressioEnabled")
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIOENABLED_FIELD_NUMBER: _ClassVar[int]
    syncTime: int
    compressioEnabled: bool
    def __init__(self, syncTime: _Optional[int] = ..., compressioEnabled: _Optional[bool] = ...) -> None: ...

class MsgChangeReq(_message.Message):
    __slots__ = ("fromUserId", "targetId", "type", "msgUID", "msgTime", "busChannel", "content")
    FROMUSERID_FIELD_NUMBER: _ClassVar[int]
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MSGUID_FIELD_NUMBER: _ClassVar[int]
    MSGTIME_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    fromUserId: str
    targetId: str
    type: int
    msgUID: str
    msgTime: int
    busChannel: str
    content: str
    def __init__(self, fromUserId: _Optional[str] = ..., targetId: _Optional[str] = ..., type: _Optional[int] = ..., msgUID: _Optional[str] = ..., msgTime: _Optional[int] = ..., busChannel: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class QueryMsgChange(_message.Message):
    __slots__ = ("syncTime", "needCompress", "onlineTime", "targetId")
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    NEEDCOMPRESS_FIELD_NUMBER: _ClassVar[int]
    ONLINETIME_FIELD_NUMBER: _ClassVar[int]
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    syncTime: int
    needCompress: int
    onlineTime: int
    targetId: str
    def __init__(self, syncTime: _Optional[int] = ..., needCompress: _Optional[int] = ..., onlineTime: _Optional[int] = ..., targetId: _Optional[str] = ...) -> None: ...

class MsgChangeList(_message.Message):
    __slots__ = ("list", "syncTime", "hasNext")
    LIST_FIELD_NUMBER: _ClassVar[int]
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    HASNEXT_FIELD_NUMBER: _ClassVar[int]
    list: _containers.RepeatedCompositeFieldContainer[MsgChange]
    syncTime: int
    hasNext: bool
    def __init__(self, list: _Optional[_Iterable[_Union[MsgChange, _Mapping]]] = ..., syncTime: _Optional[int] = ..., hasNext: _Optional[bool] = ...) -> None: ...

class MsgChange(_message.Message):
    __slots__ = ("targetId", "type", "time", "changeType", "msgUID", "msgTime", "busChannel", "isAdmin", "isDel", "operatorId", "subChangeType", "busChannelType", "isRemindMe", "userGroupIds", "remindType")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    CHANGETYPE_FIELD_NUMBER: _ClassVar[int]
    MSGUID_FIELD_NUMBER: _ClassVar[int]
    MSGTIME_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    ISADMIN_FIELD_NUMBER: _ClassVar[int]
    ISDEL_FIELD_NUMBER: _ClassVar[int]
    OPERATORID_FIELD_NUMBER: _ClassVar[int]
    SUBCHANGETYPE_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNELTYPE_FIELD_NUMBER: _ClassVar[int]
    ISREMINDME_FIELD_NUMBER: _ClassVar[int]
    USERGROUPIDS_FIELD_NUMBER: _ClassVar[int]
    REMINDTYPE_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    type: int
    time: int
    changeType: int
    msgUID: str
    msgTime: int
    busChannel: str
    isAdmin: bool
    isDel: bool
    operatorId: str
    subChangeType: int
    busChannelType: int
    isRemindMe: bool
    userGroupIds: _containers.RepeatedScalarFieldContainer[str]
    remindType: int
    def __init__(self, targetId: _Optional[str] = ..., type: _Optional[int] = ..., time: _Optional[int] = ..., changeType: _Optional[int] = ..., msgUID: _Optional[str] = ..., msgTime: _Optional[int] = ..., busChannel: _Optional[str] = ..., isAdmin: _Optional[bool] = ..., isDel: _Optional[bool] = ..., operatorId: _Optional[str] = ..., subChangeType: _Optional[int] = ..., busChannelType: _Optional[int] = ..., isRemindMe: _Optional[bool] = ..., userGroupIds: _Optional[_Iterable[str]] = ..., remindType: _Optional[int] = ...) -> None: ...

class OperateStatus(_message.Message):
    __slots__ = ("targetId", "type", "opType", "busChannel")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    OPTYPE_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    type: int
    opType: int
    busChannel: str
    def __init__(self, targetId: _Optional[str] = ..., type: _Optional[int] = ..., opType: _Optional[int] = ..., busChannel: _Optional[str] = ...) -> None: ...

class OperateStatusNotify(_message.Message):
    __slots__ = ("type", "notifyType", "info", "summary")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NOTIFYTYPE_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    type: int
    notifyType: int
    info: _containers.RepeatedCompositeFieldContainer[OperateInfo]
    summary: _containers.RepeatedCompositeFieldContainer[OperateSummary]
    def __init__(self, type: _Optional[int] = ..., notifyType: _Optional[int] = ..., info: _Optional[_Iterable[_Union[OperateInfo, _Mapping]]] = ..., summary: _Optional[_Iterable[_Union[OperateSummary, _Mapping]]] = ...) -> None: ...

class OperateInfo(_message.Message):
    __slots__ = ("targetId", "busChannel", "userId", "opType", "optime")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    USERID_FIELD_NUMBER: _ClassVar[int]
    OPTYPE_FIELD_NUMBER: _ClassVar[int]
    OPTIME_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    busChannel: str
    userId: str
    opType: int
    optime: int
    def __init__(self, targetId: _Optional[str] = ..., busChannel: _Optional[str] = ..., userId: _Optional[str] = ..., opType: _Optional[int] = ..., optime: _Optional[int] = ...) -> None: ...

class OperateSummary(_message.Message):
    __slots__ = ("targetId", "busChannel", "count", "opType")
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    OPTYPE_FIELD_NUMBER: _ClassVar[int]
    targetId: str
    busChannel: str
    count: int
    opType: int
    def __init__(self, targetId: _Optional[str] = ..., busChannel: _Optional[str] = ..., count: _Optional[int] = ..., opType: _Optional[int] = ...) -> None: ...

class GroupUnpushQuery(_message.Message):
    __slots__ = ("busChannel",)
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    busChannel: str
    def __init__(self, busChannel: _Optional[str] = ...) -> None: ...

class GroupUnpushSet(_message.Message):
    __slots__ = ("busChannel", "unpushLevel")
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    UNPUSHLEVEL_FIELD_NUMBER: _ClassVar[int]
    busChannel: str
    unpushLevel: int
    def __init__(self, busChannel: _Optional[str] = ..., unpushLevel: _Optional[int] = ...) -> None: ...

class GroupUnpushResult(_message.Message):
    __slots__ = ("groupId", "busChannel", "unpushLevel")
    GROUPID_FIELD_NUMBER: _ClassVar[int]
    BUSCHANNEL_FIELD_NUMBER: _ClassVar[int]
    UNPUSHLEVEL_FIELD_NUMBER: _ClassVar[int]
    groupId: str
    busChannel: str
    unpushLevel: int
    def __init__(self, groupId: _Optional[str] = ..., busChannel: _Optional[str] = ..., unpushLevel: _Optional[int] = ...) -> None: ...

class ModifyMsgResp(_message.Message):
    __slots__ = ("modifyTime", "msg")
    MODIFYTIME_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    modifyTime: int
    msg: DownStreamMessage
    def __init__(self, modifyTime: _Optional[int] = ..., msg: _Optional[_Union[DownStreamMessage, _Mapping]] = ...) -> None: ...

class EventChangeList(_message.Message):
    __slots__ = ("list", "syncTime", "hasNext", "targetId", "isCompress")
    LIST_FIELD_NUMBER: _ClassVar[int]
    SYNCTIME_FIELD_NUMBER: _ClassVar[int]
    HASNEXT_FIELD_NUMBER: _ClassVar[int]
    TARGETID_FIELD_NUMBER: _ClassVar[int]
    ISCOMPRESS_FIELD_NUMBER: _ClassVar[int]
    list: _containers.RepeatedCompositeFieldContainer[EventChange]
    syncTime: int
    hasNext: bool
    targetId: str
    isCompress: bool
    def __init__(self, list: _Optional[_Iterable[_Union[EventChange, _Mapping]]] = ..., syncTime: _Optional[int] = ..., hasNext: _Optional[bool] = ..., targetId: _Optional[str] = ..., isCompress: _Optional[bool] = ...) -> None: ...

class EventChange(_message.Message):
    __slots__ = ("businessId", "channelType", "time", "changeType", "originalId", "originalTime", "secondaryId", "isAdmin", "additionalMark", "operatorId", "subChangeType", "secondaryType", "isRemindMe", "extIds", "remindType", "eventData")
    BUSINESSID_FIELD_NUMBER: _ClassVar[int]
    CHANNELTYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    CHANGETYPE_FIELD_NUMBER: _ClassVar[int]
    ORIGINALID_FIELD_NUMBER: _ClassVar[int]
    ORIGINALTIME_FIELD_NUMBER: _ClassVar[int]
    SECONDARYID_FIELD_NUMBER: _ClassVar[int]
    ISADMIN_FIELD_NUMBER: _ClassVar[int]
    ADDITIONALMARK_FIELD_NUMBER: _ClassVar[int]
    OPERATORID_FIELD_NUMBER: _ClassVar[int]
    SUBCHANGETYPE_FIELD_NUMBER: _ClassVar[int]
    SECONDARYTYPE_FIELD_NUMBER: _ClassVar[int]
    ISREMINDME_FIELD_NUMBER: _ClassVar[int]
    EXTIDS_FIELD_NUMBER: _ClassVar[int]
    REMINDTYPE_FIELD_NUMBER: _ClassVar[int]
    EVENTDATA_FIELD_NUMBER: _ClassVar[int]
    businessId: str
    channelType: int
    time: int
    changeType: int
    originalId: str
    originalTime: int
    secondaryId: str
    isAdmin: bool
    additionalMark: bool
    operatorId: str
    subChangeType: int
    secondaryType: int
    isRemindMe: bool
    extIds: _containers.RepeatedScalarFieldContainer[str]
    remindType: int
    eventData: bytes
    def __init__(self, businessId: _Optional[str] = ..., channelType: _Optional[int] = ..., time: _Optional[int] = ..., changeType: _Optional[int] = ..., originalId: _Optional[str] = ..., originalTime: _Optional[int] = ..., secondaryId: _Optional[str] = ..., isAdmin: _Optional[bool] = ..., additionalMark: _Optional[bool] = ..., operatorId: _Optional[str] = ..., subChangeType: _Optional[int] = ..., secondaryType: _Optional[int] = ..., isRemindMe: _Optional[bool] = ..., extIds: _Optional[_Iterable[str]] = ..., remindType: _Optional[int] = ..., eventData: _Optional[bytes] = ...) -> None: ...

class PullModifyMsgReq(_message.Message):
    __slots__ = ("pullVersion", "compress", "modifyType")
    PULLVERSION_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    MODIFYTYPE_FIELD_NUMBER: _ClassVar[int]
    pullVersion: int
    compress: bool
    modifyType: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, pullVersion: _Optional[int] = ..., compress: _Optional[bool] = ..., modifyType: _Optional[_Iterable[int]] = ...) -> None: ...

class PullModifyMsgResp(_message.Message):
    __slots__ = ("msg", "nextVersion", "finished", "compress", "compressedData")
    MSG_FIELD_NUMBER: _ClassVar[int]
    NEXTVERSION_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSEDDATA_FIELD_NUMBER: _ClassVar[int]
    msg: _containers.RepeatedCompositeFieldContainer[ModifyMsg]
    nextVersion: int
    finished: bool
    compress: bool
    compressedData: bytes
    def __init__(self, msg: _Optional[_Iterable[_Union[ModifyMsg, _Mapping]]] = ..., nextVersion: _Optional[int] = ..., finished: _Optional[bool] = ..., compress: _Optional[bool] = ..., compressedData: _Optional[bytes] = ...) -> None: ...

class ModifyMsg(_message.Message):
    __slots__ = ("modifyType", "msg")
    MODIFYTYPE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    modifyType: int
    msg: DownStreamMessage
    def __init__(self, modifyType: _Optional[int] = ..., msg: _Optional[_Union[DownStreamMessage, _Mapping]] = ...) -> None: ...

class BotInput(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class BotOutput(_message.Message):
    __slots__ = ("bots",)
    BOTS_FIELD_NUMBER: _ClassVar[int]
    bots: _containers.RepeatedCompositeFieldContainer[BotInfo]
    def __init__(self, bots: _Optional[_Iterable[_Union[BotInfo, _Mapping]]] = ...) -> None: ...

class BotInfo(_message.Message):
    __slots__ = ("id", "name", "portraitUrl", "type", "metadata", "createTime", "updateTime")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORTRAITURL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    CREATETIME_FIELD_NUMBER: _ClassVar[int]
    UPDATETIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    portraitUrl: str
    type: str
    metadata: _containers.RepeatedCompositeFieldContainer[MetadataInfo]
    createTime: int
    updateTime: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., portraitUrl: _Optional[str] = ..., type: _Optional[str] = ..., metadata: _Optional[_Iterable[_Union[MetadataInfo, _Mapping]]] = ..., createTime: _Optional[int] = ..., updateTime: _Optional[int] = ...) -> None: ...

class MetadataInfo(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
