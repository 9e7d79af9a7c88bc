/* imcloud.js: a client of imcloud's protocol, made to be read. The bytes are in wire.js.
 *
 *   const client = new Client({ server: "https://im.example.com", appKey: "…" });
 *   client.addEventListener("message", (event) => show(event.detail));
 *   client.addEventListener("state", (event) => console.log(event.detail.state));
 *   client.connect(token);               // the token comes from your own server: POST /user/getToken
 *   const { uid, time } = await client.send("user/bob", { content: "Hello" });
 *   const page = await client.history("user/bob", { count: 30 });
 *   const older = await client.history("user/bob", { before: page.next, count: 30 });
 *   client.close();
 *
 * new Client(options)
 *   server    origin of the navigation service; default: the page's own
 *   appKey    the tenant's key
 *   platform  device class; default "" = "Web". A user has one connection per class, a newer one ends the older
 *   store     { load(key), save(key, value) } for the sync cursor; default: localStorage
 * connect(token)
 *   stays connected, reconnecting by itself, until close() or a final state
 *
 * A conversation is named by a text: "user/ID", "group/ID" or "room/ID" (a chatroom).
 *
 * send(conversation, content, { kind, clientId })
 *   resolves { uid, time } when the message is stored; rejects ProtocolError. kind: the class that says what is
 *   in content; default "RC:TxtMsg". clientId: a number below 2^53 that comes back with the message, to
 *   recognise one whose answer was lost; not in a chatroom
 * typing(conversation)
 *   tells those online; never stored, not acknowledged
 * recall({ conversation, uid, time })
 *   takes an own message back at everybody; told as "recalled" here too
 * read(conversation, { uid, time })
 *   tells the peer of a private conversation that everything up to this message of theirs has been read
 * readInGroup(conversation, uids), readers(conversation, uid)
 *   notes that one has read these messages; resolves { users, members }: who has read the message, of how many
 * history(conversation, { before, count })
 *   resolves { messages, next, more }: the newest `count` before the time (0 = now), oldest first; `next` is
 *   the time before which the next page begins
 * join(room), leave(room)
 *   a chatroom by its ID; sending joins it too. Rooms are joined again with every connection, until one leaves
 * upload(file), urlOf(url)
 *   resolves a URL of the file in the store, if `storesFiles`; resolves one that is good now
 *
 * Events and their detail:
 *   "state"    { state, code, retryIn }: connecting, online, waiting (tries again in retryIn ms); final are
 *              kicked (signed in elsewhere), refused (code: CONNACK, DISCONNECT or HTTP status) and closed
 *   "message"  { uid, conversation, sender, mine, time, kind, text, content, counted, stored, clientId, live },
 *              once per uid; live: pushed or sent just now, not fetched
 *   "typing"   { conversation, sender }
 *   "recalled" { conversation, sender, uid }: by whom, and which message. Believe it of the same sender's only
 *   "read"     { conversation, time }: the peer has read what was sent up to that time
 *   "synced"   everything stored up to now has been told as "message"; chatrooms follow by themselves
 *   "left"     { conversation, code }: the chatroom is gone, or could not be joined again
 *
 * Times are milliseconds since 1970. ProtocolError.code is the server's status (405 = blocked by the peer …)
 * or one of Failure.
 */

import { TYPES, named, parts } from "./conversations.js";
import { Store } from "./files.js";
import { READ, RECALL, TEXT, TYPING, received, sentElsewhere } from "./messages.js";
import { Rooms } from "./rooms.js";
import { Frame, acknowledgement, decode, encode, parse, ping, request } from "./wire.js";

/** Codes that do not come from the server. The published SDKs use the same numbers. */
export const Failure = Object.freeze({ TIMEOUT: -1, OFFLINE: 30001, CONNECTION_LOST: 30011, TOO_BIG: 30016 });

