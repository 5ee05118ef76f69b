// The same call for a terminal and for programs.

import { hasKey } from "./api.js";
import { copy, el } from "./dom.js";

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const pythonValue = (value) => (value === "true" ? "True" : Number.isNaN(Number(value)) ? JSON.stringify(value) : value);

const { grpcPort: port, certificates } = document.documentElement.dataset;
// Where callers need a certificate: its file, that of its key, and that of the authority; theirs to name.
const mutual = certificates !== undefined;

const secure = () => location.protocol === "https:";

// Of curl's own language for forms, in which these mean something.
const curlFile = (name) => (/[;,"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name);

const curl = (name, options) => {
  const query = new URLSearchParams(options).toString();
  const header = hasKey() ? ` \\\n  -H "Authorization: Bearer $FERRY_API_KEY"` : "";
  const files = mutual ? " \\\n  --cacert ca.crt --cert tls.crt --key tls.key" : "";
  return `curl -F ${quote(`image=@${curlFile(name)}`)}${header}${files} \\\n  ${quote(`${location.origin}/api/predict${query ? `?${query}` : ""}`)}`;
};

const python = (name, options) => {
  const keywords = Object.entries(options).map(([option, value]) => `, ${option}=${pythonValue(value)}`).join("");
  const key = hasKey() ? ', api_key=os.environ["FERRY_API_KEY"]' : "";
  const files = mutual ? 'ca="ca.crt", cert="tls.crt", key="tls.key"' : "";
  const tls = secure() ? `, tls=Tls(${files})` : "";
  return `${hasKey() ? "import os\n\n" : ""}from ferry.client import Client${secure() ? ", Tls" : ""}

with Client("${location.hostname}:${port}"${tls}${key}) as client:
    for face in client.recognize(${JSON.stringify(name)}${keywords}).faces:
        print(face.box, face.expression, face.confidence)`;
};

const grpcurl = (name, options) => {
  const { bypass_cache: bypass, vote, ...rest } = options;
  const fields = Object.entries(rest).map(([option, value]) => [option, value === "true" ? true : Number(value)]);
  const named = { ...Object.fromEntries(fields), ...(vote ? { vote: `VOTE_${vote.toUpperCase()}` } : {}) };
  const more = `${Object.keys(named).length ? `, "options": ${JSON.stringify(named)}` : ""}${bypass ? ', "bypass_cache": true' : ""}`;
  const key = hasKey() ? `  -H "authorization: Bearer $FERRY_API_KEY" \\\n` : "";
  return `printf '{"image": "%s"${more}}' "$(base64 < ${quote(name)} | tr -d '\\n')" |
  grpcurl ${secure() ? "" : "-plaintext "}${mutual ? "-cacert ca.crt -cert tls.crt -key tls.key " : ""}-d @ \\\n${key}  ${location.hostname}:${port} ferry.v1.ExpressionRecognition/Recognize`;
};

export const showCalls = (card, picture, options, json) => {
  const texts = { curl: curl(picture.name, options), Python: python(picture.name, options), grpcurl: grpcurl(picture.name, options), JSON: json };
  const text = el("pre", { tabindex: "0" });
  const buttons = Object.keys(texts).map((name) => el("button", { class: "small", "aria-pressed": "false", onclick: () => show(name) }, name));
  let shown = "curl";
  const show = (name) => {
    shown = name;
    text.textContent = texts[name];
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.textContent === name));
  };
  show("curl");
  const copied = el("button", { class: "small quiet last", onclick: () => copy(texts[shown], shown) }, "Copy");
  card.append(el("div", { class: "row", role: "group", "aria-label": "Language" }, buttons, copied), text);
};
