// The lanes around one cue on a canvas: ruler, cues, and for every voice its turns, sound and words.
const INT8 = new Map();
const points = (text) => {
  if (!INT8.has(text)) { if (INT8.size > 200) INT8.clear(); INT8.set(text, Int8Array.from(atob(text), (c) => c.charCodeAt(0))); }
  return INT8.get(text);
};
export const clock = (us) => {
  const tenths = Math.floor(us / 1e5), minutes = Math.floor(tenths / 600);
  return `${minutes}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
};

const MIX = "together";

export class Timeline {
  constructor(box, canvas, edges, on) {
    Object.assign(this, { box, canvas, edges, on, item: null, span: null, from: 0, to: 1, head: 0, adding: null });
    new ResizeObserver(() => this.draw()).observe(box);
    box.addEventListener("pointerdown", (event) => { if (event.target === canvas) this.#seek(event); });
    box.addEventListener("dblclick", () => on.edit());
    box.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.at(event.clientX)); }, { passive: false });
    for (const name of ["start", "stop"]) {
      const edge = edges[name];
      edge.addEventListener("pointerdown", (event) => { event.preventDefault(); edge.setPointerCapture(event.pointerId); edge.focus(); this.dragging = name; });
      edge.addEventListener("pointermove", (event) => { if (this.dragging === name) on.move(name, Math.round(this.at(event.clientX) / 1e4) * 1e4); });
      for (const end of ["pointerup", "pointercancel"]) edge.addEventListener(end, () => { this.dragging = null; });
      edge.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        event.stopPropagation();
        on.move(name, this.span[name] + step * (event.shiftKey ? 5e4 : 1e4));
      });
    }
  }

  at(clientX) {
    const { left, width } = this.box.getBoundingClientRect();
    return this.from + (this.to - this.from) * Math.min(1, Math.max(0, (clientX - left - this.label) / (width - this.label)));
  }

  x(us) { return this.label + (this.width - this.label) * (us - this.from) / (this.to - this.from); }
  get label() { return 92; }
  #seek(event) { this.on.seek(this.at(event.clientX)); }

  show(item, span) { this.item = item; this.span = span; this.from = item.from_us; this.to = item.to_us; this.draw(); }

  zoom(factor, around = this.head) {
    if (!this.item) return;
    const length = Math.min(this.item.to_us - this.item.from_us, Math.max(3e5, (this.to - this.from) * factor));
    const share = (around - this.from) / (this.to - this.from);
    this.from = Math.min(Math.max(this.item.from_us, around - share * length), this.item.to_us - length);
    this.to = this.from + length;
    this.draw();
  }

  follow(us) {
    this.head = us;
    if (!this.item) return;
    if (us > this.to || us < this.from) {
      const length = this.to - this.from;
      this.from = Math.min(Math.max(this.item.from_us, us - 0.1 * length), this.item.to_us - length);
      this.to = this.from + length;
    }
    this.draw();
  }

  draw() {
    const { item, span, canvas } = this;
    const ratio = devicePixelRatio || 1, width = this.box.clientWidth, height = this.box.clientHeight;
    if (!item || !width) return;
    this.width = width;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
    const c = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
    const ink = colour("--ink"), soft = colour("--soft"), thin = colour("--line");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.save();
    c.beginPath(); c.rect(this.label, 0, width - this.label, height); c.clip();
    c.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    c.textBaseline = "middle";
    this.#ruler(c, height, soft, thin);
    const cueTop = 22, rows = this.#rows(c), top = cueTop + 24 + rows.length * 22 + 3;
    if (span) { c.fillStyle = colour("--many"); c.globalAlpha = 0.14; c.fillRect(this.x(span.start), 0, Math.max(1, this.x(span.stop) - this.x(span.start)), height); c.globalAlpha = 1; }
    rows.forEach((row, n) => row.forEach((cue) => this.#cue(c, cue, cueTop + 24 + n * 22, colour(this.tone(cue.speaker)), ink)));
    const voices = this.#lanes(), lane = (height - top) / Math.max(1, voices.length);
    voices.forEach((name, n) => this.#voice(c, name, top + n * lane, lane, colour(this.tone(name)), ink, thin));
    if (span) { c.fillStyle = colour("--many"); c.fillRect(this.x(span.start), cueTop, Math.max(2, this.x(span.stop) - this.x(span.start)), 5); c.fillStyle = ink; c.font = `600 12px ${getComputedStyle(document.body).fontFamily}`; c.fillText(this.name ?? "", this.x(span.start) + 10, cueTop + 15); }
    if (this.adding !== null) { c.fillStyle = colour("--good"); c.globalAlpha = 0.35; c.fillRect(this.x(this.adding), 0, this.x(this.head) - this.x(this.adding), height); c.globalAlpha = 1; }
    c.fillStyle = colour("--bad"); c.fillRect(this.x(this.head) - 1, 0, 2, height);
    c.restore();
    c.font = `600 12.5px ${getComputedStyle(document.body).fontFamily}`;
    c.textBaseline = "middle";
    voices.forEach((name, n) => { c.fillStyle = colour(this.tone(name)); c.fillText(name.length > 12 ? name.slice(0, 11) + "…" : name, 12, top + n * lane + lane / 2); });
    c.fillStyle = soft; c.font = `12px ${getComputedStyle(document.body).fontFamily}`; c.fillText("cues", 12, cueTop + 14);
    c.fillStyle = thin; c.fillRect(this.label - 1, 0, 1, height);
    for (const name of ["start", "stop"]) {
      const edge = this.edges[name], visible = span && span[name] >= this.from && span[name] <= this.to;
      edge.classList.toggle("off", !visible);
      if (!visible) continue;
      edge.style.left = `${this.x(span[name])}px`;
      edge.setAttribute("aria-valuemin", "0"); edge.setAttribute("aria-valuemax", (item.duration_us / 1e6).toFixed(2));
      edge.setAttribute("aria-valuenow", (span[name] / 1e6).toFixed(2)); edge.setAttribute("aria-valuetext", `${(span[name] / 1e6).toFixed(2)} seconds`);
    }
  }

  tone(speaker) { const n = this.item.speakers.indexOf(speaker); return n < 0 ? "--room" : `--s${n}`; }

  #ruler(c, height, soft, thin) {
    const length = this.to - this.from, step = [1e5, 2e5, 5e5, 1e6, 2e6, 5e6].find((s) => (this.width - this.label) * s / length > 56) ?? 1e7;
    for (let us = Math.ceil(this.from / step) * step; us < this.to; us += step) {
      c.fillStyle = thin; c.fillRect(this.x(us), 0, 1, height);
      c.fillStyle = soft; c.fillText(clock(us), this.x(us) + 4, 11);
    }
  }

  #cue(c, cue, y, tone, ink) {
    const left = this.x(cue.start_us), wide = Math.max(2, this.x(cue.stop_us) - left);
    c.fillStyle = tone; c.globalAlpha = 0.75; c.fillRect(left, y, wide, 3); c.globalAlpha = 0.13; c.fillRect(left, y, wide, 20); c.globalAlpha = 0.8;
    c.fillStyle = ink; c.fillText(cue.label.replaceAll("_", " "), Math.max(left, this.label) + 4, y + 12); c.globalAlpha = 1;
  }

  // Neighbouring cues in as few rows as keep their names apart, at most two; the rest are left to the zoom.
  #rows(c) {
    const rows = [], free = [], room = (name) => c.measureText(name).width + 12;
    for (const cue of this.item.cues) {
      if (cue.id === this.item.item || cue.start_us > this.to || cue.stop_us < this.from) continue;
      const left = Math.max(this.label, this.x(cue.start_us)), at = free.findIndex((x) => x <= left), n = at < 0 ? rows.length : at;
      if (n > 1) continue;
      if (n === rows.length) { rows.push([]); free.push(0); }
      rows[n].push(cue);
      free[n] = Math.max(this.x(cue.stop_us), left + room(cue.label));
    }
    return rows;
  }

  // The voices, and the mix where not all of the sound is theirs: what several say at once lies in the room.
  #lanes() {
    const { speakers, channels, outlines } = this.item, room = outlines.channels[channels.indexOf("room")];
    return room && points(room).some((value) => Math.abs(value) > 2) ? [...speakers, MIX] : speakers;
  }

  #voice(c, name, y, lane, tone, ink, thin) {
    const { item } = this, text = Math.min(18, lane / 3), wave = lane - text - 4, middle = y + 2 + wave / 2;
    c.fillStyle = thin; c.fillRect(this.label, y, this.width, 1);
    c.fillStyle = tone;
    for (const turn of item.turns) if (turn.speaker === name) { c.globalAlpha = 0.13; c.fillRect(this.x(turn.start_us), y + 1, this.x(turn.stop_us) - this.x(turn.start_us), lane - 1); }
    c.globalAlpha = 1;
    const packed = name === MIX ? item.outlines.mix : item.outlines.channels[item.channels.indexOf(name)];
    if (packed) {
      const data = points(packed), block = item.outlines.block_us, count = data.length / 2, wide = this.width - this.label;
      for (let px = 0; px < wide; px += 1) {
        const a = Math.floor((this.from + (this.to - this.from) * px / wide - item.from_us) / block), b = Math.max(a + 1, Math.floor((this.from + (this.to - this.from) * (px + 1) / wide - item.from_us) / block));
        let low = 0, high = 0;
        for (let i = Math.max(0, a); i < Math.min(b, count); i += 1) { if (data[2 * i] < low) low = data[2 * i]; if (data[2 * i + 1] > high) high = data[2 * i + 1]; }
        const up = high / 127 * wave / 2, down = low / 127 * wave / 2;
        c.fillRect(this.label + px, middle - up, 1, Math.max(0.6, up - down));
      }
    }
    for (const word of item.words) {
      if (word.speaker !== name || word.start_us === null) continue;
      const left = this.x(word.start_us), now = word.start_us <= this.head && this.head < word.stop_us;
      c.save(); c.beginPath(); c.rect(left, y + lane - text - 1, Math.max(6, this.x(word.stop_us) - left - 2), text); c.clip();
      if (now) { c.fillStyle = tone; c.globalAlpha = 0.3; c.fill(); c.globalAlpha = 1; }
      c.fillStyle = tone; c.fillRect(left, y + lane - text - 1, 2, text);
      c.fillStyle = ink; c.font = `12px ${getComputedStyle(document.body).fontFamily}`; c.fillText(word.text + word.after, left + 5, y + lane - text / 2 - 1); c.restore();
    }
  }
}

const inside = (packed, item) => points(packed).subarray(2 * Math.floor((item.cue.start_us - item.from_us) / item.outlines.block_us), 2 * Math.ceil((item.cue.stop_us - item.from_us) / item.outlines.block_us));

export function miniature(canvas, item) {
  const style = getComputedStyle(document.documentElement), ratio = devicePixelRatio || 1, wide = canvas.clientWidth, tall = canvas.clientHeight;
  canvas.width = wide * ratio; canvas.height = tall * ratio;
  const c = canvas.getContext("2d"), at = item.channels.indexOf(item.cue.speaker), voice = item.outlines.channels[at < 0 ? 0 : at], quiet = !voice || !inside(voice, item).some((value) => Math.abs(value) > 4), packed = quiet ? item.outlines.mix : voice;
  c.scale(ratio, ratio);
  const from = Math.max(item.from_us, item.cue.start_us - 6e5), to = Math.min(item.to_us, item.cue.stop_us + 6e5), x = (us) => wide * (us - from) / (to - from);
  c.fillStyle = style.getPropertyValue("--many").trim(); c.globalAlpha = 0.15; c.fillRect(x(item.cue.start_us), 0, x(item.cue.stop_us) - x(item.cue.start_us), tall); c.globalAlpha = 1;
  if (!packed) return;
  c.fillStyle = style.getPropertyValue(at < 0 || quiet ? "--room" : `--s${at}`).trim();
  const data = points(packed), block = item.outlines.block_us;
  for (let px = 0; px < wide; px += 1) {
    const i = Math.floor((from + (to - from) * px / wide - item.from_us) / block);
    if (2 * i + 1 >= data.length) break;
    const up = data[2 * i + 1] / 127 * tall / 2, down = data[2 * i] / 127 * tall / 2;
    c.fillRect(px, tall / 2 - up, 1, Math.max(0.6, up - down));
  }
}
