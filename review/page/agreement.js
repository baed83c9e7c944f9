// What annotators agree on, and how good the labelers are by their judgement.
import { el, get, one, words } from "./dom.js";

const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const share = (value) => (value === null || value === undefined ? "–" : `${Math.round(100 * value)} %`);

function table(title, columns, rows, marked = []) {
  const head = el("tr", {}, ...columns.map(([name, look]) => el("th", { scope: "col", class: look ?? "" }, name)));
  const body = rows.map((row, n) => el("tr", { class: marked[n] ? "doubt" : "" }, ...row.map((cell, i) => el("td", { class: columns[i][1] ?? "" }, cell))));
  return el("section", {}, el("h2", {}, title), el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...body))));
}

const clockTime = (us) => `${Math.floor(us / 6e7)}:${String(Math.floor(us / 1e6) % 60).padStart(2, "0")}`;
const content = (part) => (part ? part.word ?? part.turn ?? part.speaker : null);
const shownAs = (about, part) => {
  const found = content(part);
  if (found === null || found === undefined) return "taken out";
  if (about === "speaker") return found;
  return about === "word" ? `“${found.text}” of ${found.speaker}` : `${found.speaker} ${(found.start_us / 1e6).toFixed(2)} – ${(found.stop_us / 1e6).toFixed(2)} s`;
};

// Words, turns and speakers: one press takes what somebody said for the ruling.
function talk(disputes, rule) {
  if (!disputes.length) return "";
  const row = (one) => {
    const cell = el("span", { class: "ends" });
    cell.append(...one.said.map((said) => {
      const parts = said.verdict === "accept" ? [one.judged] : said.becomes, text = parts.length ? parts.map((part) => shownAs(one.about, part)).join(" + ") : "removed";
      return el("button", { type: "button", onclick: () => { rule({ about: one.about, recording: one.recording, item: one.item, judged: one.judged ?? undefined, verdict: said.verdict, becomes: said.becomes }); cell.replaceChildren(`ruled: ${text}`); } }, `${said.annotator}: ${text}`);
    }));
    const at = content(one.judged)?.start_us;
    return [words(one.about), `${shownAs(one.about, one.judged)}`, at === undefined ? one.uri : `${one.uri} ${clockTime(at)}`, cell];
  };
  return table("Disputed words, turns and speakers", [[""], ["original"], ["where"], ["accept the answer of"]], disputes.map(row));
}

export async function showAgreement(adjudicate, rule) {
  const [report, disputes] = await Promise.all([get("/api/agreement"), get("/api/disputes")]);
  const figures = [["decisions", report.decisions], ["items", report.items], ["annotators", report.annotators.length], ["judged by two or more", report.doubly], ["disputed", report.disputed]];
  const agreements = (title, found) => table(title, [[""], ["items", "n"], ["same", "n"], ["kappa", "n"], ["alpha", "n"], ["distance of ends, median", "n"], ["≤ 50 ms", "n"], ["≤ 100 ms", "n"], ["≤ 200 ms", "n"]],
    found.map((a) => [words(a.name), String(a.items), share(a.agree), number(a.kappa), number(a.alpha), a.boundaries.median_ms === null ? "–" : `${Math.round(a.boundaries.median_ms)} ms`, ...a.boundaries.within.map((w) => (a.boundaries.ends ? share(w) : "–"))]));
  one("#agreement").replaceChildren(
    el("h1", {}, "Agreement"),
    el("dl", { class: "figures" }, ...figures.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value.toLocaleString())))),
    report.disputed > disputes.length ? el("p", {}, el("button", { type: "button", class: "yes", onclick: adjudicate }, `Rule on ${report.disputed - disputes.length} disputed cue${report.disputed - disputes.length === 1 ? "" : "s"}`)) : "",
    talk(disputes, rule),
    report.labels.length ? agreements("By label", report.labels) : el("p", { class: "note" }, "No item has been judged by two people yet: start the server with --overlap 2."),
    report.pairs.length ? agreements("By pair of annotators", report.pairs) : "",
    table("Labelers, as judged by people", [["label"], ["labeler"], ["judged", "n"], ["right", "n"], ["precision", "n"], ["95 %", "n"], ["found only by people", "n"], ["recall", "n"], ["95 %", "n"], [""]],
      report.quality.map((q) => [words(`${q.label} ${q.kind}`), q.origin, String(q.judged), String(q.right), share(q.precision), `${share(q.precision_low)} to ${share(q.precision_high)}`, String(q.added), share(q.recall), `${share(q.recall_low)} to ${share(q.recall_high)}`, q.doubtful ? "check its thresholds" : q.sampled ? "random sample" : "not a random sample"]),
      report.quality.map((q) => q.doubtful)),
  );
}
