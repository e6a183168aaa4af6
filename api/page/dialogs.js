// The two dialogs: help, and the API key.

import { hasKey, setKey } from "./api.js";
import { byId, fieldError } from "./dom.js";

export function showHelp() {
  byId("help-dialog").showModal();
}

/** Ask for a key; `changed` is called when there is another one, or none any more. */
export function askKey(changed) {
  const [dialog, input] = [byId("key-dialog"), byId("key-input")];
  input.value = "";
  fieldError(input, byId("key-error"), "");
  byId("key-forget").hidden = !hasKey();
  byId("key-form").onsubmit = (event) => {
    event.preventDefault();
    const key = input.value.trim();
    // What HTTP lets a header hold.
    if (!/^[\x21-\x7e]+$/.test(key)) {
      fieldError(input, byId("key-error"), key ? "A key has letters, digits and signs of ASCII only." : "Enter a key.");
      return;
    }
    take(key);
  };
  const take = (key) => {
    input.value = "";
    dialog.close();
    setKey(key);
    changed();
  };
  byId("key-forget").onclick = () => take("");
  byId("key-cancel").onclick = () => dialog.close();
  dialog.onclose = () => {
    input.value = "";
  };
  dialog.showModal();
  input.focus();
}
