/* The open conversation: its messages, and what is done with them. */

import { parts } from "./conversations.js";
import { messageRow, paintNote, paintRecalled, paintTick, placeRow } from "./rows.js";
import { BEGINNING, failureText } from "./words.js";

const HISTORY_PAGE = 30; // messages
const NEAR = 120; // pixels from the top at which the page before is fetched
const READ_A_CALL = 100; // messages of a group, the newest ones

const $ = (id) => document.getElementById(id);
const $$ = (parent, selector) => parent.querySelector(selector);

export class Thread {
  #client;
  #list;
  #openPicture;
  #rows = new Map(); // uid -> <li>
  #next = 0; // ms: the page before begins there; 0: none was fetched
  #more = true;
  #loading = false;
  #newest = null; // message of others
  isClosed = false; // another conversation is open: what still comes of this one is not shown

  constructor(name, { client, list, openPicture }) {
    this.name = name;
    Object.assign(this, parts(name)); // type, id
    this.#client = client;
    this.#list = list;
    this.#openPicture = openPicture;
    $("messages").replaceChildren();
    $("history-state").textContent = "";
  }

  // ---- history ----

  /** Joins what has to be joined, and shows the newest messages. */
  async begin() {
    if (this.#next) return;
    $("history-state").textContent = "Loading…";
    try {
      if (this.type === "room") await this.#client.join(this.id);
      await this.loadPage();
    } catch (error) {
      if (!this.isClosed) $("history-state").textContent = failureText(error);
    }
  }

  async loadPage() {
    if (this.#loading || !this.#more || this.#client.state !== "online") return;
    this.#loading = true;
    $("history-state").textContent = "Loading…";
    try {
      const page = await this.#client.history(this.name, { before: this.#next, count: HISTORY_PAGE });
      if (!this.isClosed) this.#showPage(page);
    } catch (error) {
      if (!this.isClosed) $("history-state").textContent = failureText(error);
    } finally {
      this.#loading = false;
    }
    const scroll = $("scroll");
    if (this.#next && !this.isClosed && scroll.scrollHeight <= scroll.clientHeight) await this.loadPage();
  }

  #showPage({ messages, next, more }) {
    const scroll = $("scroll");
    const isFirst = this.#next === 0;
    const fromEnd = scroll.scrollHeight - scroll.scrollTop;
    for (const message of messages) this.show(message);
    this.#next = next || 1; // 1: there is nothing before
    this.#more = more;
    $("history-state").textContent = more || !this.#rows.size ? "" : BEGINNING;
    // The first page shows the end; older pages go above what is being read.
    scroll.scrollTop = isFirst ? scroll.scrollHeight : scroll.scrollHeight - fromEnd;
    this.tellRead();
  }

  onScroll() {
    if (this.#next && $("scroll").scrollTop < NEAR) this.loadPage();
  }

  // ---- messages ----

  /** Once: what a pull has brought is in the first page of the history too. */
  show(message) {
    if (this.#rows.has(message.uid)) return;
    const scroll = $("scroll");
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
    const row = messageRow(message, this.#openPicture);
    this.#rows.set(message.uid, row);
    if (message.mine) this.#offerActions(row, message);
    else if (message.time > (this.#newest?.time ?? 0)) this.#newest = message;
    placeRow($("messages"), row, message.time);
    if (atEnd || (message.mine && message.live)) scroll.scrollTop = scroll.scrollHeight;
  }

  #offerActions(row, message) {
    if (this.type === "user") paintTick(row, message.time <= (this.#list.get(this.name)?.readTo ?? 0));
    $$(row, ".actions").hidden = false;
    $$(row, ".recall").onclick = () => this.#recall(message, row);
    $$(row, ".readers").hidden = this.type !== "group";
    $$(row, ".readers").onclick = () => this.#showReaders(message, row);
  }

  async #recall({ conversation, uid, time }, row) {
    const button = $$(row, ".recall");
    button.disabled = true;
    try {
      await this.#client.recall({ conversation, uid, time });
      $("text").focus(); // the button that had it is gone
    } catch (error) {
      button.disabled = false;
      paintNote(row, failureText(error));
    }
  }

  async #showReaders({ uid }, row) {
    try {
      const { users, members } = await this.#client.readers(this.name, uid);
      const others = Math.max(members - 1, users.length); // the sender does not tell himself
      paintNote(
        row,
        users.length ? `Read by ${users.join(", ")} (${users.length} of ${others})` : "Read by nobody yet",
      );
    } catch (error) {
      paintNote(row, failureText(error));
    }
  }

  /** Who sent a message may take it away, and nobody else. */
  recalled({ sender, uid }) {
    const row = this.#rows.get(uid);
    if (row?.dataset.sender === sender && row.matches(":not(.recalled)")) paintRecalled(row);
  }

  readTo(time) {
    for (const row of this.#rows.values())
      if (row.matches(".mine:not(.recalled)")) paintTick(row, Number(row.dataset.time) <= time);
  }

  // ---- telling others what has been read ----

  #telling = false;

  /** Once for all that comes in one go, again when more is seen. Rooms have no receipts. */
  tellRead() {
    if (this.#telling || this.type === "room") return;
    this.#telling = true;
    queueMicrotask(async () => {
      this.#telling = false;
      const before = this.#list.get(this.name)?.told ?? 0;
      const newest = this.#newest;
      if (!this.#list.get(this.name)) return;
      if (!newest || newest.time <= before || this.isClosed || document.visibilityState !== "visible") return;
      this.#list.change(this.name, { told: newest.time });
      try {
        await (this.type === "user" ? this.#client.read(this.name, newest) : this.#readInGroup(before));
      } catch {
        // The next message or the next look tries again.
        if (this.#list.get(this.name)?.told === newest.time) this.#list.change(this.name, { told: before });
      }
    });
  }

  async #readInGroup(before) {
    const read = [...this.#rows].filter(
      ([, row]) => row.matches(":not(.mine, .recalled)") && Number(row.dataset.time) > before,
    );
    const newestLast = read.sort(([, a], [, b]) => a.dataset.time - b.dataset.time);
    const uids = newestLast.slice(-READ_A_CALL).map(([uid]) => uid);
    if (uids.length) await this.#client.readInGroup(this.name, uids);
  }
}
