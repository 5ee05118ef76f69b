// The dialog that asks for an API key, once for all calls that wait for one.

import { hasKey, setKey, whenAskedForKey } from "./api.js";
import { byId } from "./dom.js";

let asking = null;

const ask = (wasWrong) => {
  asking ??= new Promise((done) => {
    const dialog = byId("key-dialog");
    byId("key-said").textContent = wasWrong
      ? "The cluster does not know this key. It stays in this tab."
      : "This cluster asks for a key. It stays in this tab.";
    byId("key-input").value = "";
    dialog.returnValue = "cancel";
    dialog.addEventListener("close", () => {
      asking = null;
      const given = byId("key-input").value.trim();
      const used = dialog.returnValue === "use" && given !== "";
      if (used) setKey(given);
      byId("key-button").hidden = false;
      done(used);
    }, { once: true });
    dialog.showModal();
  });
  return asking;
};

export const startKey = () => {
  whenAskedForKey(ask);
  byId("key-button").hidden = !hasKey();
  byId("key-cancel").addEventListener("click", () => byId("key-dialog").close("cancel"));
  byId("key-button").addEventListener("click", () => ask(false));
};
