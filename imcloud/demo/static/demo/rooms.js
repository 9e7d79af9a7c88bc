/* rooms.js: the chatrooms that a client is in (PROTOCOL 6.4).
 *
 * Being in a room is the connection's: every new connection joins again what join() named. The messages of each
 * are pulled past a cursor of its own; a notice says that there are some.
 */

import { decode, encode } from "./wire.js";

const JOIN_SHOWS = 20; // messages of before that joining brings

export class Rooms {
  #rooms = new Map(); // id -> { joining, cursor, told: Map uid -> time past the cursor, pulling, noticed }
  #ask;
  #read;
  #tell;
  #refused;

  /**
   * ask(topic, target, body): a query's answer. read(bytes): the message. tell(message, live): shows it.
   * refused(id, error): the room could not be joined.
   */
  constructor({ ask, read, tell, refused }) {
    this.#ask = ask;
    this.#read = read;
    this.#tell = tell;
    this.#refused = refused;
  }

  /** Resolves when the room is joined and its newest messages were told. A room that is not there is made. */
  join(id) {
    if (!this.#rooms.has(id)) this.#rooms.set(id, { cursor: 0, told: new Map() });
    const room = this.#rooms.get(id);
    if (!room.joining) {
      const joining = this.#enter(id, room);
      room.joining = joining;
      joining.catch((error) => {
        if (room.joining === joining) room.joining = null;
        this.#refused(id, error);
      });
    }
    return room.joining;
  }

  async leave(id) {
    this.#rooms.delete(id);
    await this.#ask("exitChrm", id, encode({ 1: 1 }));
  }

  /** The connection is gone, and with it being in rooms. */
  lost() {
    for (const room of this.#rooms.values()) Object.assign(room, { joining: null, pulling: false });
  }

  /** With a new connection: joins all again. */
  again() {
    for (const id of this.#rooms.keys()) this.join(id).catch(() => {}); // refused() was told
  }

  /** It was destroyed, or one was shown out of it. */
  forget(id) {
    return this.#rooms.delete(id);
  }

  /** There is something to pull, of up to this time. */
  noticed(id, time) {
    const room = this.#rooms.get(id);
    if (room?.joining) this.#pull(id, room, time).catch(() => {}); // the next notice or connection tries again
  }

  /** An own message was stored: the room does not show it to this connection. */
  sent(id, { uid, time }) {
    this.#rooms.get(id)?.told.set(uid, time);
  }

  async #enter(id, room) {
    await this.#ask("joinChrm", id, encode({ 1: 1 }));
    await this.#pull(id, room);
  }

  async #pull(id, room, time = 0) {
    room.noticed = Math.max(room.noticed ?? 0, time);
    if (room.pulling) return;
    room.pulling = true;
    const { joining } = room; // of another connection it is another one
    try {
      do {
        room.noticed = 0;
        await this.#pullPage(id, room);
      } while (room.noticed > room.cursor && this.#rooms.get(id) === room);
    } finally {
      if (room.joining === joining) room.pulling = false;
    }
  }

  async #pullPage(id, room) {
    const first = room.cursor === 0;
    const page = decode((await this.#ask("chrmPull", id, encode({ 1: room.cursor, 2: JOIN_SHOWS }))).body);
    for (const bytes of page.all(1)) {
      const message = this.#read(bytes);
      if (!message || room.told.has(message.uid)) continue;
      room.told.set(message.uid, message.time);
      // What was said before one came is not unread.
      this.#tell(first ? { ...message, counted: false } : message, !first);
    }
    room.cursor = Math.max(room.cursor, page.number(2));
    for (const [uid, time] of room.told) if (time <= room.cursor) room.told.delete(uid);
  }
}
