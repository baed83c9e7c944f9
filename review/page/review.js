// The annotators' page: one cue at a time, many at a time, and what people agree on.
import { all, ask, el, get, id, one, post, seconds, tone, words } from "./dom.js";
import { Outbox } from "./outbox.js";
import { Loaded, Player } from "./player.js";
import { Timeline, clock } from "./timeline.js";
import { Grid } from "./grid.js";
import { showAgreement } from "./agreement.js";
import { edit } from "./edit.js";

const AHEAD = 3;
const shelf = (name, otherwise = "") => localStorage.getItem(`corpus-review-${name}`) ?? otherwise;
const keep = (name, value) => localStorage.setItem(`corpus-review-${name}`, value);

let state = null, name = "", view = "one", now = null, draft = null, since = 0, note = "", adding = null, decided = [], generation = 0;
let ahead = [], filling = null, serial = 0, shows = 0;
let quiet = 0, saying = 0, lastState = () => {};
const skipped = [], history = [];

const player = new Player(one("#screen"), (timeUs) => { timeline.follow(timeUs); showSaid(timeUs); one("#play span").textContent = player.playing ? "Pause" : "Play"; });
player.span = () => (draft ? { start: draft.start_us, stop: draft.stop_us } : { start: 0, stop: 0 });
const timeline = new Timeline(one("#line"), one("#lanes"), { start: one("#start"), stop: one("#stop") }, { seek: (us) => player.seek(us), move: moveEdge, edit: () => actions.edit() });
let outbox = null;
const newOutbox = () => new Outbox({
  name: () => name,
  store: state.store,
  onKept: (told) => { if (told.progress) showProgress(told.progress, told.disputed); notice(told.generation); },
  onState: (waiting, problem) => { clearTimeout(saying); const node = one("#saved"); lastState = () => { node.textContent = problem ? (waiting ? `${waiting} not saved yet: ${problem}` : problem) : waiting ? "saving…" : "saved"; node.classList.toggle("bad", Boolean(problem)); }; if (problem || performance.now() > quiet) lastState(); else saying = setTimeout(() => lastState(), quiet - performance.now()); },
  onRefused: showRefused,
});
const grid = new Grid({
  fetch: async (number, without) => (await draw(number, without.map((card) => [card.item.recording, card.item.item]))).items,
  decide: (item, verdict, spent) => send(item, { verdict, spent_ms: spent, draw: item.draw === "random" ? "random" : "grid" }),
  open: (item) => { setView("one", false); show(new Loaded(item)); },
});

// -- drawing items ---------------------------------------------------------------------------

const mode = () => one("#mode").value;
const label = () => one("#label").value;
const draw = (number, without) => post("/api/next", name, { mode: mode(), label: view === "grid" ? label() || mostFrequent() : label(), number, without: [...without, ...skipped] });
const mostFrequent = () => Object.entries(state.counts).sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";

async function fill() {
  if (filling) return filling;
  const mine = serial;
  filling = (async () => {
    try {
      const without = [now, ...ahead.map((loaded) => loaded.item)].filter(Boolean).map((item) => [item.recording, item.item]);
      const found = await draw(AHEAD, [...without, ...history.slice(-20).map((done) => [done.item.recording, done.item.item])]);
      if (mine !== serial) return;
      showProgress(found.progress, found.disputed);
      notice(found.generation);
      ahead.push(...found.items.map((item) => new Loaded(item)));
    } catch (error) { complain(error.message); } finally { if (mine === serial) filling = null; }
  })();
  return filling;
}

// While the next cue is on its way nothing can be decided: a key would hit the one that is done.
async function next() {
  if (!ahead.length) {
    const mine = (shows += 1);
    now = null;
    document.body.dataset.waiting = "1";
    await fill();
    if (mine !== shows) return;
  }
  delete document.body.dataset.waiting;
  const loaded = ahead.shift();
  one("#empty").hidden = Boolean(loaded) || view !== "one";
  one("#one").hidden = !loaded || view !== "one";
  if (!loaded) { now = null; shows += 1; player.show(null); return; }
  show(loaded);
  if (ahead.length < 2) fill();
}

