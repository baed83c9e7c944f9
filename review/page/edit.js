// Words, turns and speakers around the cue, corrected in a table: the same decisions, the same way back.
import { ask, el, id, seconds } from "./dom.js";

const NEW = "\u0000new";

export async function edit(item, timeUs, send) {
  const names = item.speakers, changes = [];
  const speakers = (now, label) => el("select", { "aria-label": label }, ...names.map((name) => el("option", { value: name, selected: name === now }, name)), el("option", { value: NEW }, "somebody new"));
  const wordRows = item.words.filter((w) => w.start_us !== null).map((word) => {
    const text = el("input", { value: word.text, "aria-label": `word at ${seconds(word.start_us)} s`, maxlength: "100" }), who = speakers(word.speaker, "who says it");
    changes.push(() => {
      const said = text.value.trim(), speaker = named(who.value, names);
      if (said === word.text && speaker === word.speaker) return null;
      return said ? { about: "word", item: word.id, judged: { word }, verdict: "correct", becomes: [{ word: { ...word, text: said, speaker, timing: word.timing, id: "" } }] } : { about: "word", item: word.id, judged: { word }, verdict: "reject" };
    });
    return el("tr", {}, el("td", {}, seconds(word.start_us)), el("td", {}, text), el("td", {}, who));
  });
  const turnRows = item.turns.map((turn) => {
    const who = speakers(turn.speaker, "who talks"), split = timeUs > turn.start_us + 2e4 && timeUs < turn.stop_us - 2e4;
    const what = el("select", { "aria-label": "what to do with the turn" }, el("option", { value: "keep" }, "one turn"), split ? el("option", { value: "split" }, `split at ${seconds(timeUs)} s`) : null, el("option", { value: "none" }, "nobody talks"));
    const second = speakers(turn.speaker, "who talks after the split");
    second.hidden = true;
    what.addEventListener("change", () => { second.hidden = what.value !== "split"; });
    changes.push(() => {
      const speaker = named(who.value, names);
      if (what.value === "none") return { about: "turn", item: turn.id, judged: { turn }, verdict: "reject" };
      if (what.value === "split") return { about: "turn", item: turn.id, judged: { turn }, verdict: "correct", becomes: [{ turn: { ...turn, speaker, stop_us: timeUs, id: "" } }, { turn: { ...turn, speaker: named(second.value, names), start_us: timeUs, id: "" } }] };
      return speaker === turn.speaker ? null : { about: "turn", item: turn.id, judged: { turn }, verdict: "correct", becomes: [{ turn: { ...turn, speaker, id: "" } }] };
    });
    return el("tr", {}, el("td", {}, `${seconds(turn.start_us)} – ${seconds(turn.stop_us)}`), el("td", {}, who), el("td", {}, what, second));
  });
  const voiceRows = names.map((name) => {
    const to = el("input", { value: name, list: "known", "aria-label": `name of ${name}`, maxlength: "64" });
    changes.push(() => { const now = to.value.trim(); return now && now !== name ? { about: "speaker", item: name, verdict: "correct", becomes: [{ speaker: now }] } : null; });
    return el("tr", {}, el("td", {}, name), el("td", {}, to));
  });
  const list = el("datalist", { id: "known" }, ...names.map((name) => el("option", { value: name })));
  const part = (title, hint, rows) => (rows.length ? [el("h3", {}, title), el("p", { class: "note" }, hint), el("table", {}, el("tbody", {}, ...rows))] : []);
  const body = el("div", {}, list, ...part("Words", "An empty word is removed.", wordRows), ...part("Turns", "A turn is split at the play head; its words go with it.", turnRows), ...part("Speakers, in the whole recording", "Give one the name of another to merge them.", voiceRows));
  if (!(await ask("Words, turns, speakers", body, { save: "Save", focus: body.querySelector("input, select") }))) return 0;
  const found = changes.map((change) => change()).filter(Boolean);
  for (const change of found) send({ id: id(), recording: item.recording, draw: "chosen", ...change });
  return found.length;
}

function named(value, names) {
  if (value !== NEW) return value;
  for (let n = 1; ; n += 1) if (!names.includes(`S${n}`)) return `S${n}`;
}
