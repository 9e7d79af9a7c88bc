/* The demo page: shows what imcloud.js tells, sends what people type. Text enters it as textContent only. */

import { Client, Failure } from "./imcloud.js";
import { paintAvatar, plainText } from "./paint.js";
import { conversationRow, messageRow, paintNote, paintRecalled, paintTick, placeRow } from "./rows.js";
import { RECALLED, STATE_TEXT, failureText } from "./words.js";

const HISTORY_PAGE = 30; // messages
const TYPING_EVERY = 3_000; // ms between two notices of typing
const TYPING_SHOWN = 5_000; // ms
const SESSION = "imcloud-demo"; // sessionStorage: each window may be another user

const $ = (id) => document.getElementById(id);
const $$ = (parent, selector) => parent.querySelector(selector);

let session; // { userId, token, appKey, platform }
let client;
let conversations; // Map: peer -> { uid, time, text, mine, unread, readTo, told }, saved in localStorage
let current = null; // { peer, rows: Map uid -> <li>, oldest: ms, more, loading }
const pending = new Map(); // clientId -> { peer, text, time, row, unsure }: not acknowledged, or refused

// ---- signing in and out ----

async function signIn(event) {
  event.preventDefault();
  $("sign-in-error").textContent = "";
  try {
    const response = await fetch(event.target.action, { method: "POST", body: new FormData(event.target) });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    begin({ ...answer, platform: $("device").value });
  } catch (error) {
    $("sign-in-error").textContent = error.message || "The server does not answer.";
  }
}

function begin(given) {
  session = given;
  sessionStorage.setItem(SESSION, JSON.stringify(session));
  conversations = new Map(JSON.parse(localStorage.getItem(conversationsKey())));
  $("me").textContent = session.userId;
  paintAvatar($("me-avatar"), session.userId);
  $("sign-in").hidden = true;
  $("chat").hidden = false;
  client = new Client({ appKey: session.appKey, platform: session.platform });
  client.addEventListener("state", ({ detail }) => showState(detail));
  client.addEventListener("message", ({ detail }) => onMessage(detail));
  client.addEventListener("typing", ({ detail }) => onTyping(detail.peer));
  client.addEventListener("recalled", ({ detail }) => onRecalled(detail));
  client.addEventListener("read", ({ detail }) => onRead(detail));
  client.addEventListener("synced", failUnsure);
  client.connect(session.token);
  paintConversations();
  route();
}

function signOut() {
  client.close();
  sessionStorage.removeItem(SESSION);
  location.replace(location.pathname); // the shortest way to forget everything
}

// ---- the connection ----

function showState({ state, code }) {
  for (const place of document.querySelectorAll(".connection")) {
    place.dataset.state = state;
    place.lastElementChild.textContent = STATE_TEXT[state];
  }
  $("banner").hidden = !["kicked", "refused"].includes(state);
  if (state === "kicked") {
    $("banner-text").textContent = "You are signed in elsewhere.";
    $("banner-button").textContent = "Use this window";
    $("banner-button").onclick = () => client.connect(session.token);
  } else if (state === "refused") {
    $("banner-text").textContent = `The server refuses the connection (${code}).`;
    $("banner-button").textContent = "Sign in again";
    $("banner-button").onclick = signOut;
  } else if (state === "online" && current && !current.oldest) loadHistory();
  if (!$("banner").hidden) failUnsure();
}

// ---- the list of conversations ----

function conversationsKey() {
  return `imcloud-demo:${session.appKey}:${session.userId}:${session.platform}`;
}

function onMessage(message) {
  if (message.stored) {
    settle(pending.get(message.clientId), message);
    if (current?.peer === message.peer) showMessage(message);
  }
  if (!message.stored && !message.counted) return;
  const before = conversations.get(message.peer) ?? { time: 0, unread: 0 };
  const seen = message.mine || (current?.peer === message.peer && document.visibilityState === "visible");
  const unread = seen ? 0 : before.unread + (message.counted ? 1 : 0);
  const newest =
    message.time >= before.time
      ? { uid: message.uid, time: message.time, text: plainText(message), mine: message.mine }
      : before;
  conversations.set(message.peer, { ...before, ...newest, unread });
  saveConversations();
  if (message.sender === current?.peer) showTyping("");
  tellRead();
}

/** Of a peer's recall only the peer's messages are taken away, of an own one only own messages. */
function onRecalled({ peer, mine, uid }) {
  const row = current?.peer === peer ? current.rows.get(uid) : undefined;
  if (row?.matches(mine ? ".mine:not(.recalled)" : ":not(.mine, .recalled)")) paintRecalled(row);
  const conversation = conversations.get(peer);
  if (conversation?.uid === uid && conversation.mine === mine) {
    conversation.text = RECALLED;
    saveConversations();
  }
}