function restart() {
  serial += 1;
  filling = null;
  for (const loaded of ahead) loaded.drop();
  ahead = [];
  if (view === "one") next(); else if (view === "grid") grid.start();
}

function show(loaded) {
  const before = player.loaded;
  shows += 1;
  delete document.body.dataset.waiting;
  now = loaded.item;
  draft = { ...now.cue };
  note = "";
  since = performance.now();
  timeline.show(now, { start: draft.start_us, stop: draft.stop_us });
  player.show(loaded);
  if (before && before !== loaded) before.drop();
  one("#heard").textContent = "mix";
  drawJudge();
  player.play();
}

// -- the cue and what is made of it ----------------------------------------------------------

const changed = () => ["label", "kind", "speaker", "start_us", "stop_us"].some((field) => draft[field] !== now.cue[field]);

function drawJudge() {
  const by = now.cue.origin.startsWith("human:") ? now.cue.origin.slice(6) : `${now.cue.origin}, ${Math.round(100 * now.cue.confidence)} % sure`;
  one("#chip").className = `chip ${tone(now, draft.speaker)}`;
  one("#chip").textContent = draft.speaker ?? "nobody";
  one("#times").textContent = `${seconds(draft.start_us)} – ${seconds(draft.stop_us)} s of ${now.uri} · ${by}`;
  const title = one("#title");
  title.replaceChildren(words(draft.label), draft.kind ? el("small", {}, ` ${words(draft.kind)}`) : "");
  title.classList.toggle("changed", changed());
  one("#screen").parentElement.classList.toggle("blind", !now.pictures);
  one("#meaning").textContent = state.meanings[draft.label]?.text ?? "";
  one("#yes").textContent = changed() ? "Save change" : "Right";
  one("#noting").setAttribute("aria-pressed", String(Boolean(note)));
  const names = Object.keys(state.labels);
  one("#labels").replaceChildren(el("span", {}, "label"), ...names.map((each, n) => el("button", { type: "button", "aria-pressed": String(each === draft.label), onclick: () => setLabel(each) }, el("kbd", {}, String((n + 1) % 10)), ` ${words(each)}`)));
  one("#kinds").replaceChildren(el("span", {}, "kind ", el("kbd", {}, "K")), ...state.labels[draft.label].map((kind) => el("button", { type: "button", "aria-pressed": String(kind === draft.kind), onclick: () => { draft.kind = kind; redraw(); } }, words(kind))));
  one("#voices").replaceChildren(el("span", {}, "who ", el("kbd", {}, "F")), ...now.speakers.map((each) => el("button", { type: "button", class: `tone ${tone(now, each)}`, "aria-pressed": String(each === draft.speaker), onclick: () => { draft.speaker = each; redraw(); } }, each)));
  const others = one("#others");
  others.hidden = !now.said.length;
  others.replaceChildren(...now.said.map((said) => {
    const cue = said.becomes[0]?.cue;
    const what = cue ? `${words(cue.label)} ${words(cue.kind)} ${seconds(cue.start_us)} – ${seconds(cue.stop_us)} s` : { accept: "right", reject: "wrong", unsure: "unsure" }[said.verdict] ?? said.verdict;
    return el("div", {}, el("b", {}, said.annotator), `: ${what}${said.note ? ` “${said.note}”` : ""} `, cue ? el("button", { type: "button", onclick: () => { Object.assign(draft, { label: cue.label, kind: cue.kind, start_us: cue.start_us, stop_us: cue.stop_us }); redraw(); } }, "take") : "");
  }));
  timeline.name = `${words(draft.label)} ${words(draft.kind)}`.trim();
}

function redraw() { timeline.span = { start: draft.start_us, stop: draft.stop_us }; drawJudge(); timeline.draw(); }

