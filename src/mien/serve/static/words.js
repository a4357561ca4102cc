// The page's words: English in index.html and words-en.js, German in words-de.js. One more language is one more table.

import { DE } from "./words-de.js";
import { EN } from "./words-en.js";

const TABLES = { en: EN, de: DE };
export const LANGUAGES = { en: "English", de: "Deutsch" };

let table = EN;
let code = "en";
const english = new Map(); // element -> its words in index.html

/** The words of a key, with {names} filled in. */
export function t(key, values = {}) {
  return (table[key] ?? EN[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** "1 face", "3 faces": the key with a 1 is for one. */
export const count = (n, key) => t(n === 1 ? `${key}1` : key, { n });

/** An Error whose words are meant for a person. */
export const told = (key, values) => new Error(t(key, values));

/** An emotion's name. */
export const emotion = (label) => t(label);

export const language = () => code;

/** Turn the page to a language; elements with data-t have words, with data-t-label an accessible name. */
export function setLanguage(chosen) {
  code = chosen in TABLES ? chosen : "en";
  table = TABLES[code];
  document.documentElement.lang = code;
  for (const element of document.querySelectorAll("[data-t], [data-t-label]")) {
    const { t: words, tLabel: label } = element.dataset;
    if (!english.has(element)) english.set(element, [element.textContent, element.getAttribute("aria-label")]);
    const [text, name] = english.get(element);
    if (words) element.textContent = table[words] ?? text;
    if (label) element.setAttribute("aria-label", table[label] ?? name);
  }
}

/** The language to begin with: the chosen one, or the browser's first that there is. */
export function firstLanguage(chosen) {
  const spoken = navigator.languages?.map((each) => each.slice(0, 2)) ?? [];
  return [chosen, ...spoken].find((each) => each in TABLES) ?? "en";
}
