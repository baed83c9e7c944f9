"use strict";
(() => {
  const clip = document.getElementById("clip").dataset;
  const windows = +clip.windows, step = +clip.windowUs / 1e6, first = +clip.firstWindow, wide = +clip.windowPx;
  const sounds = [...document.querySelectorAll("audio")];
  const choices = [...document.querySelectorAll("[data-sound]")];
  const pictures = [...document.querySelectorAll("image.photo")];
  const words = [...document.querySelectorAll("text[data-from]")];
  const lanes = document.querySelector(".lanes"), drawing = lanes.querySelector("svg");
  const head = document.getElementById("head"), play = document.getElementById("play");
  const clock = document.getElementById("clock"), place = document.getElementById("place");
  const saying = document.getElementById("saying"), screen = document.getElementById("picture");
  const byWindow = new Map(pictures.map((p) => [+p.dataset.window, p.getAttribute("href")]));
  let now = sounds[0], shown = -1;

  const end = windows * step;
  const seek = (time) => {
    now.currentTime = Math.min(Math.max(time, 0), end - 0.001);
    draw(true);
  };
  const choose = (index) => {
    if (sounds[index] === now) return;
    const [time, playing] = [now.currentTime, !now.paused];
    now.pause();
    now = sounds[index];
    now.currentTime = time;
    choices.forEach((c, i) => c.setAttribute("aria-pressed", String(i === index)));
    if (playing) now.play();
  };
  const toggle = () => (now.paused ? now.play() : now.pause());
  const follow = (x, jump) => {
    const left = lanes.scrollLeft, room = lanes.clientWidth;
    if (x < left || x > left + room * (jump ? 1 : 0.8)) {
      lanes.scrollLeft = x - room * 0.2;
    }
  };
  const draw = (jump) => {
    const time = now.currentTime, x = (time / step) * wide;
    head.setAttribute("transform", `translate(${x} 0)`);
    if (jump || !now.paused) follow(x, jump);
    const at = first * step + time;
    const minutes = Math.floor(at / 60), seconds = (at % 60).toFixed(2).padStart(5, "0");
    clock.textContent = `${minutes}:${seconds}`;
    const heard = words.filter((w) => +w.dataset.from <= at * 1e6 && at * 1e6 < +w.dataset.to);
    const spoken = heard.map((w) => `${w.dataset.who}: ${w.textContent}`).join("   ");
    if (saying.textContent !== spoken) saying.textContent = spoken;
    const window = Math.min(Math.floor(time / step + 1e-9), windows - 1);
    if (window === shown) return;
    shown = window;
    place.textContent = `window ${first + window}`;
    if (!screen) return;
    const source = byWindow.get(window);
    screen.hidden = !source;
    if (source) screen.src = source;
  };
  const tick = () => {
    if (now.paused) return;
    draw(false);
    requestAnimationFrame(tick);
  };
  sounds.forEach((sound) => {
    sound.addEventListener("play", () => { play.textContent = "Pause"; tick(); });
    sound.addEventListener("pause", () => { if (sound === now) play.textContent = "Play"; draw(false); });
    sound.addEventListener("seeked", () => draw(false));
  });
  play.addEventListener("click", toggle);
  choices.forEach((choice, i) => choice.addEventListener("click", () => choose(i)));
  drawing.addEventListener("click", (event) => seek(((event.clientX - drawing.getBoundingClientRect().left) / wide) * step));
  document.querySelectorAll("tr[data-us]").forEach((row) => {
    const go = () => seek((+row.dataset.us - first * step * 1e6) / 1e6);
    row.addEventListener("click", go);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const window = Math.floor(now.currentTime / step + 1e-6);
    const keys = {
      " ": () => toggle(),
      ArrowLeft: () => seek((window - 1) * step),
      ArrowRight: () => seek((window + 1) * step),
      Home: () => seek(0),
      End: () => seek((windows - 1) * step),
    };
    if (event.key === " " && event.target.closest("button, summary")) return;
    const channel = /^[1-9]$/.test(event.key) && choices[+event.key - 1];
    if (channel) choose(+event.key - 1);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  draw(true);
})();
