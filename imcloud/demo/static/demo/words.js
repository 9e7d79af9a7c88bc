/* What the page says of states and failures. */

import { Failure } from "./imcloud.js";

export const RECALLED = "Message recalled";
export const BEGINNING = "The conversation begins here.";
export const NO_STORE = "This installation has no store for files, so pictures cannot be sent (docs/files.md).";

/** Of the three types of conversation. */
export const TYPE_WORDS = {
  user: { name: "", field: "User to chat with", placeholder: "Chat with…" },
  group: { name: "Group", field: "Group to join", placeholder: "Join or make a group…" },
  room: { name: "Chatroom", field: "Chatroom to join", placeholder: "Join or make a chatroom…" },
};

export const STATE_TEXT = {
  connecting: "Connecting…",
  online: "Online",
  waiting: "Connection lost, trying again…",
  kicked: "Signed in elsewhere",
  refused: "Refused",
  closed: "Signed out",
};

export function failureText(error) {
  const text = {
    405: "This user has blocked you.",
    20604: "Too fast.",
    20606: "Not offered here.",
    22406: "You are not in this group.",
    22408: "You may not write in this group.",
    23406: "You are not in this chatroom.",
    23408: "You may not write in this chatroom.",
    23409: "You have been shown out of this chatroom.",
    23410: "This chatroom is gone.",
    23411: "This chatroom is full.",
    [Failure.TIMEOUT]: "The server did not answer.",
    [Failure.OFFLINE]: "Not connected.",
    [Failure.CONNECTION_LOST]: "Not sent.",
    [Failure.TOO_BIG]: "Too long.",
  }[error.code];
  return text ?? (error.code ? `The server refused it (${error.code}).` : "Not sent.");
}
