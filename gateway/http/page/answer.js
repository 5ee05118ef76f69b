// What was found, in words and bars.

import { showCalls } from "./calls.js";
import { byId, copy, el, number, percent, track } from "./dom.js";

const EXPRESSIONS = ["happy", "surprised", "neutral", "sad", "angry", "fear", "disgust"];
const TIMES = [
  ["total_ms", "in all"], ["decode_ms", "decoding"], ["detector_ms", "finding faces"],
  ["classifiers_ms", "judging them"], ["queue_ms", "longest wait"], ["compute_ms", "longest run"],
];

const badges = (result) => [
  result.cached ? el("span", { class: "badge good", title: "From the cache; the models are those that made it then." }, "cached") : null,
  result.degraded ? el("span", { class: "badge warn", title: "A model did not answer; the others voted without it." }, "degraded") : null,
  el("span", { class: "badge", title: `variant; pipeline ${result.fingerprint}` }, result.variant),
];

const bars = (probabilities, top) => el("div", { class: "bars" },
  EXPRESSIONS.map((name) => el("div", { class: `bar ${name}${name === top ? " top-one" : ""}` },
    el("span", {}, name), track(probabilities[name] ?? 0),
    el("span", { class: "value num" }, `${(100 * (probabilities[name] ?? 0)).toFixed(1)} %`))));

const opinion = (one) => {
  const mini = el("div", { class: "mini", "aria-hidden": "true" });
  for (const name of EXPRESSIONS) {
    const part = el("span", { class: name });
    part.style.width = `${100 * (one.probabilities[name] ?? 0)}%`;
    mini.append(part);
  }
  return el("div", { class: "opinion" },
    el("div", { class: "line" },
      el("span", {}, el("b", {}, one.model.name), el("span", { class: "who" }, ` ${one.model.version} · ${percent(one.weight)} of the vote`)),
      el("span", { class: "num" }, `${one.expression} ${percent(one.confidence)}`)),
    mini);
};

const faceCard = (face) => el("section", { class: "card face", "aria-label": "Face" },
  el("div", { class: "verdict" }, el("strong", {}, face.expression), el("span", { class: "num" }, percent(face.confidence))),
  face.degraded ? el("p", { class: "fine" }, `Without ${face.missing_models.join(", ")}, which did not answer.`) : null,
  bars(face.probabilities, face.expression));

const opinionsCard = (face) => face.models.length === 0 ? null : el("section", { class: "card" },
  el("h2", {}, "What each model said"), el("div", { class: "opinions" }, face.models.map(opinion)));

const timesCard = (result) => el("section", { class: "card" },
  el("h2", {}, "Where the time went"),
  el("div", { class: "times" }, TIMES.filter(([name]) => result.timings[name] > 0 || name === "total_ms").map(([name, said]) =>
    el("div", {}, el("b", { class: "num" }, `${number(result.timings[name])} ms`), el("span", {}, said)))));

const callsCard = (picture, options) => {
  const card = el("section", { class: "card calls" });
  const json = JSON.stringify(picture.result, null, 2);
  card.append(
    el("div", { class: "row" }, el("h2", {}, "The same call"),
      el("button", { class: "small last", id: "copy-json", onclick: () => copy(json, "JSON") }, "Copy JSON")));
  showCalls(card, picture, options, json);
  return card;
};

// Stay as long as there are as many: a click on one that is exchanged meanwhile would be lost, and the focus with it.
let faceButtons = el("div");
const faces = (result, chosen, choose) => {
  if (faceButtons.children.length !== result.faces.length) {
    faceButtons = el("div", { class: "faces", role: "group", "aria-label": "Faces" }, result.faces.map(() => el("button")));
  }
  result.faces.forEach((one, index) => {
    const button = faceButtons.children[index];
    button.className = one.expression;
    button.setAttribute("aria-pressed", String(index === chosen));
    button.textContent = `${one.expression} ${percent(one.confidence)}`;
    button.onclick = () => choose(index);
  });
  return faceButtons;
};

// As `replaceChildren`, but what stays is never out of the document.
const fillAnswer = (...children) => {
  const node = byId("answer");
  for (const child of [...node.childNodes]) if (!children.includes(child)) child.remove();
  children.forEach((child, index) => {
    if (node.childNodes[index] !== child) node.insertBefore(child, node.childNodes[index] ?? null);
  });
};

export const showNothing = () => {
  byId("side-empty").hidden = false;
  byId("answer").hidden = true;
};

export const showProblem = (name, problem) => {
  byId("side-empty").hidden = true;
  const { title, detail, field, request_id: id } = problem.document ?? problem;
  byId("answer").hidden = false;
  byId("answer").replaceChildren(el("section", { class: "card problem", role: "alert" },
    el("h2", {}, title ?? "No answer"),
    el("p", {}, `${name ? `${name}: ` : ""}${field && !name ? `${field} ` : ""}${detail}`),
    id ? el("p", { class: "fine mono" }, `request ${id}`) : null));
};

export const showAnswer = (picture, chosen, choose, options) => {
  const { result } = picture;
  const count = result.faces.length;
  const face = result.faces[chosen];
  byId("side-empty").hidden = true;
  byId("answer").hidden = false;
  fillAnswer(
    el("div", { class: "heading" },
      el("h2", {}, count === 0 ? "No face found" : count === 1 ? "1 face" : `${count} faces`), badges(result)),
    ...(count === 0 ? [el("p", { class: "fine" }, "That is an answer, too. Small faces: try a closer look under Options.")] : []),
    ...(count > 1 ? [faces(result, chosen, choose)] : []),
    ...(face ? [faceCard(face), opinionsCard(face)].filter(Boolean) : []),
    timesCard(result),
    ...(picture.live ? [] : [callsCard(picture, options)]));
};
