/* Who is typing: told to others while one does, shown for a moment after others did. */

const EVERY = 3_000; // ms between two notices
const SHOWN = 5_000; // ms

export class Typing {
  #element;
  #timers = new Map(); // who -> timer
  #told = 0;

  constructor(element) {
    this.#element = element;
  }

  /** Whether it is time to tell that one is typing. */
  isDue() {
    if (Date.now() - this.#told < EVERY) return false;
    this.#told = Date.now();
    return true;
  }

  /** What was being typed is sent. */
  sent() {
    this.#told = 0;
  }

  show(who) {
    clearTimeout(this.#timers.get(who));
    this.#timers.set(
      who,
      setTimeout(() => this.hide(who), SHOWN),
    );
    this.#paint();
  }

  hide(who) {
    clearTimeout(this.#timers.get(who));
    if (this.#timers.delete(who)) this.#paint();
  }

  clear() {
    for (const who of [...this.#timers.keys()]) this.hide(who);
    this.sent();
  }

  #paint() {
    const [first, second, third] = this.#timers.keys();
    this.#element.textContent =
      (third && "Several people are typing…") ||
      (second && `${first} and ${second} are typing…`) ||
      (first && `${first} is typing…`) ||
      "";
  }
}
