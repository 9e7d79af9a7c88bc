/* Rows of the list of conversations, and of a conversation: bubbles by time, days between them, ticks. */

import { PICTURE, TEXT } from "./messages.js";
import { isToday, paintAvatar, paintHue, paintTime, plainText } from "./paint.js";
import { pictureElement } from "./pictures.js";
import { RECALLED } from "./words.js";

const $$ = (parent, selector) => parent.querySelector(selector);

const copyOf = (template) => document.getElementById(template).content.firstElementChild.cloneNode(true);

export function conversationRow({ type, id }, { time, text, sender, unread }, { me, isOpen }) {
  const row = copyOf("conversation-row");
  paintAvatar($$(row, ".avatar"), { type, id });
  $$(row, ".name").textContent = id;
  paintTime($$(row, "time"), time, isToday(time) ? { timeStyle: "short" } : { dateStyle: "short" });
  const by = sender === me ? "You: " : type !== "user" && sender ? `${sender}: ` : "";
  $$(row, ".last").textContent = by + text;
  $$(row, ".unread").textContent = unread || "";
  if (unread) $$(row, ".unread").setAttribute("aria-label", `${unread} unread`);
  $$(row, "button").setAttribute("aria-current", String(isOpen));
  return row;
}

/** openPicture(url) is called when somebody wants to see a picture. */
export function messageRow(message, openPicture) {
  const row = copyOf("message-row");
  row.classList.toggle("mine", message.mine);
  row.classList.toggle("other-kind", ![TEXT, PICTURE].includes(message.kind));
  row.dataset.sender = message.sender;
  $$(row, ".sender").textContent = message.sender;
  paintHue($$(row, ".sender"), message.sender);
  if (message.kind === PICTURE)
    $$(row, ".bubble").replaceChildren(pictureElement(message.content, openPicture));
  else $$(row, ".bubble").textContent = plainText(message);
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
  for (const gone of row.querySelectorAll(".sending, .actions")) gone.remove();
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
  for (const changed of [row, row.nextElementSibling]) if (changed) paintBeginning(changed);
}

/** Takes the row out. */
export function removeRow(row) {
  const next = row.nextElementSibling;
  row.remove();
  if (next) paintBeginning(next);
}

/** The day before the first message of a day, the sender before the first of several. */
function paintBeginning(row) {
  const before = row.previousElementSibling;
  const day = (li) => new Date(Number(li.dataset.time)).toDateString();
  const isFirstOfDay = !before || day(before) !== day(row);
  const time = Number(row.dataset.time);
  const name = isToday(time) ? "Today" : new Date(time).toLocaleDateString([], { dateStyle: "full" });
  $$(row, ".day").textContent = isFirstOfDay ? name : "";
  row.classList.toggle("continued", !isFirstOfDay && before.dataset.sender === row.dataset.sender);
}
