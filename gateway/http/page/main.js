// The page: its two views, the keyboard, and how the cluster is.

import { status } from "./api.js";
import { startCamera, stopCamera, whenCameraStops } from "./camera.js";
import { startCluster, stopCluster } from "./cluster.js";
import { byId } from "./dom.js";
import { startKey } from "./key.js";
import { startPicking } from "./picking.js";
import { again, back, clear, leave, redraw, step } from "./pictures.js";

const HEALTH_MS = 10_000;
const UNWELL_MS = 2000;
const views = ["recognise", "cluster"];

const open = (name) => {
  for (const view of views) {
    const chosen = view === name;
    byId(`view-${view}`).hidden = !chosen;
    byId(`tab-${view}`).setAttribute("aria-selected", String(chosen));
    byId(`tab-${view}`).tabIndex = chosen ? 0 : -1;
  }
  stopCluster();
  if (name === "cluster") {
    stopCamera();
    startCluster();
  }
  history.replaceState(null, "", name === "cluster" ? "#cluster" : location.pathname);
};

const startTabs = () => {
  for (const view of views) byId(`tab-${view}`).addEventListener("click", () => open(view));
  document.querySelector(".tabs").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = views.find((view) => byId(`view-${view}`).hidden);
    open(other);
    byId(`tab-${other}`).focus();
  });
};

const startKeyboard = () => addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, pre, .tabs, dialog");
  if (typing || event.altKey || event.ctrlKey || event.metaKey || byId("view-recognise").hidden) return;
  if (event.key === "ArrowRight") step(1);
  if (event.key === "ArrowLeft") step(-1);
});

const say = (text, kind) => {
  byId("health").textContent = text;
  byId("health").className = `pill ${kind}`;
};

const watchHealth = async () => {
  let well = false;
  if (!document.hidden) {
    try {
      const { variants } = await status(false);
      well = variants.every((variant) => variant.healthy);
      say(well ? "healthy" : "degraded", well ? "good" : "warn");
    } catch (error) {
      say(error.status === 401 ? "key needed" : "no answer", error.status === 401 ? "warn" : "bad");
      if (error.status === 401) byId("key-button").hidden = false;
    }
  }
  setTimeout(watchHealth, well || document.hidden ? HEALTH_MS : UNWELL_MS);
};

startKey();
startTabs();
startKeyboard();
startPicking(stopCamera);
whenCameraStops(back);
for (const id of ["camera-start", "camera-again"]) byId(id).addEventListener("click", () => { leave(); startCamera(); });
byId("camera-stop").addEventListener("click", stopCamera);
byId("clear").addEventListener("click", () => { stopCamera(); clear(); });
byId("options").addEventListener("change", again);
byId("options").addEventListener("submit", (event) => event.preventDefault());
addEventListener("resize", redraw);
open(location.hash === "#cluster" ? "cluster" : "recognise");
watchHealth();
