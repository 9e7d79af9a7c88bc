/* What the page says of states and failures. */

import { Failure } from "./imcloud.js";

export const RECALLED = "Message recalled";

export const STATE_TEXT = {
  connecting: "Connecting…",
  online: "Online",
  waiting: "Connection lost, trying again…",
  kicked: "Signed in elsewhere",
  refused: "Refused",
  closed: "Signed out",
};

export function failureText(code) {
  const text = {
    405: "This user has blocked you.",
    [Failure.TIMEOUT]: "The server did not answer.",
    [Failure.OFFLINE]: "Not connected.",
    [Failure.CONNECTION_LOST]: "Not sent.",
    [Failure.TOO_BIG]: "Too long.",
  }[code];
  return text ?? `The server refused it (${code}).`;
}
