/* files.js: files in the installation's S3-compatible store, by requests that its server signs (PROTOCOL 4.10). */

import { decode, encode } from "./wire.js";

const IMAGE = 1; // FileType

export class Store {
  #kind = ""; // "minio", "s3", or "": there is no store, or none that is known here
  #base = ""; // minio: URL before the bucket; s3: host after the bucket's name
  #ask;

  /** ask(topic, body): a query's answer. */
  constructor(ask) {
    this.#ask = ask;
  }

  /** ossConfig of navigation: [{"minio": "http://files.example.com:9000"}] or [{"s3": "s3.example.com"}]. */
  at(config) {
    const places = config ? JSON.parse(config) : [];
    const kind = ["minio", "s3"].find((name) => places[0]?.[name]);
    [this.#kind, this.#base] = kind ? [kind, places[0][kind]] : ["", ""];
  }

  get configured() {
    return this.#kind !== "";
  }

  /** Resolves the file's URL when it is in the store; rejects ProtocolError, or Error when the store refuses. */
  async upload(file) {
    const random = crypto.getRandomValues(new Uint32Array(4)); // randomUUID() is for https pages only
    const name = Array.from(random, (n) => n.toString(16).padStart(8, "0")).join("");
    const key = `${name}.${file.type.split("/")[1]}`;
    const signed = decode(
      (await this.#ask("qnTkn", encode({ 1: IMAGE, 2: key, 3: "PUT", 7: file.size }))).body,
    );
    const response = await (this.#kind === "minio"
      ? this.#put(key, signed, file)
      : this.#post(key, signed, file));
    if (!response.ok) throw new Error(`the store answered ${response.status}`);
    return this.#signedUrl(key);
  }

  #put(key, signed, file) {
    return fetch(`${this.#base}/${signed.string(23)}/${key}`, {
      method: "PUT",
      headers: {
        Authorization: signed.string(20),
        "X-Amz-Content-SHA256": signed.string(21),
        "X-Amz-Date": signed.string(22),
        "Content-Type": file.type,
      },
      body: file,
    });
  }

  #post(key, signed, file) {
    const form = new FormData();
    const fields = {
      key,
      "Content-Type": file.type,
      "x-amz-credential": signed.string(10),
      "x-amz-algorithm": signed.string(11),
      "x-amz-date": signed.string(12),
      policy: signed.string(13),
      "x-amz-signature": signed.string(14),
    };
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", file); // what follows the file is not looked at
    return fetch(`${location.protocol}//${signed.string(15)}.${this.#base}/`, { method: "POST", body: form });
  }

  /** The same file by a URL that is good now: signed ones end after a while. Another store's URL as it is. */
  async urlOf(url) {
    const { protocol, host, pathname } = new URL(url);
    const path = decodeURIComponent(pathname);
    if (this.#kind === "minio" && url.startsWith(`${this.#base}/`)) {
      const inside = path.slice(new URL(this.#base).pathname.replace(/\/$/, "").length + 1);
      return this.#signedUrl(inside.slice(inside.indexOf("/") + 1)); // behind the bucket
    }
    if (this.#kind === "s3" && protocol.startsWith("http") && host.endsWith(`.${this.#base}`))
      return this.#signedUrl(path.slice(1));
    return url;
  }

  async #signedUrl(key) {
    return decode((await this.#ask("qnUrl", encode({ 1: IMAGE, 2: key }))).body).string(1);
  }
}