function setLabel(each) { if (draft.label !== each) { draft.label = each; draft.kind = state.labels[each].includes(draft.kind) ? draft.kind : state.labels[each][0] ?? ""; } redraw(); }

function moveEdge(which, us) {
  if (!now) return;
  const least = 1e4;
  if (which === "start") draft.start_us = Math.min(Math.max(0, us), draft.stop_us - least);
  else draft.stop_us = Math.max(Math.min(now.duration_us, us), draft.start_us + least);
  redraw();
}

function showSaid(timeUs) {
  if (!now) return;
  const rows = now.speakers.map((speaker) => {
    const near = now.words.filter((w) => w.speaker === speaker && w.start_us !== null && w.start_us < timeUs + 2e6 && w.stop_us > timeUs - 2e6);
    return [speaker, near];
  }).filter(([, near]) => near.length).sort(([a], [b]) => Number(b === draft.speaker) - Number(a === draft.speaker)).slice(0, 2);
  const key = rows.map(([speaker, near]) => speaker + near.map((w) => w.id + (w.start_us <= timeUs && timeUs < w.stop_us)).join()).join();
  if (key === showSaid.key) return;
  showSaid.key = key;
  one("#said").replaceChildren(...rows.map(([speaker, near]) => el("p", { class: tone(now, speaker) }, el("b", {}, speaker), ...near.map((w) => el(w.start_us <= timeUs && timeUs < w.stop_us ? "mark" : "span", {}, `${w.text}${w.after} `)))));
}

// -- deciding --------------------------------------------------------------------------------

function send(item, more) {
  const review = { id: id(), recording: item.recording, about: "cue", item: item.item, judged: more.verdict === "add" ? undefined : { cue: item.cue }, draw: item.draw, client_at_us: Date.now() * 1000, role: mode() === "disagreement" ? "adjudication" : "annotation", ...more };
  outbox.add(review);
  history.push({ id: review.id, item, verdict: review.verdict });
  decided.push(performance.now());
  return review.id;
}

const clean = (cue) => ({ ...cue, id: "" });

function decide(verdict) {
  if (!now) return;
  const item = now, correct = verdict === "accept" && changed();
  document.body.dataset.decidedAt = String(performance.now());
  send(item, { verdict: correct ? "correct" : verdict, becomes: correct ? [{ cue: clean(draft) }] : [], note, spent_ms: Math.round(performance.now() - since) });
  next();
}

async function undo() {
  let last = history.pop();
  if (!last) {
    const found = await get("/api/last", name).catch(() => null);
    if (!found?.id) { complain("you have nothing to undo"); return; }
    last = { id: found.id, item: found.item, verdict: found.verdict };
  }
  outbox.add({ id: id(), verdict: "undo", undoes: last.id, recording: last.item?.recording ?? "", item: last.item?.item ?? "", client_at_us: Date.now() * 1000 });
  decided.pop();
  say(`undone: ${last.verdict}`);
  if (view === "grid") grid.undone(last.id);
  else if (last.item && last.verdict !== "add") { if (player.loaded && now) ahead.unshift(new Loaded(now)); one("#one").hidden = false; one("#empty").hidden = true; show(new Loaded(last.item)); }
}

function startAdding() { if (!now || adding !== null) return; if (!player.playing) player.play(); adding = player.timeUs; timeline.adding = adding; one("#add").classList.add("held"); }

