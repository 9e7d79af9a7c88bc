/* The list of conversations: the last message of each and how many are unread, kept in localStorage. */

import { parts } from "./conversations.js";
import { plainText } from "./paint.js";
import { conversationRow } from "./rows.js";
import { RECALLED } from "./words.js";

const $ = (id) => document.getElementById(id);

export class ConversationList {
  #key;
  #me;
  #open;
  #saving = false;
  // Conversation -> { uid, time, text, sender, unread, readTo: ms up to which the peer has read, told: up to which
  // one has told that one has }
  #entries;
  current = ""; // the one that is open

  /** open(conversation) is called when somebody chooses one. */
  constructor(key, me, open) {
    this.#key = key;
    this.#me = me;
    this.#open = open;
    this.#entries = new Map(JSON.parse(localStorage.getItem(key)) ?? []);
    for (const name of this.#entries.keys()) if (!parts(name)) this.#entries.delete(name);
  }

  get(conversation) {
    return this.#entries.get(conversation);
  }

  /** Those of a type, by ID. */
  ids(type) {
    return [...this.#entries.keys()].map(parts).flatMap((each) => (each.type === type ? [each.id] : []));
  }

  change(conversation, fields) {
    const before = this.#entries.get(conversation) ?? { time: Date.now(), text: "", unread: 0 };
    this.#entries.set(conversation, { ...before, ...fields });
    this.#save();
  }

  remove(conversation) {
    if (this.#entries.delete(conversation)) this.#save();
  }

  /** A message has come; `seen`: it is before somebody's eyes. */
  add(message, seen) {
    const { conversation, uid, time, sender, counted } = message;
    const before = this.get(conversation);
    const newest = !before?.uid || time >= before.time ? { uid, time, sender, text: plainText(message) } : {};
    this.change(conversation, {
      ...newest,
      unread: seen ? 0 : (before?.unread ?? 0) + (counted ? 1 : 0),
    });
  }

  recall({ conversation, sender, uid }) {
    const entry = this.get(conversation);
    if (entry?.uid === uid && entry.sender === sender) this.change(conversation, { text: RECALLED });
  }

  markRead(conversation) {
    if (this.get(conversation)?.unread) this.change(conversation, { unread: 0 });
  }

  /** Once for all the messages that a pull tells in one go. */
  #save() {
    if (this.#saving) return;
    this.#saving = true;
    queueMicrotask(() => {
      this.#saving = false;
      localStorage.setItem(this.#key, JSON.stringify([...this.#entries]));
      this.paint();
    });
  }

  paint() {
    const byTime = [...this.#entries].sort(([, a], [, b]) => b.time - a.time);
    const focused = document.activeElement?.closest?.("#conversations li")?.dataset.name;
    const rows = byTime.map(([name, entry]) => {
      const row = conversationRow(parts(name), entry, { me: this.#me, isOpen: name === this.current });
      row.dataset.name = name;
      row.firstElementChild.onclick = () => this.#open(name);
      return row;
    });
    $("conversations").replaceChildren(...rows);
    if (focused !== undefined) rows.find((row) => row.dataset.name === focused)?.firstElementChild.focus();
    $("no-conversations").hidden = rows.length > 0;
    const unread = byTime.reduce((sum, [, entry]) => sum + entry.unread, 0);
    document.title = (unread ? `(${unread}) ` : "") + `${this.#me} · imcloud demo`;
  }
}
