// Elements, made without a string of HTML anywhere.

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
};

export const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
export const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

// A bar of a track; the policy of the page allows styles from scripts' objects, not from attributes.
export const track = (share, tone = "") => {
  const filled = el("span", { class: `fill ${tone}` });
  filled.style.width = `${(100 * Math.max(0, Math.min(1, share))).toFixed(1)}%`;
  return el("span", { class: "track" }, filled);
};

let toastTimer;
export const toast = (text) => {
  const node = byId("toast");
  node.textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (node.textContent = ""), 4000);
};

export const copy = async (text, what) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS on another host browsers have no clipboard for pages; the old way still works.
    const area = el("textarea", { readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(`${what} copied`);
};

export const percent = (share) => `${Math.round(100 * share)} %`;
export const number = (value, digits = 1) =>
  value === null || value === undefined ? "–" : value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(digits);