const SDK_VERSION = "5.0.0"; // generation 5: the server may push in any state
const ANSWER_MS = 10_000; // for CONNACK, acknowledgements, query answers and pongs
const PING_MS = 15_000;
const PULL_MS = 180_000; // pulls without being told, which moves the cursor over what was pushed
const PUSHED_MAX = 500; // messages told since the cursor; more make it pull
const RETRY_MS = [500, 5_000]; // first and longest wait between connections
const CONTENT_MAX = 128 * 1024; // bytes
const COPIED = ["ppMsgP", "ppMsgN", "pgMsgP", "recallMsg"]; // of other own devices
const NOTICE = Object.freeze({ MESSAGES: 1, ROOM: 2, ROOM_GONE: 4 }); // of s_ntf, s_ntf, s_cmd
const ROOM_IS_GONE = 23410; // status of what is asked of a chatroom that does not exist
const CONNACK_AGAIN = [3, 6]; // unavailable, redirected: another try may succeed; with any other status not
const DISCONNECT_FINAL = { 0: "", 1: "kicked", 3: "", 4: "closed", 6: "" }; // "": try again; others: refused

export class ProtocolError extends Error {
  constructor(code) {
    super(`status ${code}`);
    this.code = code;
  }
}

const isShown = (message) => message && ![RECALL, READ].includes(message.kind);

const localStore = {
  load: (key) => JSON.parse(localStorage.getItem(key)),
  save: (key, value) => localStorage.setItem(key, JSON.stringify(value)),
};

