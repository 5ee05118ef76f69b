// Calls of the cluster that serves this page.

const KEY = "ferry-api-key";
let key = sessionStorage.getItem(KEY) ?? "";
let askForKey = async () => false;

export class Problem extends Error {
  constructor(document, status) {
    super(document.detail ?? `HTTP ${status}`);
    this.document = document;
    this.status = status;
  }
}

export const whenAskedForKey = (ask) => (askForKey = ask);
export const hasKey = () => key !== "";
export const authorization = () => (key ? `Bearer ${key}` : "");
export const setKey = (value) => {
  key = value;
  sessionStorage.setItem(KEY, value);
};

const problemOf = async (response) => {
  try {
    return new Problem(await response.json(), response.status);
  } catch {
    return new Problem({ detail: `the cluster answered with status ${response.status}` }, response.status);
  }
};

// `ask`: whether the person may be asked for a key where there is none, or a wrong one.
export const call = async (path, init = {}, ask = true) => {
  for (;;) {
    const headers = { ...init.headers, ...(key ? { authorization: authorization() } : {}) };
    let response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem({ title: "Not reachable", detail: "The cluster cannot be reached. Is it still running?" }, 0);
    }
    if (response.ok) return response;
    if (response.status !== 401 || !ask || !(await askForKey(key !== ""))) throw await problemOf(response);
  }
};

const query = (options) => {
  const text = new URLSearchParams(options).toString();
  return text ? `?${text}` : "";
};

export const recognise = async (file, options, signal) => {
  const body = new FormData();
  body.append("image", file);
  const response = await call(`/api/predict${query(options)}`, { method: "POST", body, signal });
  return response.json();
};

// Calls `each(index, line)` as lines arrive; the whole takes as long as the slowest picture.
export const recogniseMany = async (files, options, each, signal) => {
  const body = new FormData();
  for (const file of files) body.append("images", file);
  const response = await call(`/api/predict-batch${query(options)}`, { method: "POST", body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines.filter(Boolean)) {
      const answer = JSON.parse(line);
      if (answer.index === undefined) throw new Problem(answer.error, answer.error.status);
      each(answer.index, answer);
    }
    if (done) return;
  }
};

export const figures = async (ask) => (await call("/api/figures", {}, ask)).json();
export const status = async (ask) => (await call("/api/status", {}, ask)).json();

export const openLive = () => {
  const address = new URL("/api/live", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(address);
};
