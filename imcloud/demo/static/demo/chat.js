/* The demo page: shows what imcloud.js tells, sends what people do. Text enters it as textContent only. */

import { named, parts } from "./conversations.js";
import { Drafts } from "./drafts.js";
import { Client } from "./imcloud.js";
import { ConversationList } from "./list.js";
import { PICTURE, TEXT } from "./messages.js";
import { paintAvatar } from "./paint.js";
import { openPicture, thumbnail } from "./pictures.js";
import { Thread } from "./thread.js";
import { Typing } from "./typing.js";
import { NO_STORE, STATE_TEXT, TYPE_WORDS, failureText } from "./words.js";

const SESSION = "imcloud-demo"; // sessionStorage: each window may be another user
const NOTE_SHOWN = 6_000; // ms

const $ = (id) => document.getElementById(id);

let session; // { userId, token, appKey, platform }
let client;
let list;
let drafts;
let thread = null; // the open conversation
const typing = new Typing($("typing"));

// ---- signing in and out ----

/** What the page's own server answers to a form. Rejects with a sentence for a person. */
async function post(path, form) {
  let response, answer;
  try {
    response = await fetch(path, { method: "POST", body: form });
    answer = await response.json();
  } catch {
    throw new Error("The server does not answer.");
  }
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function signIn(event) {
  event.preventDefault();
  $("sign-in-error").textContent = "";
  try {
    const answer = await post(event.target.action, new FormData(event.target));
    begin({ ...answer, platform: $("device").value });
  } catch (error) {
    $("sign-in-error").textContent = error.message;
  }
}

function begin(given) {
  session = given;
  const { appKey, userId, platform } = session;
  sessionStorage.setItem(SESSION, JSON.stringify(session));
  $("me").textContent = userId;
  paintAvatar($("me-avatar"), { type: "user", id: userId });
  $("sign-in").hidden = true;
  $("chat").hidden = false;
  client = new Client({ appKey, platform });
  list = new ConversationList(`imcloud-demo:${appKey}:${userId}:${platform}`, userId, open);
  drafts = new Drafts(client, onMessage);
  const events = {
    state: showState,
    message: onMessage,
    typing: onTyping,
    recalled: onRecalled,
    read: onRead,
    synced: () => drafts.failUnsure(),
    left: onLeft,
  };
  for (const [name, on] of Object.entries(events)) client.addEventListener(name, ({ detail }) => on(detail));
  client.connect(session.token);
  for (const room of list.ids("room")) client.join(room).catch(() => {}); // it is joined when one is online
  list.paint();
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
  } else if (state === "online") {
    $("picture").setAttribute("aria-disabled", String(!client.storesFiles));
    thread?.begin();
  }
  if (!$("banner").hidden) drafts.failUnsure();
}

// ---- what comes ----

function onMessage(message) {
  const isOpen = thread?.name === message.conversation;
  if (message.stored) {
    drafts.settle(message);
    if (isOpen) thread.show(message);
  }
  if (!message.stored && !message.counted) return;
  list.add(message, message.mine || (isOpen && document.visibilityState === "visible"));
  if (isOpen) typing.hide(message.sender);
  thread?.tellRead();
}

function onRecalled(recalled) {
  if (thread?.name === recalled.conversation) thread.recalled(recalled);
  list.recall(recalled);
}

function onRead({ conversation, time }) {
  const known = list.get(conversation);
  if (!known || time <= (known.readTo ?? 0)) return;
  list.change(conversation, { readTo: time });
  if (thread?.name === conversation) thread.readTo(time);
}

function onTyping({ conversation, sender }) {
  if (thread?.name === conversation) typing.show(sender);
}

function onLeft({ conversation, code }) {
  list.remove(conversation);
  if (thread?.name === conversation) open("");
  say(`${parts(conversation).id}: ${failureText({ code })}`);
}

// ---- the open conversation is the page's #fragment, so reloading and going back work ----

function open(conversation) {
  location.hash = conversation.split("/").map(encodeURIComponent).join("/");
}

