/* imcloud.js: a client of imcloud's protocol, made to be read. The bytes are in wire.js.
 *
 *   const client = new Client({ server: "https://im.example.com", appKey: "…" });
 *   client.addEventListener("message", (event) => show(event.detail));
 *   client.addEventListener("state", (event) => console.log(event.detail.state));
 *   client.connect(token);               // the token comes from your own server: POST /user/getToken
 *   const { uid, time } = await client.send("bob", "Hello");
 *   const { messages, more } = await client.history("bob", { before: 0, count: 30 });
 *   client.close();
 *
 * new Client(options)
 *   server    origin of the navigation service; default: the page's own
 *   appKey    the tenant's key
 *   platform  device class; default "" = "Web". A user has one connection per class, a newer one ends the older
 *   store     { load(key), save(key, value) } for the sync cursor; default: localStorage
 * connect(token)
 *   stays connected, reconnecting by itself, until close() or a final state
 * send(peer, text, { clientId })
 *   resolves { uid, time } when the message is stored; rejects ProtocolError. clientId: a number below 2^53
 *   that comes back with the message, to recognise one whose answer was lost
 * typing(peer)
 *   tells the peer if online; never stored, not acknowledged
 * recall({ peer, uid, time })
 *   takes an own message back at everybody; told as "recalled" here too
 * read(peer, { uid, time })
 *   tells the peer that everything up to this message of theirs has been read
 * history(peer, { before, count })
 *   resolves { messages, more }: the newest `count` before the time (0 = now), oldest first
 *
 * Events and their detail:
 *   "state"    { state, code, retryIn }: connecting, online, waiting (tries again in retryIn ms); final are
 *              kicked (signed in elsewhere), refused (code: CONNACK, DISCONNECT or HTTP status) and closed
 *   "message"  { uid, peer, sender, mine, time, kind, text, content, counted, stored, clientId, live }, once
 *              per uid; live: pushed or sent just now, not fetched
 *   "typing"   { peer }
 *   "recalled" { peer, mine, uid }: by whom, and which message. Believe it of a message of the same sender only
 *   "read"     { peer, time }: the peer has read what was sent up to that time
 *   "synced"   everything stored up to now has been told as "message"
 *
 * Times are milliseconds since 1970. ProtocolError.code is the server's status (405 = blocked by the peer …)
 * or one of Failure.
 */

import { PRIVATE, READ, RECALL, received, sentElsewhere } from "./messages.js";
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
const COPIED = ["ppMsgP", "ppMsgN", "recallMsg"]; // of other own devices
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

  async send(peer, text, { clientId } = {}) {
    const content = JSON.stringify({ content: text });
    const message = encode({ 1: 3, 2: "RC:TxtMsg", 3: content, 10: clientId }); // 1: persisted + counted
    if (message.length > CONTENT_MAX) throw new ProtocolError(Failure.TOO_BIG);
    const { uid, time } = await this.#request(Frame.PUBLISH, "ppMsgP", peer, message);
    this.told.set(uid, time);
    this.#toldLive();
    return { uid, time };
  }

  typing(peer) {
    if (this.state !== "online") return;
    const message = encode({ 1: 0, 2: "RC:TypSts", 3: JSON.stringify({ typingContentType: "RC:TxtMsg" }) });
    this.socket.send(request(Frame.PUBLISH, this.#nextId(), "ppMsgS", peer, message));
  }

  async recall({ peer, uid, time }) {
    const what = { conversationType: PRIVATE, targetId: peer, messageUId: uid, sentTime: time };
    const message = encode({ 1: 1, 2: RECALL, 3: JSON.stringify(what) });
    const done = await this.#request(Frame.PUBLISH, "recallMsg", this.userId, message);
    this.told.set(done.uid, done.time);
    this.#toldLive();
    this.#emit("recalled", { peer, mine: true, uid });
  }

  async read(peer, { uid, time }) {
    const content = JSON.stringify({ lastMessageSendTime: time, messageUId: uid, type: 1 });
    const message = encode({ 1: 0, 2: READ, 3: content }); // 1: neither persisted nor counted
    const done = await this.#request(Frame.PUBLISH, "ppMsgP", peer, message);
    this.told.set(done.uid, done.time);
    this.#toldLive();
  }

  async history(peer, { before = 0, count = 30 } = {}) {
    const wanted = encode({ 1: peer, 2: before, 3: count, 4: 0 }); // 4: older than `before`
    const { body } = await this.#request(Frame.QUERY, "qryPMsg", this.userId, wanted);
    const page = decode(body);
    const newestFirst = page.all(1).map((bytes) => received(bytes, this.userId));
    return { messages: newestFirst.filter(isShown).reverse(), more: page.number(3) > 0 };
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
    const points = (await response.json()).serverAddr.sort((a, b) => b.weight - a.weight);
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
      this.#tell(sentElsewhere(copy, frame, this.userId), true);
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
  }

  // ---- receiving: a push carries the message, a notice only says that there is something to pull ----

  #onPublish(frame) {
    if (frame.copy) {
      if (COPIED.includes(frame.topic)) this.copies.set(frame.id, frame);
      return;
    }
    if (frame.wantsAck) this.socket.send(acknowledgement(Frame.PUBACK, frame.id));
    if (frame.topic === "s_ntf") {
      const notice = decode(frame.body);
      if (notice.number(1) === 1) this.#pull(notice.number(2)); // type 2 would be a chatroom's
    } else if (frame.topic === "s_msg") {
      const message = received(frame.body, this.userId);
      if (message?.kind === "RC:TypSts") this.#emit("typing", { peer: message.peer });
      else if (message?.uid) {
        this.#tell(message, true);
        this.#toldLive();
      }
    }
  }

  #tell(message, live) {
    if (this.told.has(message.uid)) return;
    this.told.set(message.uid, message.time);
    const { peer, mine, content } = message;
    if (message.kind === RECALL) this.#emit("recalled", { peer, mine, uid: content?.messageUId });
    else if (message.kind !== READ) this.#emit("message", { ...message, live });
    else if (!mine) this.#emit("read", { peer, time: Number(content?.lastMessageSendTime) || 0 });
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
