/* How messages, times and people look. */

import { PICTURE } from "./messages.js";

export function plainText(message) {
  if (message.kind === PICTURE) return "Picture";
  return message.text || `[${message.kind}]`;
}

export function isToday(time) {
  return new Date(time).toDateString() === new Date().toDateString();
}

export function paintTime(element, time, format) {
  element.dateTime = new Date(time).toISOString();
  element.textContent = new Date(time).toLocaleString([], format);
}

/** The colour of a name: the same for everybody, everywhere. */
export function paintHue(element, name) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  element.style.setProperty("--hue", hue);
}

export function paintAvatar(element, { type, id }) {
  paintHue(element, id);
  element.dataset.type = type;
  element.textContent = [...id][0];
}
