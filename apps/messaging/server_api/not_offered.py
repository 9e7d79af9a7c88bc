"""What the published SDKs can call and imcloud does not offer: it is told so, instead of "no such path"."""

from __future__ import annotations

# Paths without suffix; each one stands for all that are below it as well.
_WHAT = {
    "/ultragroup": "Ultra groups are",
    "/v2/ultragroups": "Ultra groups are",
    "/message/ultragroup": "Ultra groups are",
    "/v2/message/ultragroup": "Ultra groups are",
    "/v3/message/ultragroup": "Ultra groups are",
    "/entrust": "Hosted groups are",
    "/friend": "Hosted friend lists are",
    "/user/profile": "Hosted profiles are",
    "/v3/bot": "Bots are",
    "/v3/agent": "Agents are",
    "/v3/chat": "Agents are",
    "/rtc": "Calls are",
    "/getImgCode": "SMS is",
    "/sendCode": "SMS is",
    "/verifyCode": "SMS is",
}


def why(path: str) -> str:
    """The sentence for a path that is not offered, empty for one that nobody knows."""
    while path:
        if path in _WHAT:
            return f"{_WHAT[path]} not offered by imcloud."
        path = path.rpartition("/")[0]
    return ""
