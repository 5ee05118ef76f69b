// Options of a call, as the form has them; what is at its default is left out.

import { byId } from "./dom.js";

export const options = () => {
  const found = {};
  for (const field of byId("options").elements) {
    if (field.type === "checkbox") {
      if (field.checked) found[field.name] = "true";
    } else if (field.value && field.value !== "0") found[field.name] = field.value;
  }
  return found;
};

// For JSON: numbers and booleans as such.
export const typedOptions = () =>
  Object.fromEntries(Object.entries(options()).map(([name, value]) =>
    [name, value === "true" ? true : Number.isNaN(Number(value)) ? value : Number(value)]));
