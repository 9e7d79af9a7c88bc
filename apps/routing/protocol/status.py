"""The numbers that a server answers with, each written once, with what the client does about it.

Source: the published Web SDKs of generations 2, 4 and 5 (v2, v4, v5 below). A status is 8 bits in CONNACK and
DISCONNECT, 16 bits in PUBACK and QUERYACK.
"""

from __future__ import annotations

from enum import IntEnum


class ConnStatus(IntEnum):
    """CONNACK. v2 knows 0-12 only and throws at others; v4 shows most refusals as 30002, v5 as 31xxx."""

    ACCEPTED = 0
    PROTOCOL_VERSION = 1  # v5 31001; stays away
    APP_ID_REJECTED = 2  # client information or app key; v5 31002
    PLATFORM_UNAVAILABLE = 3  # v4 35008, v5 31003
    TOKEN_INCORRECT = 4  # onTokenIncorrect / 31004: the app asks its own server for a new token
    NOT_AUTHORISED = 5  # v5 31005
    REDIRECT = 6  # all: forgets the cached address, asks navigation again, reconnects
    PACKAGE_NAME = 7  # v5 31007
    APP_BLOCKED = 8  # or deleted; 31008
    USER_BLOCKED = 9  # 31009
    TOKEN_EXPIRED = 10  # v4 31004, v5 31020: as TOKEN_INCORRECT
    DEVICE_MISMATCH = 11  # v5 31021
    HOSTNAME = 12  # this web origin may not connect; v4 35009, v5 31022
    ALREADY_ONLINE = 13  # same class of device online, and it may not be displaced; v4 35010, v5 31023
    LICENCE_COUNT = 14  # v5 31024
    WRONG_CLUSTER = 15  # v5 31025
    APP_AUTHORISATION = 16  # 31026
    PASSWORD_USED = 17  # a one-time password; 31027
    PLATFORM = 18  # 31028
    ACCOUNT_CANCELLED = 19  # v5 31029
    LICENCE_EXPIRED = 20  # v5 31030


class DisconnectStatus(IntEnum):
    """DISCONNECT. v2 throws at more than BLOCKED; after OTHER_DEVICE no SDK reconnects by itself."""

    REDIRECT_OLD = 0  # v4 asks navigation again; v2 shows "disconnected"
    OTHER_DEVICE = 1  # kicked: the same class of device has logged in elsewhere
    USER_BLOCKED = 2
    CLOSED_BY_SERVER = 3
    LOGOUT = 4  # sent by v5 itself when it wants no more push
    BLOCKED = 5  # v4 status 9, v5 31011
    REDIRECT = 6  # v4 and v5 ask navigation again and reconnect
    TOKEN_EXPIRED = 7  # v5 31020
    PROTOCOL_VERSION = 8  # v5 31001
    ACCOUNT_CANCELLED = 9  # v5 31029


class AckStatus(IntEnum):
    """PUBACK and QUERYACK. The SDKs hand every failure to the application unchanged and repeat nothing.

    24001-24016 (calls) and 24401-24416 (ultra groups) belong to features that this server does not have.
    """

    OK = 0
    STORAGE_OFF = 1  # clean history: not kept, or a time in the future; v2 shows 34010
    NOT_BLACKLISTED = 101  # blackStat only, where the status is the answer

    BLOCKED_BY_PEER = 405  # the receiver has blocked the sender
    NOT_WHITELISTED = 407
    PRIVATE_MUTED = 20106
    SYSTEM_CONVERSATION = 20109  # nobody sends into it
    CONTENT_REVIEW = 20112
    CONTENT_REVIEW_REJECTED = 20113
    MODIFY_TOO_LATE = 20114
    TOO_BIG = 20115
    NOT_MODIFIABLE = 20116
    APP_MUTED = 20406
    GROUP_ID_INVALID = 20407
    TOO_FAST = 20604  # over the sender's rate; the same message may be sent later
    OPERATION_BLOCKED = 20605
    NOT_SUPPORTED = 20606  # unknown or switched-off method; harmless at connect, the feature is lost
    BUSY = 20607  # too frequent, here also a server that cannot take it now; may be sent later

    NOT_IN_DISCUSSION = 21406
    DISCUSSION_JOIN = 21407
    DISCUSSION_CREATE = 21408
    DISCUSSION_INVITE = 21409
    SENSITIVE_WORD = 21501  # not delivered
    SENSITIVE_WORD_REPLACED = 21502  # delivered, changed

    EXPANSION_NOT_FOUND = 22201
    EXPANSION_UNSUPPORTED = 22202
    EXPANSION_FORMAT = 22203
    EXPANSION_NOT_AUTHORISED = 22204
    NOT_IN_GROUP = 22406
    GROUP_MUTED = 22408

    NOT_IN_CHATROOM = 23406
    USER_INFO = 23407
    CHATROOM_MUTED = 23408
    CHATROOM_KICKED = 23409
    CHATROOM_NOT_FOUND = 23410
    CHATROOM_FULL = 23411
    CHATROOM_PARAMETERS = 23412
    CHATROOM_ERROR = 23413
    CHATROOM_STORAGE_OFF = 23414
    KV_FULL = 23423
    KV_NOT_OWNER = 23424  # no right to overwrite another user's key
    KV_TOO_FREQUENT = 23425
    KV_OFF = 23426
    KV_NOT_FOUND = 23427
    KV_PARTLY_FAILED = 23428  # the body names the keys
    KV_LIMIT = 23429
    KV_BATCH_LIMIT = 23431

    RECALL_PARAMETERS = 25101  # or an unknown message
    RECALL_NOT_OWN_V2 = 25102  # v2's own table; also: storage off
    RECALL_NOT_OWN = 25107
    SETTINGS_CONFLICT = 26002  # somebody changed them meanwhile: pull, then again
    TOO_MANY_TAGS = 26004
    SUBSCRIPTION_OFF = 26020
    WATCHERS_LIMIT = 26021  # too many subscribe to the users that the body names
    SUBSCRIPTIONS_LIMIT = 26022  # the user subscribes to too many
    PUBLIC_SERVICE_NOT_FOLLOWED = 29106
    PUBLIC_SERVICE = 29201

    # What a server has no number for gets the one that the SDKs themselves give to the same trouble.
    FAILED = 30014  # an error on our side; not stored; may be sent again
    MALFORMED = 33003  # a parameter or the body cannot be read; sending it again fails again