function onRead({ peer, time }) {
  const conversation = conversations.get(peer);
  if (!conversation || time <= (conversation.readTo ?? 0)) return;
  conversation.readTo = time;
  saveConversations();
  if (current?.peer !== peer) return;
  for (const row of current.rows.values())
    if (row.matches(".mine:not(.recalled)")) paintTick(row, Number(row.dataset.time) <= time);
}

let telling = false;

/** The peer is told how far has been read: once for all that comes in one go, again when more is seen. */
function tellRead() {
  if (telling) return;
  telling = true;
  queueMicrotask(async () => {
    telling = false;
    const conversation = conversations.get(current?.peer);
    const { peer, newest } = current ?? {};
    if (!conversation || !newest || newest.time <= (conversation.told ?? 0)) return;
    if (document.visibilityState !== "visible") return;
    const before = conversation.told;
    conversation.told = newest.time;
    try {
      await client.read(peer, newest);
      saveConversations();
    } catch {
      const now = conversations.get(peer); // the next message or the next look tries again
      if (now?.told === newest.time) now.told = before;
    }
  });
}

let saving = false;

/** Once for all the messages that a pull tells in one go. */
function saveConversations() {
  if (saving) return;
  saving = true;
  queueMicrotask(() => {
    saving = false;
    localStorage.setItem(conversationsKey(), JSON.stringify([...conversations]));
    paintConversations();
  });
}

function markRead(peer) {
  const conversation = conversations.get(peer);
  if (!conversation?.unread) return;
  conversation.unread = 0;
  saveConversations();
}

function paintConversations() {
  const byTime = [...conversations].sort(([, a], [, b]) => b.time - a.time);
  const focused = document.activeElement?.closest?.("#conversations li")?.dataset.peer;
  $("conversations").replaceChildren(
    ...byTime.map(([peer, conversation]) =>
      conversationRow(peer, conversation, current?.peer === peer, () => open(peer)),
    ),
  );
  if (focused !== undefined)
    [...$("conversations").children].find((row) => row.dataset.peer === focused)?.firstElementChild.focus();
  $("no-conversations").hidden = conversations.size > 0;
  const unread = byTime.reduce((sum, [, conversation]) => sum + conversation.unread, 0);
  document.title = (unread ? `(${unread}) ` : "") + `${session.userId} · imcloud demo`;
}

// ---- the open conversation; its peer is the page's #fragment, so reloading and going back work ----

function open(peer) {
  location.hash = encodeURIComponent(peer);
}

function route() {
  if (!session) return;
  const peer = new URLSearchParams(`peer=${location.hash.slice(1)}`).get("peer"); // decodes, and never throws
  if (peer !== (current?.peer ?? "")) {
    current = peer ? { peer, rows: new Map(), oldest: 0, more: true, loading: false } : null;
    $("messages").replaceChildren();
    showTyping("");
    if (current) showConversation();
  }
  $("conversation").hidden = !current;
  $("nothing-open").hidden = Boolean(current);
  paintConversations();
}

function showConversation() {
  const { peer } = current;
  $("peer").textContent = peer;
  paintAvatar($("peer-avatar"), peer);
  markRead(peer);
  for (const draft of pending.values()) if (draft.peer === peer) placeRow($("messages"), draft.row, draft.time);
  loadHistory();
  $("conversation").hidden = false;
  $("text").focus();
}

async function loadHistory() {
  const conversation = current;
  if (conversation.loading || !conversation.more || client.state !== "online") return;
  conversation.loading = true;
  $("history-state").textContent = "Loading…";
  try {
    const page = await client.history(conversation.peer, {
      before: conversation.oldest,
      count: HISTORY_PAGE,
    });
    if (conversation !== current) return;
    const scroll = $("scroll");
    const fromEnd = scroll.scrollHeight - scroll.scrollTop;
    for (const message of page.messages) showMessage(message);
    // The first page shows the end; older pages go above what is being read.
    scroll.scrollTop = conversation.oldest ? scroll.scrollHeight - fromEnd : scroll.scrollHeight;
    conversation.oldest = page.messages[0]?.time ?? conversation.oldest;
    conversation.more = page.more;
    $("history-state").textContent = "";
    tellRead();
  } catch (error) {
    if (conversation === current) $("history-state").textContent = failureText(error.code);
  } finally {
    conversation.loading = false;
  }
}

function onScroll() {
  if (current?.oldest && $("scroll").scrollTop < 120) loadHistory();
}