export class Client extends EventTarget {
  constructor({ server = location.origin, appKey, platform = "", store = localStore }) {
    super();
    Object.assign(this, { server, appKey, platform, store, userId: "", state: "closed" });
    this.device = String(crypto.getRandomValues(new Uint32Array(1))[0]);
    this.run = 0; // counts connect() and close(); what an earlier run still does is void
    this.lastId = 0;
    this.requests = new Map(); // message id -> { resolve, reject, timer }
    this.copies = new Map(); // message id -> PUBLISH of another own device, until its PUBACK
    this.hangUp = () => {}; // ends the connection there is
    const ask = (topic, target, body) => this.#request(Frame.QUERY, topic, target, body);
    const read = (bytes) => received(bytes, this.userId);
    const tell = (message, live) => this.#emitMessage(message, live);
    this.rooms = new Rooms({ ask, read, tell, refused: (id, error) => this.#onRefused(id, error) });
    this.files = new Store((topic, body) => ask(topic, this.userId, body));
  }

  get storesFiles() {
    return this.files.configured;
  }

  async connect(token) {
    const run = ++this.run;
    this.hangUp({});
    let wait = RETRY_MS[0];
    for (let attempt = 0; ; attempt++) {
      this.#enter("connecting");
      const end = await this.#connection(token, attempt, run);
      if (run !== this.run) return;
      if (end.final) return this.#enter(end.final, { code: end.code });
      if (end.wasOnline) wait = RETRY_MS[0];
      this.#enter("waiting", { retryIn: wait });
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (run !== this.run) return;
      wait = Math.min(wait * 2, RETRY_MS[1]);
    }
  }

  close() {
    this.run++;
    this.hangUp({});
    this.#enter("closed");
  }

  async send(conversation, content, { kind = TEXT, clientId } = {}) {
    const { type, id } = parts(conversation);
    const message = encode({ 1: 3, 2: kind, 3: JSON.stringify(content), 10: clientId }); // 1: stored, counted
    if (message.length > CONTENT_MAX) throw new ProtocolError(Failure.TOO_BIG);
    if (type === "room") await this.join(id); // it may be on its way
    return this.#publish(TYPES[type].send, id, message, type === "room" ? id : undefined);
  }

  typing(conversation) {
    if (this.state !== "online") return;
    const { type, id } = parts(conversation);
    const message = encode({ 1: 0, 2: TYPING, 3: JSON.stringify({ typingContentType: TEXT }) });
    this.socket.send(request(Frame.PUBLISH, this.#nextId(), TYPES[type].status, id, message));
  }

  async recall({ conversation, uid, time }) {
    const { type, id } = parts(conversation);
    const what = { conversationType: TYPES[type].number, targetId: id, messageUId: uid, sentTime: time };
    const message = encode({ 1: 1, 2: RECALL, 3: JSON.stringify(what) });
    await this.#publish("recallMsg", this.userId, message, type === "room" ? id : undefined);
    this.#emit("recalled", { conversation, sender: this.userId, uid });
  }

  async read(conversation, { uid, time }) {
    const content = JSON.stringify({ lastMessageSendTime: time, messageUId: uid, type: 1 });
    // 1: neither persisted nor counted
    await this.#publish("ppMsgP", parts(conversation).id, encode({ 1: 0, 2: READ, 3: content }));
  }

  async readInGroup(conversation, uids) {
    await this.#request(Frame.QUERY, "rrMsg", parts(conversation).id, encode({ 1: uids }));
  }

  async readers(conversation, uid) {
    const { body } = await this.#request(Frame.QUERY, "rrList", parts(conversation).id, encode({ 1: uid }));
    const found = decode(body);
    return { users: found.all(2).map((bytes) => decode(bytes).string(2)), members: found.number(1) };
  }

  async history(conversation, { before = 0, count = 30 } = {}) {
    const { type, id } = parts(conversation);
    const wanted = encode({ 1: id, 2: before, 3: count, 4: 0 }); // 4: older than `before`
    const target = type === "room" ? id : this.userId;
    const { body } = await this.#request(Frame.QUERY, TYPES[type].history, target, wanted);
    const page = decode(body);
    const newestFirst = page.all(1).map((bytes) => received(bytes, this.userId));
    const messages = newestFirst.filter(isShown).reverse();
    return { messages, next: page.number(2), more: page.number(3) > 0 };
  }

  join(room) {
    return this.rooms.join(room);
  }

  leave(room) {
    return this.rooms.leave(room);
  }

  upload(file) {
    return this.files.upload(file);
  }

  urlOf(url) {
    return this.files.urlOf(url);
  }

  #enter(state, more = {}) {
    this.state = state;
    this.#emit("state", { state, ...more });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  // ---- one connection: navigation, socket, CONNACK, pings, end ----

  /** Resolves when it is over: { wasOnline } to try again, { final, code } when another try is pointless. */
  async #connection(token, attempt, run) {
    let address;
    try {
      address = await this.#navigate(token, attempt);
    } catch (error) {
      return error instanceof ProtocolError ? { final: "refused", code: error.code } : {};
    }
    if (run !== this.run) return {};
    const query = new URLSearchParams({ appId: this.appKey, token, sdkVer: SDK_VERSION, protocolVer: 3 });
    query.set("deviceId", this.device);
    if (this.platform) query.set("platform", this.platform);
    const socket = new WebSocket(`${address}/websocket?${query}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    return new Promise((resolve) => {
      let wasOnline = false;
      this.timers = { connack: setTimeout(() => this.hangUp({}), ANSWER_MS) };
      this.hangUp = (end) => {
        this.hangUp = () => {};
        Object.values(this.timers).forEach(clearTimeout); // ends intervals too
        socket.onmessage = socket.onclose = null;
        socket.close();
        this.#failRequests();
        resolve({ wasOnline, ...end });
      };
      socket.onclose = () => this.hangUp({});
      socket.onmessage = ({ data }) => {
        try {
          const frame = parse(data);
          if (frame.type === Frame.CONNACK) wasOnline = this.#onConnack(frame);
          else this.#onFrame(frame);
        } catch (error) {
          console.error("imcloud: a frame that cannot be read; connecting again", error);
          this.hangUp({});
        }
      };
    });
  }

  /** ws(s)://host:port. Navigation names several access points, the best first; later attempts take others. */
  async #navigate(token, attempt) {
    const response = await fetch(`${this.server}/v2/navi.json`, {
      method: "POST",
      credentials: "omit",
      headers: { "RC-Appkey": this.appKey },
      body: new URLSearchParams({ token, v: SDK_VERSION }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    if ([401, 403].includes(response.status)) throw new ProtocolError(response.status);
    const answer = await response.json();
    this.files.at(answer.ossConfig);
    const points = answer.serverAddr.sort((a, b) => b.weight - a.weight);
    const { addr, protocol } = points[attempt % points.length];
    return `${protocol === 6 ? "wss" : "ws"}://${addr}`; // protocol 5 = ws, 6 = wss
  }

  /** Whether the server took the connection. */
  #onConnack({ status, userId }) {
    if (status !== 0) {
      this.hangUp(CONNACK_AGAIN.includes(status) ? {} : { final: "refused", code: status });
      return false;
    }
    clearTimeout(this.timers.connack);
    this.timers.ping = setInterval(() => this.#ping(), PING_MS);
    this.timers.pull = setInterval(() => this.#pull(), PULL_MS);
    this.userId = userId;
    this.storeKey = `imcloud:${this.appKey}:${userId}:${this.platform}`;
    const saved = this.store.load(this.storeKey);
    this.cursor = saved?.cursor ?? 0; // everything up to this time has been told
    this.told = new Map(saved?.told); // uid -> time of what has been told beyond the cursor
    this.pulling = false;
    this.#enter("online");
    this.#pull();
    this.rooms.again();
    return true;
  }

  #ping() {
    this.socket.send(ping);
    this.timers.pong = setTimeout(() => this.hangUp({}), ANSWER_MS);
  }

  #onFrame(frame) {
    if (frame.type === Frame.PINGRESP) clearTimeout(this.timers.pong);
    else if (frame.type === Frame.PUBLISH) this.#onPublish(frame);
    else if (frame.type !== Frame.DISCONNECT) this.#onAnswer(frame);
    else this.hangUp({ final: DISCONNECT_FINAL[frame.status] ?? "refused", code: frame.status });
  }

  // ---- requests and their answers ----

  #nextId() {
    do this.lastId = (this.lastId % 0xffff) + 1;
    while (this.requests.has(this.lastId));
    return this.lastId;
  }

  async #request(type, topic, target, body) {
    if (this.state !== "online") throw new ProtocolError(Failure.OFFLINE);
    const id = this.#nextId();
    const answer = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.requests.delete(id);
        reject(new ProtocolError(Failure.TIMEOUT));
      }, ANSWER_MS);
      this.requests.set(id, { resolve, reject, timer });
      this.socket.send(request(type, id, topic, target, body));
    });
    if (answer.status !== 0) throw new ProtocolError(answer.status);
    return answer;
  }

  /** Sends what is stored; remembers that it has been told, in the user's boxes or in a room's. */
  async #publish(topic, target, message, room) {
    const { uid, time } = await this.#request(Frame.PUBLISH, topic, target, message);
    if (room !== undefined) this.rooms.sent(room, { uid, time });
    else {
      this.told.set(uid, time);
      this.#toldLive();
    }
    return { uid, time };
  }

  /** PUBACK or QUERYACK: to a request, or the second half of what another own device sent. */
  #onAnswer(frame) {
    const confirm = frame.type === Frame.QUERYACK && frame.wantsAck;
    if (confirm) this.socket.send(acknowledgement(Frame.QUERYCON, frame.id));
    const waiting = this.requests.get(frame.id);
    const copy = this.copies.get(frame.id);
    if (waiting) {
      this.requests.delete(frame.id);
      clearTimeout(waiting.timer);
      waiting.resolve(frame);
    } else if (copy) {
      this.copies.delete(frame.id);
      const message = sentElsewhere(copy, frame, this.userId);
      if (message) this.#tell(message, true);
      this.#toldLive();
    }
  }

  #failRequests() {
    for (const { reject, timer } of this.requests.values()) {
      clearTimeout(timer);
      reject(new ProtocolError(Failure.CONNECTION_LOST));
    }
    this.requests.clear();
    this.copies.clear();
    this.rooms.lost();
  }

  // ---- receiving: a push carries the message, a notice only says that there is something to pull ----

  #onPublish(frame) {
    if (frame.copy) {
      if (COPIED.includes(frame.topic)) this.copies.set(frame.id, frame);
      return;
    }
    if (frame.wantsAck) this.socket.send(acknowledgement(Frame.PUBACK, frame.id));
    if (frame.topic === "s_msg") {
      const message = received(frame.body, this.userId);
      if (message?.kind === TYPING) this.#onTyping(message);
      else if (message?.uid) {
        this.#tell(message, true);
        this.#toldLive();
      }
    } else if (["s_ntf", "s_cmd"].includes(frame.topic)) this.#onNotice(frame.topic, decode(frame.body));
  }

  /** A room could not be joined; what the next connection may mend is not told. */
  #onRefused(room, { code }) {
    if (!Object.values(Failure).includes(code) && this.rooms.forget(room))
      this.#emit("left", { conversation: named("room", room), code });
  }

  #onTyping({ conversation, sender, mine }) {
    if (!mine) this.#emit("typing", { conversation, sender });
  }

  #onNotice(topic, notice) {
    const [type, time, room] = [notice.number(1), notice.number(2), notice.string(3)];
    if (topic === "s_cmd") {
      if (type === NOTICE.ROOM_GONE && this.rooms.forget(room))
        this.#emit("left", { conversation: named("room", room), code: ROOM_IS_GONE });
    } else if (type === NOTICE.MESSAGES) this.#pull(time);
    else if (type === NOTICE.ROOM) this.rooms.noticed(room, time);
  }

  #tell(message, live) {
    if (this.told.has(message.uid)) return;
    this.told.set(message.uid, message.time);
    this.#emitMessage(message, live);
  }

  #emitMessage(message, live) {
    const { conversation, sender, mine, content } = message;
    if (message.kind === RECALL) this.#emit("recalled", { conversation, sender, uid: content?.messageUId });
    else if (message.kind !== READ) this.#emit("message", { ...message, live });
    else if (!mine) this.#emit("read", { conversation, time: Number(content?.lastMessageSendTime) || 0 });
  }

  /** After a push or an own message. The cursor stays: only a pull proves that nothing older is on its way. */
  #toldLive() {
    this.#save();
    if (this.told.size > PUSHED_MAX) this.#pull();
  }

  #save() {
    this.store.save(this.storeKey, { cursor: this.cursor, told: [...this.told] });
  }

  /** Fetches what is newer than the cursor, page by page; again after a notice that the last page missed. */
  async #pull(noticed = 0) {
    this.noticed = Math.max(this.noticed ?? 0, noticed);
    if (this.pulling) return;
    const { socket } = this;
    this.pulling = true;
    try {
      let finished = false;
      while (!finished) {
        this.noticed = 0;
        finished = (await this.#pullPage()) && this.noticed <= this.cursor;
      }
      this.#emit("synced");
    } catch (error) {
      console.warn("imcloud: cannot pull; connecting again", error);
      if (socket === this.socket) this.hangUp({});
    } finally {
      if (socket === this.socket) this.pulling = false;
    }
  }

  /** Whether the page was the last. One cursor does for both boxes: a page has all of both up to its time. */
  async #pullPage() {
    const wanted = encode({ 1: this.cursor, 2: false, 4: true, 6: this.cursor }); // 4: and my own
    const { body } = await this.#request(Frame.QUERY, "pullMsg", this.userId, wanted);
    const page = decode(body);
    for (const bytes of page.all(1)) {
      const message = received(bytes, this.userId);
      if (message) this.#tell(message, false);
    }
    this.cursor = Math.max(this.cursor, page.number(2));
    for (const [uid, time] of this.told) if (time <= this.cursor) this.told.delete(uid);
    this.#save();
    return page.number(3) === 1;
  }
}
