// Decisions on their way to the server. They lie in the browser's storage until the server has them, so that neither
// a reload nor a server that is down loses one; each has an id of its own, so that one sent twice is one. They wait for
// the store they were meant for; what it refuses is laid aside, to be read or saved, and not forgotten.
const shelf = (store, name) => `corpus-review-${name}-${store}`;
const read = (key) => { try { return JSON.parse(localStorage.getItem(key) ?? "[]"); } catch { return []; } };

export class Outbox {
  constructor({ name, store, onKept, onState, onRefused }) {
    Object.assign(this, { name, store, onKept, onState, onRefused, busy: false, wait: 200 });
    this.rows = read(shelf(store, "outbox"));
    this.refused = read(shelf(store, "refused"));
    if (this.refused.length) this.onRefused(this.refused);
    this.send();
  }

  add(review) {
    this.rows.push({ who: this.name(), review });
    this.#keep();
    this.send();
  }

  #keep() { localStorage.setItem(shelf(this.store, "outbox"), JSON.stringify(this.rows)); this.onState(this.rows.length, ""); }

  #refuse(review, who, why) {
    this.refused.push({ who, why, review });
    localStorage.setItem(shelf(this.store, "refused"), JSON.stringify(this.refused));
    this.#done([review]);
    this.onRefused(this.refused);
  }

  forget() { this.refused = []; localStorage.removeItem(shelf(this.store, "refused")); }

  // What the server made of a batch: null where it does not answer.
  async #post(batch, who) {
    try {
      const answer = await fetch("/api/reviews", { method: "POST", headers: { "content-type": "application/json", "x-annotator": encodeURIComponent(who) }, body: JSON.stringify({ reviews: batch, store: this.store }) });
      return { status: answer.status, told: await answer.json().catch(() => ({})) };
    } catch { return null; }
  }

  async send() {
    if (this.busy || !this.rows.length) return;
    this.busy = true;
    const who = this.rows[0].who, batch = [];
    for (const row of this.rows) { if (row.who !== who || batch.length === 50) break; batch.push(row.review); }
    let answer = await this.#post(batch, who);
    if (unfit(answer) && batch.length > 1) { // which one, only the server knows
      for (const review of batch) {
        answer = await this.#post([review], who);
        if (unfit(answer)) this.#refuse(review, who, answer.told.error ?? `error ${answer.status}`);
        else if (answer?.status === 200) { this.#done([review]); this.onKept(answer.told); } else break;
      }
    } else if (unfit(answer)) this.#refuse(batch[0], who, answer.told.error ?? `error ${answer.status}`);
    else if (answer?.status === 200) { this.#done(batch); this.onKept(answer.told); }
    this.busy = false;
    if (answer && (answer.status === 200 || unfit(answer))) { this.wait = 200; this.send(); return; }
    this.onState(this.rows.length, answer ? answer.told.error ?? `error ${answer.status}` : "the server does not answer");
    this.wait = Math.min(5000, this.wait * 1.7);
    setTimeout(() => this.send(), this.wait);
  }

  #done(batch) {
    const ids = new Set(batch.map((review) => review.id));
    this.rows = this.rows.filter((row) => !ids.has(row.review.id));
    this.#keep();
  }
}

const unfit = (answer) => answer?.status === 422 || answer?.status === 400;
