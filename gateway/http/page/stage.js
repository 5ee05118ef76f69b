// The picture with its faces.

import { byId, percent, svg } from "./dom.js";

const photo = byId("photo");
const overlay = byId("overlay");
const unseen = byId("unseen");

const LETTERS = 13;
const pen = document.createElement("canvas").getContext("2d");
const wide = (text) => {
  pen.font = `650 ${LETTERS}px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
};

const mark = (face, index, scale, size, chosen, choose) => {
  const { x_min: x, y_min: y, x_max: right, y_max: bottom } = face.box;
  const frame = { x, y, width: right - x, height: bottom - y, rx: 3 * scale };
  const text = `${face.expression} ${percent(face.confidence)}`;
  const letters = LETTERS * scale;
  const width = (wide(text) + 12) * scale;
  const height = 21 * scale;
  const left = Math.max(0, Math.min(x, size.width - width));
  // Above the face; where there is no room, below it, so that the face stays to be seen.
  const top = y - height - 3 * scale >= 0 ? y - height - 3 * scale : Math.min(bottom + 3 * scale, size.height - height);
  // When it is pressed, not when it is let go of: with a webcam it has been drawn anew by then.
  return svg("g", { class: `face-mark ${face.expression}${chosen ? " chosen" : ""}`, onpointerdown: (event) => event.button === 0 && choose(index) },
    svg("rect", { ...frame, class: "box-back" }),
    svg("rect", { ...frame, class: "box" }),
    svg("rect", { ...frame, class: "hit" }),
    svg("g", { class: "face-label" },
      svg("rect", { x: left, y: top, width, height, rx: 5 * scale }),
      svg("text", { x: left + 6 * scale, y: top + height / 2, "font-size": letters }, text)));
};

export const drawFaces = (result, chosen, choose) => {
  if (!result) {
    overlay.replaceChildren();
    return;
  }
  const size = result.image_size;
  overlay.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  const shown = overlay.getBoundingClientRect().width || size.width;
  const scale = size.width / shown;
  // The chosen one last: on top.
  const order = result.faces.map((face, index) => [face, index]).sort(([, a], [, b]) => (a === chosen) - (b === chosen));
  overlay.replaceChildren(...order.map(([face, index]) => mark(face, index, scale, size, index === chosen, choose)));
};

export const showPicture = async (picture) => {
  photo.hidden = false;
  byId("video").hidden = true;
  photo.alt = picture.name;
  if (photo.getAttribute("src") !== picture.url) {
    photo.classList.remove("unseen");
    unseen.hidden = true;
    photo.src = picture.url;
    try {
      await photo.decode();
    } catch {
      // Another picture may be shown by now.
      if (photo.getAttribute("src") !== picture.url) return;
      // A format that the cluster reads and this browser does not, such as HEIC: faces on an empty ground.
      photo.classList.add("unseen");
      unseen.hidden = false;
    }
  }
  const size = picture.result?.image_size;
  if (size && photo.classList.contains("unseen")) {
    photo.width = size.width;
    photo.height = size.height;
  } else {
    photo.removeAttribute("width");
    photo.removeAttribute("height");
  }
};

export const setStage = (what) => {
  byId("stage").classList.toggle("empty", what === "empty");
  byId("invite").hidden = what !== "empty";
  byId("figure").hidden = what === "empty";
  byId("toolbar").hidden = what === "empty";
  byId("camera-stop").hidden = what !== "camera";
  byId("camera-again").hidden = what === "camera";
  photo.hidden = what !== "picture";
  if (what !== "picture") unseen.hidden = true;
  byId("video").hidden = what !== "camera";
};