function stopAdding() {
  if (adding === null) return;
  const start = Math.round(Math.min(adding, player.timeUs) / 1e4) * 1e4, stop = Math.min(now.duration_us, Math.max(start + 2e4, Math.round(player.timeUs / 1e4) * 1e4));
  adding = null;
  timeline.adding = null;
  one("#add").classList.remove("held");
  const talk = now.speakers.map((speaker) => now.turns.filter((t) => t.speaker === speaker).reduce((sum, t) => sum + Math.max(0, Math.min(t.stop_us, stop) - Math.max(t.start_us, start)), 0));
  const most = Math.max(...talk), speaker = player.channel !== "mix" && now.speakers[player.channel] ? now.speakers[player.channel] : most > 0 ? now.speakers[talk.indexOf(most)] : draft.speaker;
  const cue = { ...draft, start_us: start, stop_us: stop, speaker, partner: null, confidence: 1, origin: `human:${name}`, evidence: "{}", thresholds: "{}", spans: [], id: "" };
  send({ ...now, item: `a${id().slice(0, 16)}` }, { verdict: "add", becomes: [{ cue }] });
  now.cues.push({ ...cue, id: `added${start}` });
  timeline.draw();
  say(`added ${words(cue.label)} of ${speaker ?? "nobody"}, ${seconds(start)} – ${seconds(stop)} s; Z undoes it`);
}

// -- what the page says ----------------------------------------------------------------------

// What was just done stays readable for a moment before "saved" takes its place.
function say(text) { quiet = performance.now() + 2500; const node = one("#saved"); node.classList.remove("bad"); node.textContent = text; }
function complain(text) { const node = one("#saved"); node.classList.add("bad"); node.textContent = text; }

function notice(found) {
  if (!found || found === generation) return;
  if (!generation) { generation = found; return; }
  const node = one("#notice");
  node.hidden = false;
  node.replaceChildren("The dataset has been rebuilt. Your decisions are kept. ", el("button", { type: "button", onclick: () => location.reload() }, "Reload"));
}

// A decision that the server cannot take is not thrown away: it is named, and can be saved to a file.
function showRefused(refused) {
  const node = one("#refused"), last = refused[refused.length - 1];
  node.hidden = false;
  node.replaceChildren(`${refused.length} decision${refused.length === 1 ? " was" : "s were"} refused: ${last.why}. `,
    el("button", { type: "button", onclick: () => { const link = el("a", { href: URL.createObjectURL(new Blob([JSON.stringify(refused, null, 1)], { type: "application/json" })), download: "refused-reviews.json" }); link.click(); } }, "Save to a file"), " ",
    el("button", { type: "button", onclick: () => { outbox.forget(); node.hidden = true; } }, "Forget"));
}

function showProgress(progress, disputed) {
  const minute = decided.filter((at) => performance.now() - at < 60000).length, left = Math.max(0, progress.whole - progress.done);
  one("#meter").max = Math.max(1, progress.whole);
  one("#meter").value = progress.done;
  const hours = minute ? left / minute / 60 : 0, time = !minute ? "" : hours >= 1 ? ` · ${hours.toFixed(0)} h left` : ` · ${Math.ceil(hours * 60)} min left`;
  one("#pace").textContent = `${progress.done.toLocaleString()} of ${progress.whole.toLocaleString()}${minute ? ` · ${minute} a minute` : ""}${time}${disputed ? ` · ${disputed} disputed` : ""}`;
}

const KEYS = [["space", "play or stop"], ["A or Enter", "right, or save the change"], ["X", "wrong"], ["U", "unsure"], ["S", "skip"], ["Z", "undo the last decision"], ["N", "note"], ["Q W", "start 10 ms earlier, later (shift: 50 ms)"], ["O P", "end 10 ms earlier, later"], ["1 … 0", "label"], ["K", "next kind"], ["F", "next speaker"], ["M, held", "add a cue: hold it while the sound plays"], ["H", "half speed"], ["L", "loop the cue"], ["V", "hear the mix, one voice after another, the room"], ["← →", "one window back, forward"], ["+ −", "zoom"], ["D", "what the label means, with an example to hear"], ["E", "words, turns, speakers"], ["G", "grid, or one at a time"], ["T", "light or dark"]];

function showHelp() { ask("Keys", el("dl", {}, ...KEYS.flatMap(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)]))); }

