// Many like cues side by side: the one with the frame plays, one key decides it and goes on to the next.
import { el, one, seconds, tone, words } from "./dom.js";
import { Pictures, outlines } from "./player.js";
import { miniature } from "./timeline.js";

const SHOWN = 24;
const BEFORE_US = 4e5;

// What is seen just before a cue of the picture, and at its end.
async function beforeAndAfter(canvas, item) {
  const { start_us, stop_us } = item.cue, pictures = new Pictures();
  await pictures.fetch(`/pictures/${item.recording}/${Math.max(0, start_us - 1e5)}-${stop_us + 1e5}`).catch(() => {});
  const shown = [pictures.all[0], pictures.all[pictures.all.length - 1]].filter(Boolean), ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
  const wide = canvas.width / 2;
  for (const [n, picture] of shown.entries()) {
    const image = await createImageBitmap(picture.jpeg), scale = Math.min((wide - 4) / image.width, canvas.height / image.height);
    canvas.getContext("2d").drawImage(image, n * wide + (wide - image.width * scale) / 2, (canvas.height - image.height * scale) / 2, image.width * scale, image.height * scale);
    image.close();
  }
  pictures.drop();
}

export class Grid {
  constructor({ fetch, decide, open }) { Object.assign(this, { fetch, decide, open, items: [], ready: [], at: 0, audio: new Map(), serial: 0 }); }

  async start() { this.stop(); this.items = []; this.ready = []; this.serial += 1; one("#cards").replaceChildren(); one("#gridtitle").textContent = "Fetching…"; await this.#fill(); this.#turn(); }

  stop() { for (const audio of this.audio.values()) audio.pause(); this.audio.clear(); }

  async #fill() {
    const serial = this.serial, found = await this.fetch(SHOWN, [...this.items, ...this.ready]);
    if (serial !== this.serial) return;
    const text = (item) => item.words.filter((w) => w.speaker === item.cue.speaker && w.start_us !== null && w.stop_us > item.cue.start_us && w.start_us < item.cue.stop_us).map((w) => w.text).join(" ");
    this.ready = found.map((item) => ({ item, text: text(item), verdict: "" })).sort((a, b) => a.text.localeCompare(b.text));
    for (const { item } of this.ready) { this.#sound(item); outlines(item); }
  }

  #sound(item) {
    let audio = this.audio.get(item);
    if (!audio) {
      const from = Math.max(item.from_us, Math.floor((item.cue.start_us - BEFORE_US) / 1e3) * 1e3), to = Math.min(item.to_us, Math.ceil((item.cue.stop_us + BEFORE_US) / 1e3) * 1e3);
      audio = new Audio(`/sound/${item.recording}/${from}-${to}/mix.wav`);
      audio.preload = "auto";
      this.audio.set(item, audio);
    }
    return audio;
  }

  #turn() {
    for (const { item } of this.items) { this.audio.get(item)?.pause(); this.audio.delete(item); }
    this.items = this.ready;
    this.ready = [];
    this.at = 0;
    this.filling = null;
    one("#cards").replaceChildren(...this.items.map((card, n) => this.#card(card, n)));
    one("#gridtitle").textContent = this.items.length ? `${words(this.items[0].item.cue.label)}: ${this.items.length} side by side` : "Nothing left to decide here";
    for (const { item, node } of this.items) if (item.cue.label === "visual" && item.pictures) beforeAndAfter(node.querySelector("canvas"), item); else outlines(item).then(() => requestAnimationFrame(() => miniature(node.querySelector("canvas"), item)));
    if (this.items.length) this.focus(0);
  }

  #card(card, n) {
    const { item } = card, { cue } = item;
    card.node = el("div", { class: "card", role: "listitem", tabindex: "0", "aria-label": `${words(cue.label)} ${cue.speaker ?? ""} ${card.text}`, "data-n": n, onmouseenter: () => this.focus(n), onclick: () => this.focus(n) },
      el("b", {}, card.text || `${words(cue.label)}`), el("canvas", { "aria-hidden": "true" }),
      el("small", {}, el("span", { class: `chip ${tone(item, cue.speaker)}` }, cue.speaker ?? "nobody"), ` ${words(cue.kind)} ${seconds(cue.start_us)} s`), el("span", { class: "mark", "aria-hidden": "true" }));
    return card.node;
  }

  focus(n) {
    if (!this.items[n] || (n === this.at && this.items[n].node.classList.contains("now"))) return;
    this.items[this.at]?.node.classList.remove("now");
    const before = this.items[this.at];
    if (before) this.audio.get(before.item)?.pause();
    this.at = n;
    const { node } = this.items[n];
    node.classList.add("now");
    node.focus({ preventScroll: false });
    this.since = performance.now();
    this.play();
  }

  play() { const audio = this.#sound(this.items[this.at].item); audio.currentTime = 0; audio.play().catch(() => {}); }

  async key(event) {
    const verdict = { a: "accept", x: "reject", u: "unsure" }[event.key.toLowerCase()];
    const card = this.items[this.at];
    if (verdict && card) {
      event.preventDefault();
      if (event.repeat || card.verdict) return this.#on();
      card.verdict = verdict;
      card.node.classList.add(verdict);
      card.node.querySelector(".mark").textContent = { accept: "✓", reject: "✗", unsure: "?" }[verdict];
      card.id = this.decide(card.item, verdict, Math.round(performance.now() - this.since));
      return this.#on();
    }
    const columns = getComputedStyle(one("#cards")).gridTemplateColumns.split(" ").length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (step) { event.preventDefault(); this.focus(Math.min(this.items.length - 1, Math.max(0, this.at + step))); }
    if (event.key === " " && card) { event.preventDefault(); this.play(); }
    if (event.key === "Enter" && card) { event.preventDefault(); this.open(card.item); }
  }

  async #on() {
    const left = this.items.findIndex((card, n) => !card.verdict && n > this.at), any = left >= 0 ? left : this.items.findIndex((card) => !card.verdict);
    const rest = this.items.filter((card) => !card.verdict).length;
    if (rest <= SHOWN / 2 && !this.filling) this.filling = this.#fill();
    if (any >= 0) return this.focus(any);
    await this.filling;
    this.#turn();
  }

  undone(id) {
    const n = this.items.findIndex((card) => card.id === id);
    if (n < 0) return;
    const card = this.items[n];
    card.node.classList.remove(card.verdict);
    card.verdict = "";
    card.node.querySelector(".mark").textContent = "";
    this.focus(n);
  }
}
