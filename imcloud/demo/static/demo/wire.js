/* wire.js: the bytes of imcloud's protocol, without any input or output: protobuf fields and frames.
 *
 * One frame is one binary WebSocket message. Integers are big-endian, a string follows its length in 16 bits:
 *
 *   up    PUBLISH, QUERY   head  topic  target  id:16  protobuf
 *         PUBACK, QUERYCON head  id:16
 *         PINGREQ          head
 *   down  CONNACK          head  0:8  status:8  [userId  session  milliseconds:64]
 *         PUBLISH          head  seconds:32  topic  target  id:16  protobuf
 *         PUBACK           head  id:16  seconds:32  status:16  milliseconds:16  uid
 *         QUERYACK         head  id:16  seconds:32  status:16  protobuf
 *         DISCONNECT       head  0:8  status:8
 *         PINGRESP         head
 *
 * head: the type in the high 4 bits; 8 = copy of what another own device sent; 2 = to be acknowledged.
 */

export const Frame = Object.freeze({
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  QUERY: 5,
  QUERYACK: 6,
  QUERYCON: 7,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
});

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** { number: value } -> bytes. A number, boolean, string, Uint8Array, an array of these; undefined is left out. */
export function encode(fields) {
  const out = [];
  const varint = (n) => {
    for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128); // bit operators would cut n to 32 bits
    out.push(n);
  };
  const all = Object.entries(fields).flatMap(([number, value]) => [value].flat().map((each) => [number, each]));
  for (const [number, value] of all) {
    if (value === undefined) continue;
    if (typeof value === "number" || typeof value === "boolean") {
      varint(number * 8);
      varint(Number(value));
    } else {
      const bytes = typeof value === "string" ? encoder.encode(value) : value;
      varint(number * 8 + 2);
      varint(bytes.length);
      for (const byte of bytes) out.push(byte);
    }
  }
  return Uint8Array.from(out);
}

/** bytes -> { all(n), number(n), string(n) } of field n. Throws RangeError for what is no protobuf. */
export function decode(bytes) {
  const found = new Map();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= bytes.length) throw new RangeError("protobuf ends inside a number");
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new RangeError("protobuf number of more than 10 bytes");
  };
  const take = (length) => {
    if (at + length > bytes.length) throw new RangeError("protobuf ends inside a field");
    return bytes.subarray(at, (at += length));
  };
  while (at < bytes.length) {
    const tag = varint();
    const read = { 0: varint, 1: () => take(8), 2: () => take(varint()), 5: () => take(4) }[tag % 8];
    if (!read) throw new RangeError(`protobuf wire type ${tag % 8}`);
    const number = Math.floor(tag / 8);
    if (!found.has(number)) found.set(number, []);
    found.get(number).push(read());
  }
  const last = (number) => found.get(number)?.at(-1);
  return {
    all: (number) => found.get(number) ?? [],
    number: (number) => last(number) ?? 0,
    string: (number) => decoder.decode(last(number) ?? new Uint8Array()),
  };
}

/** A PUBLISH that wants its PUBACK, or a QUERY. */
export function request(type, id, topic, target, body) {
  const parts = [topic, target].map((text) => encoder.encode(text));
  const frame = new Uint8Array(7 + parts[0].length + parts[1].length + body.length);
  const view = new DataView(frame.buffer);
  frame[0] = (type << 4) | (type === Frame.PUBLISH ? 2 : 0);
  let at = 1;
  for (const part of parts) {
    view.setUint16(at, part.length);
    frame.set(part, at + 2);
    at += 2 + part.length;
  }
  view.setUint16(at, id);
  frame.set(body, at + 2);
  return frame;
}

/** PUBACK or QUERYCON. */
export function acknowledgement(type, id) {
  return Uint8Array.of(type << 4, id >> 8, id & 0xff);
}

export const ping = Uint8Array.of(Frame.PINGREQ << 4);

/** What the server sent (an ArrayBuffer) as an object. Throws RangeError for a short or unknown frame. */
export function parse(buffer) {
  const view = new DataView(buffer);
  let at = 1;
  const number = (size) => {
    let value = 0;
    for (; size > 0; size--) value = value * 256 + view.getUint8(at++);
    return value;
  };
  const string = () => {
    const length = number(2);
    const bytes = new Uint8Array(buffer, at, length);
    at += length;
    return decoder.decode(bytes);
  };
  const rest = () => new Uint8Array(buffer, at);
  const head = view.getUint8(0);
  const frame = { type: head >> 4, copy: (head & 8) > 0, wantsAck: (head & 6) > 0 };
  switch (frame.type) {
    case Frame.CONNACK:
      Object.assign(frame, { reserved: number(1), status: number(1) });
      return frame.status
        ? frame
        : Object.assign(frame, { userId: string(), session: string(), time: number(8) });
    case Frame.PUBLISH:
      return Object.assign(frame, {
        time: number(4) * 1000,
        topic: string(),
        target: string(),
        id: number(2),
        body: rest(),
      });
    case Frame.PUBACK:
      Object.assign(frame, { id: number(2), time: number(4) * 1000, status: number(2) });
      return Object.assign(frame, { time: frame.time + number(2), uid: string() });
    case Frame.QUERYACK:
      return Object.assign(frame, { id: number(2), time: number(4) * 1000, status: number(2), body: rest() });
    case Frame.DISCONNECT:
      return Object.assign(frame, { reserved: number(1), status: number(1) });
    case Frame.PINGRESP:
      return frame;
    default:
      throw new RangeError(`frame type ${frame.type}`);
  }
}
