export const one = (selector) => document.querySelector(selector);
export const all = (selector) => [...document.querySelectorAll(selector)];
export function el(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
export const words = (text) => text.replaceAll("_", " ");
export const tone = (item, speaker) => { const n = item.speakers.indexOf(speaker); return n < 0 ? "room" : `s${n}`; };
export const id = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
export const seconds = (us) => (us / 1e6).toFixed(2);

// A dialog with a title and a body; resolves to true where it was saved. "close" comes a moment after the dialog is shut,
// and the next one may be open by then: whoever asks next first settles what was asked before.
let settle = () => {};
one("#dialog").addEventListener("close", () => { if (!one("#dialog").open) settle(); });
export function ask(title, body, { save = "", focus = null } = {}) {
  const dialog = one("#dialog");
  settle();
  const asked = new Promise((done) => { settle = () => done(dialog.returnValue === "ok"); });
  one("#dialogtitle").textContent = title;
  one("#dialogbody").replaceChildren(body);
  one("#ok").hidden = !save;
  one("#ok").textContent = save || "Save";
  one("#cancel").textContent = save ? "Cancel" : "Close";
  dialog.returnValue = "cancel";
  if (!dialog.open) dialog.showModal();
  (focus ?? one(save ? "#ok" : "#cancel")).focus();
  return asked;
}

export async function get(path, name = "") {
  const answer = await fetch(path, { headers: { "x-annotator": encodeURIComponent(name) } });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `error ${answer.status}`);
  return answer.json();
}
export async function post(path, name, body) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json", "x-annotator": encodeURIComponent(name) }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `error ${answer.status}`);
  return answer.json();
}
