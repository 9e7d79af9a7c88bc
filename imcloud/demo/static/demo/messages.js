/* messages.js: what a message says, from the bytes of imcloud's protocol. */

import { decode } from "./wire.js";

export const RECALL = "RC:RcCmd";
export const READ = "RC:ReadNtf";
export const PRIVATE = 1; // ChannelType
const SENT = 1; // DownStreamMessage.direction
const PERSISTED = 0x10; // in DownStreamMessage.status
const COUNTED = 0x20;

/** A DownStreamMessage as the detail of "message"; null when it is not of a private conversation. */
export function received(bytes, me) {
  const fields = decode(bytes);
  if (fields.number(2) !== PRIVATE) return null;
  const mine = fields.number(10) === SENT; // of an own message the server names the peer, not the sender
  const peer = fields.string(1);
  return {
    uid: fields.string(9),
    peer,
    sender: mine ? me : peer,
    mine,
    time: fields.number(6),
    kind: fields.string(4),
    counted: (fields.number(7) & COUNTED) > 0,
    stored: (fields.number(7) & PERSISTED) > 0,
    clientId: fields.number(14),
    ...readBody(fields.string(5)),
  };
}

/** The UpStreamMessage of another own device, with the uid and time of its acknowledgement. */
export function sentElsewhere({ target, body }, { uid, time }, me) {
  const fields = decode(body);
  const flags = fields.number(1);
  const read = readBody(fields.string(3));
  const peer = fields.string(2) === RECALL ? read.content?.targetId : target; // a recall is sent to oneself
  return {
    uid,
    peer,
    sender: me,
    mine: true,
    time,
    kind: fields.string(2),
    counted: (flags & 2) > 0,
    stored: (flags & 1) > 0,
    clientId: fields.number(10),
    ...read,
  };
}

function readBody(json) {
  try {
    const content = JSON.parse(json);
    return { content, text: typeof content?.content === "string" ? content.content : "" };
  } catch {
    return { content: null, text: "" }; // an app may send what is not JSON
  }
}
