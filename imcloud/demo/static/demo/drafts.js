/* What is being sent: a bubble at once; it is pending until the server has stored the message. */

import { parts } from "./conversations.js";
import { Failure } from "./imcloud.js";
import { messageRow, paintNote, placeRow, removeRow } from "./rows.js";
import { failureText } from "./words.js";

const $ = (id) => document.getElementById(id);
const $$ = (parent, selector) => parent.querySelector(selector);

export class Drafts {
  #client;
  #onStored;
  // clientId -> { conversation, kind, content, file: to be uploaded first, time, row, isSending, unsure }
  #drafts = new Map();

  /** onStored(message) is told of what was sent from here. */
  constructor(client, onStored) {
    this.#client = client;
    this.#onStored = onStored;
  }

  /** To the conversation that is open. */
  add({ conversation, kind, content, file }) {
    const clientId = crypto
      .getRandomValues(new Uint32Array(2))
      .reduce((id, part) => id * 2 ** 21 + (part >>> 11), 0);
    const last = Number($("messages").lastElementChild?.dataset.time ?? 0); // this clock may be behind
    const draft = { conversation, kind, content, file, time: Math.max(Date.now(), last + 1), unsure: false };
    draft.row = messageRow({ mine: true, sender: this.#client.userId, kind, content, text: content.content });
    $$(draft.row, ".retry").onclick = () => this.#attempt(clientId, draft);
    this.#drafts.set(clientId, draft);
    placeRow($("messages"), draft.row, draft.time);
    $("scroll").scrollTop = $("scroll").scrollHeight;
    this.#attempt(clientId, draft);
  }

  /** Show those of a conversation that was opened. */
  show(conversation) {
    for (const draft of this.#drafts.values())
      if (draft.conversation === conversation) placeRow($("messages"), draft.row, draft.time);
  }

  async #attempt(clientId, draft) {
    paintDraft(draft, "pending", "Sending…");
    draft.unsure = false;
    draft.isSending = true;
    const { conversation, kind } = draft;
    try {
      if (draft.file) {
        draft.content.imageUri = await this.#client.upload(draft.file);
        draft.file = null;
      }
      const { content } = draft;
      const stored = await this.#client.send(conversation, content, { kind, clientId });
      const its = { ...stored, conversation, kind, content, clientId, text: content.content };
      this.#onStored({
        ...its,
        sender: this.#client.userId,
        mine: true,
        counted: true,
        stored: true,
        live: true,
      });
    } catch (error) {
      // It may have been stored all the same: then the pull of the next connection brings it.
      draft.unsure = error.code === Failure.CONNECTION_LOST;
      if (!draft.unsure) paintDraft(draft, "failed", failureText(error));
    } finally {
      draft.isSending = false;
    }
  }

  /** A message has come that may be one of these. */
  settle(message) {
    if (!message.mine) return;
    const clientId = this.#drafts.has(message.clientId) ? message.clientId : this.#inRoom(message);
    const draft = this.#drafts.get(clientId);
    if (!draft) return;
    this.#drafts.delete(clientId);
    removeRow(draft.row);
  }

  /** A chatroom does not bring back the clientId of a message whose answer was lost: what it says must do. */
  #inRoom({ conversation, kind, text }) {
    if (parts(conversation).type !== "room") return undefined;
    const its = ([, draft]) =>
      draft.conversation === conversation && draft.kind === kind && draft.content.content === text;
    return [...this.#drafts].find((each) => its(each) && !each[1].isSending)?.[0];
  }

  failUnsure() {
    for (const draft of this.#drafts.values()) {
      if (draft.unsure) paintDraft(draft, "failed", failureText({ code: Failure.CONNECTION_LOST }));
      draft.unsure = false;
    }
  }
}

function paintDraft({ row }, state, text) {
  row.classList.remove("pending", "failed");
  row.classList.add(state);
  paintNote(row, text);
  $$(row, ".retry").hidden = state !== "failed";
}
