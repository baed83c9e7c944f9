// Sound and pictures of one item. The sound is the clock: a picture is shown from its own time on, never before.
const shown = (pictures, timeUs) => {
  let low = 0, high = pictures.length;
  while (low < high) { const middle = (low + high) >> 1; if (pictures[middle].pts_us <= timeUs) low = middle + 1; else high = middle; }
  return low - 1;
};

async function bitmaps(url) {
  const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
  const end = bytes.indexOf(10);
  const told = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  let at = end + 1;
  const jobs = told.map(({ pts_us, size }) => {
    const jpeg = new Blob([bytes.subarray(at, at + size)], { type: "image/jpeg" });
    at += size;
    return createImageBitmap(jpeg).then((image) => ({ pts_us, image }));
  });
  return (await Promise.all(jobs)).sort((a, b) => a.pts_us - b.pts_us);
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
    this.pictures = [];
    this.sounds = new Map();
    this.sound("mix");
    this.drawn = outlines(item);
    this.seen = item.pictures ? bitmaps(`/pictures${place(item)}`).then((found) => { this.pictures = found; }, () => {}) : Promise.resolve();
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
    for (const { image } of this.pictures) image.close();
    this.pictures = [];
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
    const { pictures } = this.loaded ?? { pictures: [] };
    const at = shown(pictures, this.timeUs);
    const image = pictures[at]?.image ?? null;
    if (image !== this.last || !image) {
      const context = this.screen.getContext("2d");
      if (image) {
        if (this.screen.width !== image.width) { this.screen.width = image.width; this.screen.height = image.height; }
        context.drawImage(image, 0, 0);
      } else { context.clearRect(0, 0, this.screen.width, this.screen.height); }
      this.last = image;
    }
    this.onFrame(this.timeUs);
  }
}
