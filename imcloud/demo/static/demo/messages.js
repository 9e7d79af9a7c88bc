/* messages.js: what a message says, from the bytes of imcloud's protocol. */

import { named, typeOf, typeOfMethod } from "./conversations.js";
import { decode } from "./wire.js";

export const TEXT = "RC:TxtMsg";
export const PICTURE = "RC:ImgMsg";
export const TYPING = "RC:TypSts";
export const RECALL = "RC:RcCmd";
export const READ = "RC:ReadNtf";
const SENT = 1; // DownStreamMessage.direction
const PERSISTED = 0x10; // in DownStreamMessage.status
const COUNTED = 0x20;

/** A DownStreamMessage as the detail of "message"; null when it is of no conversation that is offered here. */
export function received(bytes, me) {
  const fields = decode(bytes);
  const type = typeOf(fields.number(2));
  if (!type) return null;
  const [from, target] = [fields.string(1), fields.string(3)];
  const sent = fields.number(10) === SENT; // an own private message names the peer, not the sender
  const sender = sent ? me : from;
  return {
    uid: fields.string(9),
    conversation: named(type, type === "user" ? from : target),
    sender,
    mine: sender === me, // a chatroom shows one's own messages as received
    time: fields.number(6),
    kind: fields.string(4),
    counted: (fields.number(7) & COUNTED) > 0,
    stored: (fields.number(7) & PERSISTED) > 0,
    clientId: fields.number(14),
    ...readBody(fields.string(5)),
  };
}

/** The UpStreamMessage of another own device, with the uid and time of its acknowledgement. */
export function sentElsewhere({ topic, target, body }, { uid, time }, me) {
  const fields = decode(body);
  const flags = fields.number(1);
  const read = readBody(fields.string(3));
  const recalls = fields.string(2) === RECALL; // it is sent to oneself
  const type = recalls ? typeOf(read.content?.conversationType) : typeOfMethod(topic);
  if (!type) return null;
  return {
    uid,
    conversation: named(type, recalls ? read.content.targetId : target),
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
