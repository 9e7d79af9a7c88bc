/* What both SDK pages share: window.sdk, filled by the page, and what its SDK has reported. */
window.sdk = { messages: [], states: [], typing: [], errors: [] };
addEventListener("error", (event) => sdk.errors.push(String(event.message)));
addEventListener("unhandledrejection", (event) =>
  sdk.errors.push(String(event.reason?.stack ?? event.reason)),
);

/* A second device class: other runtimes than browsers name theirs in the socket's address. */
const platform = new URLSearchParams(location.search).get("platform");
if (platform) {
  window.WebSocket = class extends WebSocket {
    constructor(url, protocols) {
      super(`${url}&platform=${platform}`, protocols);
    }
  };
}

sdk.message = ({
  conversationType,
  type,
  targetId,
  senderUserId,
  messageUId,
  sentTime,
  messageType,
  messageDirection,
  content,
}) => {
  const kind = conversationType ?? type;
  sdk.messages.push({
    kind,
    target: targetId,
    sender: senderUserId,
    uid: messageUId,
    time: sentTime,
    name: messageType,
    direction: messageDirection,
    text: content?.content,
  });
};
