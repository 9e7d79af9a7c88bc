/* conversations.js: a conversation is named by one text: user/ID, group/ID or room/ID. */

/** ChannelType, and the methods that send, send what is only for those online, and ask for history. */
export const TYPES = Object.freeze({
  user: { number: 1, send: "ppMsgP", status: "ppMsgS", history: "qryPMsg" },
  group: { number: 3, send: "pgMsgP", status: "pgMsgS", history: "qryGMsg" },
  room: { number: 4, send: "chatMsg", status: "chatMsgS", history: "qryCHMsg" },
});

export const named = (type, id) => `${type}/${id}`;

/** { type, id } of a conversation's name; null for what names none. */
export function parts(name) {
  const [type, ...id] = name.split("/"); // an id may have slashes
  return Object.hasOwn(TYPES, type) && id.join("/") ? { type, id: id.join("/") } : null;
}

/** The type of conversation of a ChannelType; undefined for one that is not offered here. */
export function typeOf(number) {
  return Object.keys(TYPES).find((type) => TYPES[type].number === number);
}

/** The type of conversation that a method sends into; its last letter says how, as in ppMsgP and ppMsgN. */
export function typeOfMethod(topic) {
  return Object.keys(TYPES).find((type) => TYPES[type].send.slice(0, -1) === topic.slice(0, -1));
}