function route() {
  if (!session) return;
  const fragment = new URLSearchParams(`name=${location.hash.slice(1)}`).get("name"); // decodes, never throws
  const name = parts(fragment) ? fragment : "";
  if (name !== (thread?.name ?? "")) {
    if (thread) thread.isClosed = true;
    typing.clear();
    list.current = name;
    thread = name ? new Thread(name, { client, list, openPicture: showPicture }) : null;
    if (thread) showThread();
  }
  $("conversation").hidden = !thread;
  $("nothing-open").hidden = Boolean(thread);
  list.paint();
}

function showThread() {
  const { name, type, id } = thread;
  $("peer").textContent = id;
  $("conversation").dataset.type = type;
  $("type").textContent = TYPE_WORDS[type].name;
  paintAvatar($("peer-avatar"), { type, id });
  $("leave").hidden = type === "user";
  if (type === "room" && !list.get(name)) list.change(name, {}); // one is in it until one leaves
  list.markRead(name);
  drafts.show(name);
  thread.begin();
  $("conversation").hidden = false;
  $("text").focus();
}

// ---- coming and going: who is in a group the app's server decides, in a chatroom everybody for himself ----

function changeGroup(change, group) {
  const form = new FormData($("sign-in-form")); // for its CSRF token
  for (const [name, value] of Object.entries({ ...session, group })) form.set(name, value);
  return post(`group/${change}`, form);
}

async function openNamed(event) {
  event.preventDefault();
  const type = new FormData(event.target).get("type");
  const id = $("peer-name").value.trim().normalize("NFC");
  if (!id) return;
  try {
    if (type === "group") {
      await changeGroup("join", id);
      if (!list.get(named(type, id))) list.change(named(type, id), {});
    }
    $("peer-name").value = "";
    open(named(type, id));
  } catch (error) {
    say(error.message);
  }
}

async function leave() {
  const { name, type, id } = thread;
  try {
    await (type === "group" ? changeGroup("leave", id) : client.leave(id));
    list.remove(name);
    open("");
  } catch (error) {
    say(error.code ? failureText(error) : error.message);
  }
}

function chooseType() {
  const { field, placeholder } = TYPE_WORDS[new FormData($("open-form")).get("type")];
  $("peer-name").setAttribute("aria-label", field);
  $("peer-name").placeholder = placeholder;
}

// ---- writing ----

function sendText(event) {
  event?.preventDefault();
  const text = $("text").value.trim();
  if (!text || !thread) return;
  $("text").value = "";
  typing.sent();
  fitComposer();
  drafts.add({ conversation: thread.name, kind: TEXT, content: { content: text } });
}

async function sendPicture() {
  const [file] = $("file").files;
  $("file").value = ""; // or the same one could not be chosen again
  const { name } = thread ?? {};
  if (!file || !name) return;
  try {
    const content = { content: await thumbnail(file) };
    if (thread?.name === name) drafts.add({ conversation: name, kind: PICTURE, content, file });
  } catch {
    say("This file is no picture that can be read here.");
  }
}

function showPicture(url) {
  openPicture(url, (each) => client.urlOf(each));
}

function onInput() {
  fitComposer();
  // Not in a chatroom: it may have thousands, and each would be told of each.
  if (thread && thread.type !== "room" && $("text").value && typing.isDue()) client.typing(thread.name);
}

function fitComposer() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`; // 2: its borders
}

let noteTimer = 0;

/** A sentence at the bottom of the page, for a moment. */
function say(text) {
  clearTimeout(noteTimer);
  $("note").textContent = text;
  noteTimer = setTimeout(() => ($("note").textContent = ""), NOTE_SHOWN);
}

// ---- what people do ----

$("sign-in-form").addEventListener("submit", signIn);
$("sign-out").addEventListener("click", signOut);
$("open-form").addEventListener("submit", openNamed);
$("open-form").addEventListener("change", chooseType);
$("back").addEventListener("click", () => open(""));
$("leave").addEventListener("click", leave);
$("composer").addEventListener("submit", sendText);
$("text").addEventListener("input", onInput);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) sendText(event);
});
$("picture").addEventListener("click", () => (client.storesFiles ? $("file").click() : say(NO_STORE)));
$("file").addEventListener("change", sendPicture);
$("scroll").addEventListener("scroll", () => thread?.onScroll(), { passive: true });
addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && thread && !$("viewer").open) open("");
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible" || !thread) return;
  list.markRead(thread.name);
  thread.tellRead();
});

const saved = JSON.parse(sessionStorage.getItem(SESSION));
if (saved) begin(saved);
