// Order, colours and words of the emotions, the same as in mien.types and mien.draw.

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
  return `${labels[face.label]}${face.uncertain ? "?" : ""} ${percent(face.probabilities[face.label])}`;
}
