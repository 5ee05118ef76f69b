// Ways for pictures to come in: the file dialog, dropping, pasting.

import { byId, toast } from "./dom.js";
import { add } from "./pictures.js";

const HARMLESS = /\.(jpe?g|png|webp|gif|bmp|tiff?|heic|heif|avif)$/i;
const isPicture = (file) => file.type.startsWith("image/") || HARMLESS.test(file.name);

const take = (files) => {
  const pictures = [...files].filter(isPicture);
  if (pictures.length) add(pictures);
  else if (files.length) toast("That is no picture.");
};

export const startPicking = (beforehand) => {
  const input = byId("files");
  for (const id of ["choose", "choose-more"]) byId(id).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    beforehand();
    add(input.files);
    input.value = "";
  });
  let depth = 0;
  const drag = (by) => {
    depth = by === 0 ? 0 : Math.max(0, depth + by);
    byId("drop-hint").hidden = depth === 0;
    byId("stage").classList.toggle("dragged", depth > 0);
  };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => hasFiles(event) && drag(1));
  addEventListener("dragleave", (event) => hasFiles(event) && drag(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drag(0);
    beforehand();
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    const files = event.clipboardData?.files ?? [];
    if (!files.length) return;
    event.preventDefault();
    beforehand();
    take(files);
  });
};
