// The View menu: what is shown, the model and its threshold; what is chosen is remembered.

import { percent } from "./labels.js";
import { change, settings } from "./settings.js";
import { LANGUAGES, firstLanguage, setLanguage } from "./words.js";

const $ = (id) => document.getElementById(id);
const SWITCHES = ["boxes", "labels", "bars", "mirror"];

/**
 * Connect the menu and the choice of the language.
 *
 * @param {{changed: () => void, model: (name: string) => void, threshold: () => void, spoken: () => void}} calls after a
 *   change of what is drawn, the model, the threshold, the language.
 */
export function connectView({ changed, model, threshold, spoken }) {
  for (const name of SWITCHES) {
    $(name).checked = settings[name];
    $(name).onchange = ({ target }) => {
      change(name, target.checked);
      changed();
    };
  }
  $("models").onchange = ({ target }) => {
    change("model", target.value);
    model(target.value);
  };
  $("threshold").oninput = ({ target }) => {
    change("threshold", Number(target.value) / 100);
    threshold();
  };
  $("own").onclick = () => {
    change("threshold", null);
    threshold();
  };
  $("language").replaceChildren(...Object.entries(LANGUAGES).map(([code, name]) => new Option(name, code)));
  const code = firstLanguage(settings.language);
  setLanguage(code);
  $("language").value = code;
  $("language").onchange = ({ target }) => {
    change("language", target.value);
    setLanguage(target.value);
    spoken();
  };
  const menu = $("menu");
  document.addEventListener("pointerdown", ({ target }) => {
    if (!menu.contains(target)) menu.open = false;
  });
  menu.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

/** Show the models that there are, the present one and its threshold. */
export function showModels(classifiers, { name }, uncertainBelow) {
  $("models").replaceChildren(...classifiers.map((each) => new Option(each.name, each.name)));
  $("models").value = name;
  showThreshold(uncertainBelow);
}

export function showThreshold(uncertainBelow) {
  $("threshold").value = Math.round(uncertainBelow * 100);
  $("least").textContent = percent(uncertainBelow);
  $("own").disabled = settings.threshold === null;
}
