// What a person has chosen on the page, remembered by the browser.

const KEY = "mien";

export const DEFAULTS = {
  mirror: true, // cameras that look at the person
  boxes: true,
  labels: true,
  bars: true,
  threshold: null, // top probability below which a face is uncertain; null: the model's own
  model: null, // null: the first one of models.json
  language: null, // null: the browser's
  smoothing: 0.25, // half-life in seconds
};

export const settings = { ...DEFAULTS, ...stored() };

/** Change a setting for now and for the next visit. */
export function change(name, value) {
  settings[name] = value;
  const other = Object.entries(settings).filter(([key, each]) => each !== DEFAULTS[key]);
  try {
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(other)));
  } catch {
    // private windows may keep nothing
  }
}

/** What was stored, as far as it still fits. */
function stored() {
  try {
    const found = Object.entries(JSON.parse(localStorage.getItem(KEY)) ?? {});
    return Object.fromEntries(found.filter(([key, value]) => fits(key, value)));
  } catch {
    return {};
  }
}

function fits(key, value) {
  if (key === "threshold") return typeof value === "number" && value >= 0 && value <= 1;
  if (key === "smoothing") return typeof value === "number" && value >= 0 && value <= 2;
  if (key === "model" || key === "language") return typeof value === "string";
  return key in DEFAULTS && typeof value === "boolean";
}
