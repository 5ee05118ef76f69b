// The pictures of this visit: chosen, dropped or pasted, each with its answer.

import { Problem, recognise, recogniseMany } from "./api.js";
import { showAnswer, showNothing, showProblem } from "./answer.js";
import { byId, el, toast } from "./dom.js";
import { options } from "./options.js";
import { drawFaces, setStage, showPicture } from "./stage.js";

const MOST = 64;
const BATCH = 16;
const pictures = [];
let current = null;

// An answer to options that were changed meanwhile is no answer.
const settle = (picture, answer, chosen) => {
  if (picture.options !== chosen) return;
  picture.pending = false;
  if (answer instanceof Error) picture.problem = answer;
  else if (answer.error) picture.problem = new Problem(answer.error, answer.error.status);
  else picture.result = answer.result ?? answer;
  if (picture === current) show(picture);
  else drawStrip();
};

const mark = (picture) => {
  if (picture.problem) return "!";
  return picture.result ? String(picture.result.faces.length) : "…";
};

const describe = (picture) => {
  if (picture.problem) return `${picture.name}: no answer`;
  if (!picture.result) return `${picture.name}: under way`;
  const found = picture.result.faces.map((face) => face.expression).join(", ");
  return `${picture.name}: ${found || "no face"}`;
};

const stripButton = (picture) => el("button", { onclick: () => show(picture) },
  el("img", { src: picture.url, alt: "", loading: "lazy", onerror: (event) => event.target.classList.add("unseen") }), el("span"));

// Buttons stay: a click on one that is exchanged meanwhile would be lost, and the focus with it.
const drawStrip = () => {
  byId("strip").hidden = pictures.length < 2;
  for (const picture of pictures) {
    if (!picture.button) byId("strip").append(el("li", {}, (picture.button = stripButton(picture))));
    picture.button.setAttribute("aria-label", describe(picture));
    picture.button.setAttribute("aria-current", String(picture === current));
    picture.button.lastChild.className = picture.problem ? "mark failed" : "mark";
    picture.button.lastChild.textContent = mark(picture);
  }
};

const choose = (index) => {
  current.chosen = index;
  drawFaces(current.result, index, choose);
  showAnswer(current, index, choose, current.options);
};

export const show = async (picture) => {
  if (picture !== current) byId("side").style.minHeight = "";
  current = picture;
  setStage("picture");
  drawStrip();
  byId("waiting").hidden = !picture.pending;
  await showPicture(picture);
  if (picture !== current) return;
  drawFaces(picture.result, picture.chosen, choose);
  if (picture.problem) showProblem(picture.name, picture.problem);
  else if (picture.result) showAnswer(picture, picture.chosen, choose, picture.options);
  else showNothing();
};

const ask = async (added, chosen) => {
  try {
    if (added.length === 1) settle(added[0], await recognise(added[0].file, chosen), chosen);
    else await recogniseMany(added.map((picture) => picture.file), chosen, (index, line) => settle(added[index], line, chosen));
  } catch (error) {
    for (const picture of added.filter((one) => one.pending)) settle(picture, error, chosen);
  }
};

export const add = async (files) => {
  const room = MOST - pictures.length;
  if (files.length > room) toast(`The first ${room} of ${files.length} pictures are taken; clear to go on.`);
  const chosen = options();
  const added = [...files].slice(0, room).map((file) => ({
    file, name: file.name || "pasted.png", url: URL.createObjectURL(file), options: chosen,
    chosen: 0, pending: true, result: null, problem: null, button: null,
  }));
  if (added.length === 0) return;
  pictures.push(...added);
  await show(added[0]);
  for (let start = 0; start < added.length; start += BATCH) await ask(added.slice(start, start + BATCH), chosen);
};

export const again = () => {
  if (!current) return;
  // Nothing moves, least of all what is being clicked on, not even where the next answer is a shorter one.
  byId("side").style.minHeight = `${byId("side").offsetHeight}px`;
  Object.assign(current, { options: options(), pending: true, result: null, problem: null, chosen: 0 });
  show(current);
  ask([current], current.options);
};

export const clear = () => {
  for (const picture of pictures.splice(0)) URL.revokeObjectURL(picture.url);
  current = null;
  byId("strip").hidden = true;
  byId("strip").replaceChildren();
  setStage("empty");
  showNothing();
  byId("side").style.minHeight = "";
};

export const leave = () => {
  current = null;
  drawStrip();
};

export const back = () => (pictures.length ? show(pictures.at(-1)) : clear());

export const step = (by) => {
  const next = pictures[pictures.indexOf(current) + by];
  if (current && next) show(next);
};

export const redraw = () => current?.result && drawFaces(current.result, current.chosen, choose);