function showMessage(message) {
  if (current.rows.has(message.uid)) return;
  const scroll = $("scroll");
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  const row = messageRow(message);
  current.rows.set(message.uid, row);
  if (message.mine) {
    paintTick(row, message.time <= (conversations.get(current.peer)?.readTo ?? 0));
    $$(row, ".recall").hidden = false;
    $$(row, ".recall").onclick = () => recall(message, row);
  } else if (message.time > (current.newest?.time ?? 0)) current.newest = message;
  placeRow($("messages"), row, message.time);
  if (atEnd || (message.mine && message.live)) scroll.scrollTop = scroll.scrollHeight;
}

async function recall({ peer, uid, time }, row) {
  const button = $$(row, ".recall");
  button.disabled = true;
  try {
    await client.recall({ peer, uid, time });
    $("text").focus(); // the button that had it is gone
  } catch (error) {
    button.disabled = false;
    paintNote(row, failureText(error.code));
  }
}

// ---- sending: a bubble at once; it is pending until the server has stored the message ----

function sendText(event) {
  event?.preventDefault();
  const text = $("text").value.trim();
  if (!text || !current) return;
  $("text").value = "";
  typedAt = 0;
  fitComposer();
  const clientId = crypto
    .getRandomValues(new Uint32Array(2))
    .reduce((id, part) => id * 2 ** 21 + (part >>> 11), 0);
  const last = Number($("messages").lastElementChild?.dataset.time ?? 0); // this machine's clock may be behind
  const draft = { peer: current.peer, text, time: Math.max(Date.now(), last + 1), unsure: false };
  draft.row = messageRow({ mine: true, kind: "RC:TxtMsg", text });
  $$(draft.row, ".retry").onclick = () => attempt(clientId, draft);
  pending.set(clientId, draft);
  placeRow($("messages"), draft.row, draft.time);
  $("scroll").scrollTop = $("scroll").scrollHeight;
  attempt(clientId, draft);
}

async function attempt(clientId, draft) {
  paintDraft(draft, "pending", "Sending…");
  draft.unsure = false;
  const { peer, text } = draft;
  try {
    const { uid, time } = await client.send(peer, text, { clientId });
    onMessage({
      uid,
      peer,
      sender: client.userId,
      mine: true,
      time,
      kind: "RC:TxtMsg",
      text,
      counted: true,
      stored: true,
      clientId,
      live: true,
    });
  } catch (error) {
    // It may have been stored all the same: then the pull of the next connection brings it.
    draft.unsure = error.code === Failure.CONNECTION_LOST;
    if (!draft.unsure) paintDraft(draft, "failed", failureText(error.code));
  }
}

function settle(draft, message) {
  if (!draft || !message.mine) return;
  pending.delete(message.clientId);
  draft.row.remove();
}

function failUnsure() {
  for (const draft of pending.values()) {
    if (draft.unsure) paintDraft(draft, "failed", failureText(Failure.CONNECTION_LOST));
    draft.unsure = false;
  }
}

function paintDraft({ row }, state, text) {
  row.classList.remove("pending", "failed");
  row.classList.add(state);
  paintNote(row, text);
  $$(row, ".retry").hidden = state !== "failed";
}

// ---- typing ----

let typedAt = 0;
let typingTimer = 0;

function onInput() {
  fitComposer();
  if (current && $("text").value && Date.now() - typedAt > TYPING_EVERY) {
    typedAt = Date.now();
    client.typing(current.peer);
  }
}

function onTyping(peer) {
  if (peer === current?.peer) showTyping("typing…");
}

function showTyping(text) {
  clearTimeout(typingTimer);
  $("typing").textContent = text;
  if (text) typingTimer = setTimeout(() => showTyping(""), TYPING_SHOWN);
}

function fitComposer() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`; // 2: its borders
}

// ---- what people do ----

$("sign-in-form").addEventListener("submit", signIn);
$("sign-out").addEventListener("click", signOut);
$("open-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const peer = $("peer-name").value.trim().normalize("NFC");
  event.target.reset();
  if (peer) open(peer);
});
$("back").addEventListener("click", () => open(""));
$("composer").addEventListener("submit", sendText);
$("text").addEventListener("input", onInput);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) sendText(event);
});
$("scroll").addEventListener("scroll", onScroll, { passive: true });
addEventListener("hashchange", route);
addEventListener("keydown", (event) => event.key === "Escape" && current && open(""));
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible" || !current) return;
  markRead(current.peer);
  tellRead();
});

const saved = JSON.parse(sessionStorage.getItem(SESSION));
if (saved) begin(saved);
