/* How messages, times and people look. */

export function plainText(message) {
  return message.text || `[${message.kind}]`;
}

export function isToday(time) {
  return new Date(time).toDateString() === new Date().toDateString();
}

export function paintTime(element, time, format) {
  element.dateTime = new Date(time).toISOString();
  element.textContent = new Date(time).toLocaleString([], format);
}

export function paintAvatar(element, name) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  element.style.setProperty("--hue", hue);
  element.textContent = [...name][0];
}