async function showDefinition() {
  const each = draft?.label ?? mostFrequent(), meaning = state.meanings[each];
  const hear = el("button", { type: "button", onclick: async () => {
    try { const found = await get(`/api/example/${each}`, name); const audio = new Audio(`/sound/${found.recording}/${found.from_us}-${found.to_us}/mix.wav`); audio.play(); hear.textContent = `Playing ${found.cue.speaker ?? ""} at ${clock(found.cue.start_us)}`; } catch (error) { hear.textContent = error.message; }
  } }, "Hear an example");
  player.pause();
  await ask(words(each), el("div", {}, el("p", {}, meaning?.text ?? ""), el("dl", {}, ...Object.entries(meaning?.kinds ?? {}).flatMap(([kind, text]) => [el("dt", {}, el("b", {}, words(kind))), el("dd", {}, text)])), el("p", {}), hear), { focus: hear });
}

async function writeNote() {
  const text = el("textarea", { "aria-label": "note", maxlength: "2000" });
  text.value = note;
  if (await ask("Note on this cue", text, { save: "Keep", focus: text })) { note = text.value.trim(); drawJudge(); say("the note goes with your decision"); }
}

async function askName(why) {
  const input = el("input", { value: name, maxlength: "64", "aria-label": "your name", autocomplete: "name" });
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); one("#dialog").close("ok"); } });
  while (true) {
    const ok = await ask("Who are you?", el("div", {}, el("p", {}, why), input), { save: "Start", focus: input });
    const given = input.value.trim();
    if (ok && given) { name = given; break; }
    if (name) break;
  }
  keep("name", name);
  one("#who").textContent = name;
}

function setTheme(theme) { if (theme) document.documentElement.dataset.theme = theme; keep("theme", theme); timeline.draw(); }

