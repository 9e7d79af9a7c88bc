/* Rows of the list of conversations, and of a conversation: bubbles by time, days between them, ticks. */

import { isToday, paintAvatar, paintTime, plainText } from "./paint.js";
import { RECALLED } from "./words.js";

const $$ = (parent, selector) => parent.querySelector(selector);

export function conversationRow(peer, { time, text, mine, unread }, isOpen, onOpen) {
  const row = document.getElementById("conversation-row").content.firstElementChild.cloneNode(true);
  row.dataset.peer = peer;
  paintAvatar($$(row, ".avatar"), peer);
  $$(row, ".name").textContent = peer;
  paintTime($$(row, "time"), time, isToday(time) ? { timeStyle: "short" } : { dateStyle: "short" });
  $$(row, ".last").textContent = mine ? `You: ${text}` : text;
  $$(row, ".unread").textContent = unread || "";
  if (unread) $$(row, ".unread").setAttribute("aria-label", `${unread} unread`);
  const button = $$(row, "button");
  button.setAttribute("aria-current", String(isOpen));
  button.onclick = onOpen;
  return row;
}

export function messageRow(message) {
  const row = document.getElementById("message-row").content.firstElementChild.cloneNode(true);
  row.classList.toggle("mine", message.mine);
  row.classList.toggle("other-kind", message.kind !== "RC:TxtMsg");
  $$(row, ".bubble").textContent = plainText(message);
  row.dataset.time = message.time;
  if (message.mine) paintTick(row, false);
  return row;
}

/** Of an own message: one tick when it is stored, two when the peer has read it. */
export function paintTick(row, isRead) {
  const tick = $$(row, ".sending");
  tick.textContent = isRead ? "✓✓" : "✓";
  tick.setAttribute("role", "img");
  tick.setAttribute("aria-label", isRead ? "read" : "sent");
}

/** Words in the tick's place. */
export function paintNote(row, text) {
  const note = $$(row, ".sending");
  note.removeAttribute("role");
  note.removeAttribute("aria-label");
  note.textContent = text;
}

export function paintRecalled(row) {
  row.classList.add("other-kind", "recalled");
  $$(row, ".bubble").textContent = RECALLED;
  $$(row, ".sending").remove();
  $$(row, ".recall").remove();
}

/** Put the row where its time belongs, and the day's name where a day begins. */
export function placeRow(list, row, time) {
  row.dataset.time = time;
  paintTime($$(row, ".about time"), time, { timeStyle: "short" });
  row.remove();
  let after = list.lastElementChild;
  while (after && Number(after.dataset.time) > time) after = after.previousElementSibling;
  if (after) after.after(row);
  else list.prepend(row);
  for (const changed of [row, row.nextElementSibling]) if (changed) paintDay(changed);
}

function paintDay(row) {
  const day = (li) => new Date(Number(li.dataset.time)).toDateString();
  const first = !row.previousElementSibling || day(row.previousElementSibling) !== day(row);
  const time = Number(row.dataset.time);
  const name = isToday(time) ? "Today" : new Date(time).toLocaleDateString([], { dateStyle: "full" });
  $$(row, ".day").textContent = first ? name : "";
}
