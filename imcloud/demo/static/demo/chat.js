/* The demo page: shows what imcloud.js tells, sends what people type. Text enters it as textContent only. */

import { Client, Failure } from "./imcloud.js";
import { isToday, paintAvatar, paintTime, plainText } from "./paint.js";

const HISTORY_PAGE = 30; // messages
const TYPING_EVERY = 3_000; // ms between two notices of typing
const TYPING_SHOWN = 5_000; // ms
const SESSION = "imcloud-demo"; // sessionStorage: each window may be another user

const $ = (id) => document.getElementById(id);
const $$ = (parent, selector) => parent.querySelector(selector);

let session; // { userId, token, appKey, platform }
let client;
let conversations; // Map: peer -> { time, text, mine, unread }, saved in localStorage
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

const STATE_TEXT = {
  connecting: "Connecting…",
  online: "Online",
  waiting: "Connection lost, trying again…",
  kicked: "Signed in elsewhere",
  refused: "Refused",
  closed: "Signed out",
};

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
      ? { time: message.time, text: plainText(message), mine: message.mine }
      : before;
  conversations.set(message.peer, { ...before, ...newest, unread });
  saveConversations();
  if (message.sender === current?.peer) showTyping("");
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
    ...byTime.map(([peer, conversation]) => conversationRow(peer, conversation)),
  );
  if (focused !== undefined)
    [...$("conversations").children].find((row) => row.dataset.peer === focused)?.firstElementChild.focus();
  $("no-conversations").hidden = conversations.size > 0;
  const unread = byTime.reduce((sum, [, conversation]) => sum + conversation.unread, 0);
  document.title = (unread ? `(${unread}) ` : "") + `${session.userId} · imcloud demo`;
}

function conversationRow(peer, { time, text, mine, unread }) {
  const row = $("conversation-row").content.firstElementChild.cloneNode(true);
  row.dataset.peer = peer;
  paintAvatar($$(row, ".avatar"), peer);
  $$(row, ".name").textContent = peer;
  paintTime($$(row, "time"), time, isToday(time) ? { timeStyle: "short" } : { dateStyle: "short" });
  $$(row, ".last").textContent = mine ? `You: ${text}` : text;
  $$(row, ".unread").textContent = unread || "";
  if (unread) $$(row, ".unread").setAttribute("aria-label", `${unread} unread`);
  const button = $$(row, "button");
  button.setAttribute("aria-current", String(current?.peer === peer));
  button.onclick = () => open(peer);
  return row;
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
  for (const draft of pending.values()) if (draft.peer === peer) placeRow(draft.row, draft.time);
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
  placeRow(row, message.time);
  if (atEnd || (message.mine && message.live)) scroll.scrollTop = scroll.scrollHeight;
}

function messageRow(message) {
  const row = $("message-row").content.firstElementChild.cloneNode(true);
  row.classList.toggle("mine", message.mine);
  row.classList.toggle("other-kind", message.kind !== "RC:TxtMsg");
  $$(row, ".bubble").textContent = plainText(message);
  $$(row, ".sending").textContent = message.mine ? "✓" : "";
  if (message.mine) $$(row, ".sending").setAttribute("aria-label", "sent");
  return row;
}

/** Put the row where its time belongs, and the day's name where a day begins. */
function placeRow(row, time) {
  row.dataset.time = time;
  paintTime($$(row, ".about time"), time, { timeStyle: "short" });
  row.remove();
  let after = $("messages").lastElementChild;
  while (after && Number(after.dataset.time) > time) after = after.previousElementSibling;
  if (after) after.after(row);
  else $("messages").prepend(row);
  for (const changed of [row, row.nextElementSibling]) if (changed) paintDay(changed);
}

function paintDay(row) {
  const day = (li) => new Date(Number(li.dataset.time)).toDateString();
  const first = !row.previousElementSibling || day(row.previousElementSibling) !== day(row);
  const time = Number(row.dataset.time);
  const name = isToday(time) ? "Today" : new Date(time).toLocaleDateString([], { dateStyle: "full" });
  $$(row, ".day").textContent = first ? name : "";
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
  placeRow(draft.row, draft.time);
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
  $$(row, ".sending").removeAttribute("aria-label");
  $$(row, ".sending").textContent = text;
  $$(row, ".retry").hidden = state !== "failed";
}

function failureText(code) {
  const text = {
    405: "This user has blocked you.",
    [Failure.TIMEOUT]: "The server did not answer.",
    [Failure.OFFLINE]: "Not connected.",
    [Failure.CONNECTION_LOST]: "Not sent.",
    [Failure.TOO_BIG]: "Too long.",
  }[code];
  return text ?? `The server refused it (${code}).`;
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
  if (document.visibilityState === "visible" && current) markRead(current.peer);
});

const saved = JSON.parse(sessionStorage.getItem(SESSION));
if (saved) begin(saved);