function setView(which, begin = true) {
  view = which;
  player.pause();
  grid.stop();
  for (const button of all("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === which));
  for (const each of ["one", "grid", "agree", "empty"]) one(`#${each}`).hidden = each !== which;
  if (!begin) return;
  if (which === "one") { if (player.loaded && now) { player.play(); } else next(); }
  if (which === "grid") grid.start().catch((error) => complain(error.message));
  if (which === "agree") showAgreement(() => { one("#mode").value = "disagreement"; now = null; setView("one", false); restart(); }, (ruling) => outbox.add({ id: id(), role: "adjudication", draw: "disagreement", client_at_us: Date.now() * 1000, ...ruling })).catch((error) => complain(error.message));
}

const actions = {
  play: () => player.toggle(),
  accept: () => decide("accept"), reject: () => decide("reject"), unsure: () => decide("unsure"),
  skip: () => { if (now) { skipped.push([now.recording, now.item]); next(); } },
  undo, note: writeNote,
  half: () => { player.setRate(player.rate === 1 ? 0.5 : 1); one('[data-do="half"]').setAttribute("aria-pressed", String(player.rate !== 1)); },
  loop: () => { player.loop = !player.loop; one('[data-do="loop"]').setAttribute("aria-pressed", String(player.loop)); if (player.loop) player.play(); },
  listen: () => { if (!now) return; const choices = ["mix", ...now.channels.keys()]; const at = choices[(choices.indexOf(player.channel) + 1) % choices.length]; player.listen(at); one("#heard").textContent = at === "mix" ? "mix" : now.channels[at]; },
  definition: showDefinition,
  edit: async () => { if (!now) return; player.pause(); const count = await edit(now, player.timeUs, (review) => { outbox.add({ client_at_us: Date.now() * 1000, ...review }); history.push({ id: review.id, item: now, verdict: review.about }); }); if (count) say(`${count} correction${count === 1 ? "" : "s"} kept; the next build uses them`); },
  in: () => timeline.zoom(0.6), out: () => timeline.zoom(1.6),
};
const nudge = { q: ["start", -1], w: ["start", 1], o: ["stop", -1], p: ["stop", 1] };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || one("#dialog").open || !state) return;
  // A field of a dialog that has just been shut keeps the focus until the next frame is drawn.
  const field = event.target.closest?.("select, input, textarea");
  if (field && !one("#dialog").contains(field)) return;
  const key = event.key.toLowerCase();
  if (key === "?" ) { event.preventDefault(); return showHelp(); }
  if (key === "t") return setTheme(dark() ? "light" : "dark");
  if (key === "g") return setView(view === "grid" ? "one" : "grid");
  if (key === "z") { event.preventDefault(); if (!event.repeat) undo(); return; }
  if (view === "grid") return grid.key(event);
  if (view !== "one" || !now) return;
  const button = event.target.closest?.("button");
  if (button && (event.key === " " || event.key === "Enter")) return;
  const plain = { " ": "play", a: "accept", enter: "accept", x: "reject", u: "unsure", s: "skip", n: "note", h: "half", l: "loop", v: "listen", d: "definition", e: "edit", "+": "in", "=": "in", "-": "out" }[key];
  if (plain) { event.preventDefault(); if (!event.repeat || plain === "in" || plain === "out") actions[plain](); return; }
  if (nudge[key]) { event.preventDefault(); const [edge, way] = nudge[key]; return moveEdge(edge, draft[`${edge}_us`] + way * (event.shiftKey ? 5e4 : 1e4)); }
  if (key === "m") { event.preventDefault(); return startAdding(); }
  if (key === "k") { const kinds = state.labels[draft.label]; draft.kind = kinds[(kinds.indexOf(draft.kind) + 1) % kinds.length] ?? ""; return redraw(); }
  if (key === "f") { const all = now.speakers; draft.speaker = all[(all.indexOf(draft.speaker) + 1) % all.length] ?? null; return redraw(); }
  if (key === "arrowleft" || key === "arrowright") { event.preventDefault(); return player.seek(player.timeUs + (key === "arrowleft" ? -2e5 : 2e5)); }
  if (/^[0-9]$/.test(key)) { const each = Object.keys(state.labels)[(Number(key) + 9) % 10]; if (each) setLabel(each); }
});
document.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "m") stopAdding(); });
window.addEventListener("blur", stopAdding);
for (const button of all("[data-do]")) button.addEventListener("click", () => { if (now || button.dataset.do === "undo") actions[button.dataset.do](); });
for (const button of all("[data-view]")) button.addEventListener("click", () => setView(button.dataset.view));
one("#add").addEventListener("pointerdown", startAdding);
for (const end of ["pointerup", "pointerleave", "pointercancel"]) one("#add").addEventListener(end, stopAdding);
one("#mode").addEventListener("change", () => { keep("mode", mode()); one("#mode").blur(); restart(); });
one("#label").addEventListener("change", () => { keep("label", label()); one("#label").blur(); restart(); });
one("#help").addEventListener("click", showHelp);
one("#theme").addEventListener("click", () => setTheme(dark() ? "light" : "dark"));
one("#who").addEventListener("click", async () => { player.pause(); const before = name; await askName("Every decision carries this name."); if (name !== before) { history.length = 0; restart(); } });
const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (!shelf("theme")) document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"; timeline.draw(); });

async function begin() {
  document.documentElement.dataset.theme = shelf("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  state = await get("/api/state", shelf("name"));
  name = state.annotator || shelf("name");
  outbox = newOutbox();
  generation = state.generation;
  one("#dataset").textContent = state.dataset;
  document.title = `${state.dataset}: review`;
  one("#label").append(...Object.entries(state.counts).map(([each, count]) => el("option", { value: each }, `${words(each)} (${count.toLocaleString()})`)));
  one("#label").value = shelf("label") in state.counts ? shelf("label") : "";
  if (state.modes.includes(shelf("mode"))) one("#mode").value = shelf("mode");
  if (!name) await askName("Your name goes with every decision, so that people's judgements can be compared.");
  one("#who").textContent = name;
  await next();
  document.body.dataset.ready = "1";
}
begin().catch((error) => complain(error.message));
setInterval(() => get("/api/state", name).then((found) => { notice(found.generation); }, () => {}), 15000);
