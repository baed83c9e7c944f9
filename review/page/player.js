// Sound and pictures of one item. The sound is the clock: a picture is shown from its own time on, never before.
const shown = (pictures, timeUs) => {
  let low = 0, high = pictures.length;
  while (low < high) { const middle = (low + high) >> 1; if (pictures[middle].pts_us <= timeUs) low = middle + 1; else high = middle; }
  return low - 1;
};

const AHEAD = 20, BEHIND = 5;

// The pictures of a stretch: all as JPEGs, and those near the moment that is shown as bitmaps.
export class Pictures {
  constructor() { this.all = []; this.onReady = () => {}; }

  async fetch(url) {
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
    const end = bytes.indexOf(10);
    let at = end + 1;
    this.all = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))).map(({ pts_us, size }) => {
      const jpeg = new Blob([bytes.subarray(at, at + size)], { type: "image/jpeg" });
      at += size;
      return { pts_us, jpeg, image: null, asked: false };
    }).sort((a, b) => a.pts_us - b.pts_us);
    this.near(0);
  }

  // The latest picture that is ready and whose time has come: null before the first.
  at(timeUs) {
    let n = shown(this.all, timeUs);
    this.near(Math.max(0, n));
    while (n >= 0 && !this.all[n].image) n -= 1;
    return n < 0 ? null : this.all[n];
  }

  near(n) {
    this.all.forEach((picture, k) => { if (picture.image && (k < n - BEHIND || k > n + 2 * AHEAD)) { picture.image.close(); picture.image = null; picture.asked = false; } });
    for (const picture of this.all.slice(Math.max(0, n - 1), n + AHEAD)) {
      if (picture.asked) continue;
      picture.asked = true;
      createImageBitmap(picture.jpeg).then((image) => { if (picture.asked) { picture.image = image; this.onReady(); } else image.close(); }, () => {});
    }
  }

  drop() { for (const picture of this.all) { picture.image?.close(); picture.asked = false; } this.all = []; }
}

export const place = (item) => `/${item.recording}/${item.from_us}-${item.to_us}`;

// Until the outlines of the sound are there.
const NOTHING = { block_us: 5000, full: 1, channels: [], mix: "" };

// Fetches them once into the item.
export function outlines(item) {
  item.outlines ??= NOTHING;
  item.drawing ??= fetch(`/outlines${place(item)}`).then((answer) => answer.json()).then((found) => { if (found.channels) item.outlines = found; }, () => {});
  return item.drawing;
}

// What is fetched ahead for an item: its sound as an element that is ready to play,
// the outlines of the sound, and the pictures.
export class Loaded {
  constructor(item) {
    this.item = item;
    this.pictures = new Pictures();
    this.sounds = new Map();
    this.sound("mix");
    this.drawn = outlines(item);
    this.seen = item.pictures ? this.pictures.fetch(`/pictures${place(item)}`).catch(() => {}) : Promise.resolve();
  }

  sound(channel) {
    let audio = this.sounds.get(channel);
    if (!audio) {
      audio = new Audio();
      audio.preload = "auto";
      audio.preservesPitch = true;
      audio.src = `/sound${place(this.item)}/${channel}.wav`;
      this.sounds.set(channel, audio);
    }
    return audio;
  }

  drop() {
    for (const audio of this.sounds.values()) { audio.pause(); audio.removeAttribute("src"); audio.load(); }
    this.pictures.drop();
    this.sounds.clear();
  }
}

export class Player {
  constructor(screen, onFrame) {
    this.screen = screen;
    this.onFrame = onFrame;
    this.loaded = null;
    this.channel = "mix";
    this.rate = 1;
    this.loop = false;
    this.last = null;
    this.playedAt = 0;
  }

  get audio() { return this.loaded?.sound(this.channel); }
  get timeUs() { return this.loaded ? this.loaded.item.from_us + Math.round((this.audio.currentTime || 0) * 1e6) : 0; }
  get playing() { return Boolean(this.audio && !this.audio.paused && !this.audio.ended); }

  show(loaded) {
    if (this.audio) this.audio.pause();
    this.loaded = loaded;
    this.channel = "mix";
    this.last = null;
    if (!loaded) return;
    loaded.pictures.onReady = () => { if (this.loaded === loaded && !this.playing) this.frame(); };
    for (const part of [loaded.seen, loaded.drawn]) part.then(() => { if (this.loaded === loaded) this.frame(); });
    this.frame();
  }

  play() {
    const audio = this.audio;
    if (!audio) return;
    audio.playbackRate = this.rate;
    if (audio.ended) audio.currentTime = 0;
    audio.onplaying = () => { this.playedAt = performance.now(); document.body.dataset.playing = this.loaded?.item.item ?? ""; };
    audio.play().catch(() => {});
    cancelAnimationFrame(this.tick);
    const step = () => {
      if (this.loop && this.loaded) {
        const { start, stop } = this.span();
        if (this.timeUs > stop || audio.ended) { audio.currentTime = Math.max(0, (start - this.loaded.item.from_us) / 1e6); audio.play().catch(() => {}); }
      }
      this.frame();
      if (this.playing || this.loop) this.tick = requestAnimationFrame(step);
    };
    this.tick = requestAnimationFrame(step);
  }

  span() { return { start: this.loaded.item.from_us, stop: this.loaded.item.to_us }; }
  pause() { this.audio?.pause(); cancelAnimationFrame(this.tick); this.frame(); }
  toggle() { if (this.playing) this.pause(); else this.play(); }

  seek(timeUs) {
    if (!this.loaded) return;
    const { from_us, to_us } = this.loaded.item;
    this.audio.currentTime = (Math.min(Math.max(timeUs, from_us), to_us) - from_us) / 1e6;
    this.frame();
  }

  listen(channel) {
    const { timeUs, playing } = this;
    this.audio?.pause();
    this.channel = channel;
    this.seek(timeUs);
    if (playing) this.play();
  }

  setRate(rate) { this.rate = rate; if (this.audio) this.audio.playbackRate = rate; }

  frame() {
    const picture = this.loaded?.pictures.at(this.timeUs) ?? null;
    if (picture !== this.last || !picture) {
      const context = this.screen.getContext("2d"), image = picture?.image;
      if (image) {
        if (this.screen.width !== image.width || this.screen.height !== image.height) { this.screen.width = image.width; this.screen.height = image.height; }
        context.drawImage(image, 0, 0);
      } else { context.clearRect(0, 0, this.screen.width, this.screen.height); }
      this.last = picture;
    }
    this.onFrame(this.timeUs);
  }
}
