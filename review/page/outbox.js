// Decisions on their way to the server. They lie in the browser's storage until the server has them, so that neither
// a reload nor a server that is down loses one; each has an id of its own, so that one sent twice is one.
const SHELF = "corpus-review-outbox";

export class Outbox {
  constructor({ name, onKept, onState }) {
    Object.assign(this, { name, onKept, onState, busy: false, wait: 200 });
    try { this.rows = JSON.parse(localStorage.getItem(SHELF) ?? "[]"); } catch { this.rows = []; }
    this.send();
  }

  add(review) {
    this.rows.push({ who: this.name(), review });
    this.#keep();
    this.send();
  }

  #keep() { localStorage.setItem(SHELF, JSON.stringify(this.rows)); this.onState(this.rows.length, ""); }

  async send() {
    if (this.busy || !this.rows.length) return;
    this.busy = true;
    const who = this.rows[0].who, batch = [];
    for (const row of this.rows) { if (row.who !== who || batch.length === 50) break; batch.push(row.review); }
    let answer = null, told = null;
    try {
      answer = await fetch("/api/reviews", { method: "POST", headers: { "content-type": "application/json", "x-annotator": encodeURIComponent(who) }, body: JSON.stringify({ reviews: batch }) });
      told = await answer.json();
    } catch { answer = null; }
    this.busy = false;
    if (answer?.ok) { this.#done(batch); this.wait = 200; this.onKept(told); this.send(); return; }
    if (answer && (answer.status === 422 || answer.status === 400)) {
      if (batch.length > 1) { await this.#singly(batch, who); this.send(); return; }
      this.#done(batch);
      this.onState(this.rows.length, `refused: ${told?.error ?? answer.status}`);
      this.send();
      return;
    }
    this.onState(this.rows.length, answer ? told?.error ?? `error ${answer.status}` : "the server does not answer");
    this.wait = Math.min(5000, this.wait * 1.7);
    setTimeout(() => this.send(), this.wait);
  }

  // One of several was refused: which, only the server knows.
  async #singly(batch, who) {
    for (const review of batch) {
      const answer = await fetch("/api/reviews", { method: "POST", headers: { "content-type": "application/json", "x-annotator": encodeURIComponent(who) }, body: JSON.stringify({ reviews: [review] }) }).catch(() => null);
      if (!answer) return;
      const told = await answer.json().catch(() => null);
      if (answer.ok) { this.#done([review]); this.onKept(told); } else if (answer.status === 422 || answer.status === 400) { this.#done([review]); this.onState(this.rows.length, `refused: ${told?.error}`); } else return;
    }
  }

  #done(batch) {
    const ids = new Set(batch.map((review) => review.id));
    this.rows = this.rows.filter((row) => !ids.has(row.review.id));
    this.#keep();
  }
}
