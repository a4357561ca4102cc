// Order, colours and words of the emotions, the same as in mien.types and mien.draw.

import { emotion } from "./words.js";

/** From the palette of Okabe and Ito (2008), which the colour-blind can tell apart. */
export const COLOURS = {
  angry: "#d55e00",
  happy: "#f0e442",
  sad: "#56b4e9",
  surprise: "#cc79a7",
  neutral: "#009e73",
  disgust: "#0072b2",
  fear: "#e69f00",
};
export const MUTED = "#b9b9b9"; // uncertain
const OTHER = "#ffffff";
const FIRST = ["angry", "happy", "sad", "surprise", "neutral"];

export const colour = (label) => COLOURS[label] ?? OTHER;

/** Indices of a model's labels in the order in which mien shows them, so that a bar keeps its place. */
export function order(labels) {
  const rank = (label) => (FIRST.includes(label) ? `0${FIRST.indexOf(label)}` : `1${label}`);
  return labels.map((_, k) => k).sort((a, b) => (rank(labels[a]) < rank(labels[b]) ? -1 : 1));
}

export const percent = (probability) => `${Math.round(probability * 100)} %`;

/** "happy 92 %", or "happy? 41 %" when uncertain. */
export function title(face, labels) {
  return `${emotion(labels[face.label])}${face.uncertain ? "?" : ""} ${percent(face.probabilities[face.label])}`;
}

/** "4 happy, 1 uncertain": the emotions by their number, then those that are uncertain. */
export function headline(faces, labels) {
  const counts = new Map();
  for (const { label, uncertain } of faces) {
    const key = uncertain ? -1 : label;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const rank = order(labels);
  const keys = [...counts.keys()].sort(
    (a, b) => (a < 0) - (b < 0) || counts.get(b) - counts.get(a) || rank.indexOf(a) - rank.indexOf(b),
  );
  return keys.map((key) => `${counts.get(key)} ${emotion(key < 0 ? "uncertain" : labels[key])}`).join(", ");
}

/** Label and doubt of a face whose probabilities are not smoothed; a poor one is uncertain. */
export function judged(face, uncertainBelow) {
  const top = Math.max(...face.probabilities);
  return { ...face, label: face.probabilities.indexOf(top), uncertain: face.weaknesses?.length > 0 || top < uncertainBelow };
}
