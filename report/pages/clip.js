"use strict";
(() => {
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const line = one("#line"), scroll = one("#scroll"), head = one("#head"), play = one("#play");
  const windows = Number(line.dataset.windows), length = windows * 0.2, start = Number(line.dataset.start);
  const sounds = all("audio"), choices = all("button[data-sound]"), root = document.documentElement;
  const pictures = new Map(all(".pictures img").map((image) => [Number(image.dataset.k), image]));
  const spans = (selector) => all(selector).map((node) => ({
    node, from: Number(node.dataset.start), to: Number(node.dataset.stop),
  }));
  const words = spans(".words .lane span"), cues = spans("a[data-cue]");
  const voices = all(".said p").map((node) => ({ node, speaker: node.dataset.speaker }));
  const faces = JSON.parse(one("#faces")?.dataset.faces || "{}");
  const joints = JSON.parse(one("#joints")?.dataset.joints || "{}");
  let sound = sounds[0], shown = -1, width = parseFloat(getComputedStyle(root).getPropertyValue("--w"));

  const two = (number) => String(number).padStart(2, "0");
  const clock = (seconds) => {
    const tenths = Math.floor(seconds * 10 + 1e-6), whole = Math.floor(tenths / 10);
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return (hours ? hours + ":" + two(minutes) : minutes) + ":" + two(whole % 60) + "." + (tenths % 10);
  };
  const now = () => Math.min(sound.currentTime, length);

  function showFaces(found) {
    one("#faces")?.replaceChildren(...found.map(([name, tone, left, top, wide, high]) => {
      const frame = document.createElement("div"), label = document.createElement("span");
      label.textContent = name;
      frame.className = tone;
      frame.append(label);
      Object.assign(frame.style, { left: left + "%", top: top + "%", width: wide + "%", height: high + "%" });
      return frame;
    }));
  }

  function showJoints(found) {
    one("#joints")?.replaceChildren(...found.map(([tone, path]) => {
      const lines = document.createElementNS(one("#joints").namespaceURI, "path");
      lines.setAttribute("class", tone);
      lines.setAttribute("d", path);
      return lines;
    }));
  }

  function showWindow(k) {
    if (k === shown) return;
    pictures.get(shown)?.classList.remove("here");
    pictures.get(k)?.classList.add("here");
    shown = k;
    const screen = one("#screen"), picture = pictures.get(k);
    if (screen) {
      screen.style.visibility = picture ? "visible" : "hidden";
      if (picture) screen.src = picture.src;
    }
    showFaces(picture ? faces[k] ?? [] : []);
    showJoints(picture ? joints[k] ?? [] : []);
    one("#window").textContent = "window " + k + " of " + windows;
  }

  function showWords(time) {
    for (const { node, speaker } of voices) {
      const near = words.filter((w) => w.node.dataset.speaker === speaker && w.from < time + 2.5 && w.to > time - 2.5);
      const parts = near.map((w) => {
        const said = document.createElement(w.from <= time && time < w.to ? "mark" : "span");
        said.textContent = w.node.textContent + " ";
        return said;
      });
      node.lastElementChild.replaceChildren(...parts);
      node.classList.toggle("off", !near.some((w) => w.from <= time && time < w.to));
    }
    for (const w of words) w.node.classList.toggle("here", w.from <= time && time < w.to);
    const active = cues.filter((c) => c.from <= time && time < Math.max(c.to, c.from + 0.2));
    one("#doing").textContent = active.map((c) => c.node.dataset.cue).join("   ");
  }

  function draw() {
    const time = now();
    one("#time").textContent = clock(start + time);
    head.style.left = "calc(var(--label) + (100% - var(--label)) * " + time / length + ")";
    showWindow(Math.min(windows - 1, Math.floor(time / 0.2 + 1e-6)));
    showWords(time);
  }

  function follow() {
    const label = line.querySelector(".label").offsetWidth;
    const x = label + (line.clientWidth - label) * now() / length - scroll.scrollLeft;
    if (x < label || x > scroll.clientWidth - 60) scroll.scrollLeft += x - label - scroll.clientWidth * 0.2;
  }

  function seek(time) {
    sound.currentTime = Math.min(Math.max(time, 0), length);
    draw();
    follow();
  }

  function tick() {
    draw();
    if (!sound.paused) {
      follow();
      requestAnimationFrame(tick);
    }
  }

  function toggle() {
    if (sound.paused) sound.play(); else sound.pause();
  }

  function choose(place) {
    if (!choices[place]) return;
    const time = now(), playing = !sound.paused;
    sound.pause();
    sound = sounds[place];
    sound.currentTime = time;
    choices.forEach((choice, n) => choice.setAttribute("aria-pressed", String(n === place)));
    if (playing) sound.play();
  }

  function zoom(factor) {
    width = Math.min(208, Math.max(6, width * factor));
    root.style.setProperty("--w", width + "px");
    follow();
  }

  for (const item of sounds) {
    item.addEventListener("play", () => { play.textContent = "Pause"; requestAnimationFrame(tick); });
    item.addEventListener("pause", () => { play.textContent = "Play"; draw(); });
    item.addEventListener("seeked", draw);
  }
  window.addEventListener("hashchange", () => seek(Number(location.hash.slice(1)) || 0));
  play.addEventListener("click", toggle);
  choices.forEach((choice, place) => choice.addEventListener("click", () => choose(place)));
  one("#in").addEventListener("click", () => zoom(1.5));
  one("#out").addEventListener("click", () => zoom(1 / 1.5));
  line.addEventListener("click", (event) => {
    const cue = event.target.closest("a[data-start]");
    if (cue) return seek(Number(cue.dataset.start));
    const lane = event.target.closest(".row")?.querySelector(".lane");
    if (!lane || event.target.closest(".label")) return;
    const box = lane.getBoundingClientRect();
    seek((event.clientX - box.left) / box.width * length);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = Math.floor(now() / 0.2 + 1e-6);
    const keys = {
      " ": toggle,
      ArrowLeft: () => seek((now() > step * 0.2 + 0.05 ? step : step - 1) * 0.2),
      ArrowRight: () => seek((step + 1) * 0.2),
      Home: () => seek(0),
      End: () => seek((windows - 1) * 0.2),
      "+": () => zoom(1.5),
      "-": () => zoom(1 / 1.5),
    };
    const action = keys[event.key] ?? (/^[0-9]$/.test(event.key) ? () => choose(Number(event.key)) : null);
    if (!action || (event.key === " " && event.target.closest?.("button, summary"))) return;
    event.preventDefault();
    action();
  });
  // `page.html#12.4` opens 12.4 s into the clip; else the page opens where somebody begins to talk.
  const asked = Number(location.hash.slice(1) || line.dataset.first);
  const open = () => seek(Number.isFinite(asked) ? asked : 0);
  draw();
  if (sound.readyState > 0) open(); else sound.addEventListener("loadedmetadata", open, { once: true });
})();
