// The live cluster, looked at while this view is open.

import { figures } from "./api.js";
import { byId, el, number, percent, svg, track } from "./dom.js";

const EVERY_MS = 2000;
const HISTORY = 60;
const history = { requests: [], latency: [], hits: [], faces: [] };
let timer = null;
let watching = null;

const keep = (list, value) => {
  list.push(value ?? 0);
  if (list.length > HISTORY) list.shift();
};

const spark = (values) => {
  if (values.length < 2) return svg("svg", { class: "spark", "aria-hidden": "true" });
  const top = Math.max(...values, 1e-9) * 1.15;
  // The newest at the right edge.
  const x = (index) => 100 - (100 * (values.length - 1 - index)) / (HISTORY - 1);
  const points = values.map((value, index) => `${x(index)},${30 - (28 * value) / top}`);
  return svg("svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("polygon", { class: "area", points: `${x(0)},30 ${points.join(" ")} 100,30` }),
    svg("polyline", { class: "line", points: points.join(" ") }));
};

const tile = (name, value, unit, more, values) => el("div", { class: "card tile" },
  el("span", { class: "name" }, name),
  el("span", { class: "figure num" }, value, el("small", {}, unit)),
  el("span", { class: "more num" }, more), spark(values));

const tiles = (seen) => el("div", { class: "tiles" },
  tile("Requests", number(seen.requests_per_second), "a second",
    seen.seconds === 0 ? `${number(seen.requests, 0)} since the start, ${number(seen.errors, 0)} failed`
      : seen.errors > 0 ? `${number(seen.errors_per_second)} failed a second` : "none failed", history.requests),
  tile("Latency", number(seen.p95_ms, 0), "ms p95", `p50 ${number(seen.p50_ms, 0)} ms`, history.latency),
  tile("Cache", seen.cache_hit_share === null ? "–" : String(Math.round(100 * seen.cache_hit_share)), "% hits",
    `${seen.status.cache.memory_entries.toLocaleString("en")} ${seen.status.cache.memory_entries === 1 ? "answer" : "answers"} in memory${seen.status.cache.redis_available ? ", Redis reachable" : ""}`, history.hits),
  tile("Faces", number(seen.faces_per_second), "a second", `${seen.processes} ${seen.processes === 1 ? "process" : "processes"}`, history.faces));

const table = (columns, rows) => el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, el("table", {},
  el("thead", {}, el("tr", {}, columns.map(([name, right]) => el("th", { scope: "col", class: right ? "right" : "" }, name)))),
  el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, index) =>
    el("td", { class: columns[index][1] ? "right num" : "" }, cell)))))));

const variants = (seen) => {
  const counted = Object.fromEntries(seen.variants.map((one) => [one.name, one]));
  const rows = seen.status.variants.map((one) => [
    el("b", {}, one.name),
    el("div", {}, el("span", { class: `badge ${one.healthy ? "good" : "bad"}` }, one.healthy ? "healthy" : "not healthy"),
      one.reason ? el("div", { class: "fine" }, one.reason) : null),
    el("div", { class: "share" }, track(one.traffic_share), el("span", { class: "num" }, percent(one.traffic_share))),
    el("div", { class: "versions" }, one.models.map((model) => el("span", {},
      `${model.name} ${model.version || "?"} `, el("span", { class: "mono" }, model.digest.slice(0, 8)),
      model.available ? null : el("span", { class: "badge bad" }, "away")))),
    number(counted[one.name]?.images_per_second), number(counted[one.name]?.errors_per_second),
    number(counted[one.name]?.fallbacks_per_second),
  ]);
  const several = rows.length > 1;
  return el("section", { class: "card" },
    el("div", { class: "section-head" }, el("h2", {}, "Variants"),
      el("span", { class: "fine" }, several ? "which is better: ferry ab report" : "one variant; no experiment")),
    table([["variant"], ["state"], ["share"], ["models"], ["images/s", 1], ["failed/s", 1], ["fell back/s", 1]], rows));
};

const METRICS = {
  accuracy: "accuracy, points", "macro-recall": "mean recall, points", agreement: "agreement, points", "latency-p95": "p95 latency, ms", errors: "errors, points", degraded: "degraded answers, points",
};
const bound = (metric, value) => (value === null ? "?" : metric === "latency-p95" ? value.toFixed(1) : (100 * value).toFixed(1));
const LESS_IS_BETTER = new Set(["latency-p95", "errors", "degraded"]);
const verdict = ({ metric, low, high, worse }) => {
  if (worse) return el("span", { class: "badge bad" }, "worse");
  if (metric === "agreement") return "";
  const better = LESS_IS_BETTER.has(metric) ? high !== null && high < 0 : low !== null && low > 0;
  return better ? el("span", { class: "badge good" }, "better") : el("span", { class: "badge" }, "not decided");
};

const experiments = (seen) => seen.experiments.length === 0 ? null : el("section", { class: "card", id: "experiments" },
  el("div", { class: "section-head" }, el("h2", {}, "Experiments"), el("span", { class: "fine" }, "difference to stable, as the judge sees it")),
  table([["variant"], ["metric"], ["lies between", 1], ["verdict"]],
    seen.experiments.map((one) => [el("b", {}, one.variant), METRICS[one.metric] ?? one.metric,
      `${bound(one.metric, one.low)} and ${bound(one.metric, one.high)}`, verdict(one)])));

const models = (seen) => el("section", { class: "card" },
  el("div", { class: "section-head" }, el("h2", {}, "Models"),
    el("span", { class: "fine" }, seen.seconds > 0 ? `over ${Math.round(seen.seconds)} s` : "since the start")),
  seen.models.length === 0
    ? el("p", { class: "fine" }, "This gateway is not told where the models’ metrics are (metrics_endpoints).")
    : table([["model"], ["runs with"], ["runs/s", 1], ["batch", 1], ["in flight", 1], ["queue ms", 1], ["run ms", 1]],
      seen.models.map((one) => [el("b", {}, `${one.model} ${one.version}`), `${one.backend} ${one.precision}`,
        number(one.runs_per_second), number(one.mean_batch_size), String(one.in_flight), number(one.mean_queue_ms), number(one.mean_compute_ms)])));

const look = async (first) => {
  let seen;
  try {
    seen = await figures(first);
  } catch (error) {
    const node = byId("cluster");
    node.replaceChildren(el("section", { class: "card problem", role: "alert" }, el("h2", {}, error.document?.title ?? "No answer"), el("p", {}, error.message)));
    return error.status !== 401;
  }
  // The first look of all is over everything since the start, and no point of a line over time.
  if (seen.seconds > 0) {
    keep(history.requests, seen.requests_per_second);
    keep(history.latency, seen.p95_ms);
    keep(history.hits, seen.cache_hit_share);
    keep(history.faces, seen.faces_per_second);
  }
  byId("cluster").replaceChildren(...[tiles(seen), variants(seen), experiments(seen), models(seen)].filter(Boolean));
  return true;
};

const loop = async (view, first) => {
  const goOn = document.hidden || (await look(first));
  // Whoever has left meanwhile, and come back, has another loop.
  if (watching === view && goOn) timer = setTimeout(loop, EVERY_MS, view, false);
};

export const startCluster = () => {
  watching = {};
  loop(watching, true);
};

export const stopCluster = () => {
  clearTimeout(timer);
  watching = null;
};
