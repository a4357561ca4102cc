// Boxes and panels with ids and bars over a picture, in the manner of mien.draw.

import { MUTED, colour, order, title } from "./labels.js";
import { emotion } from "./words.js";

const DARK = "rgb(20 20 20)";
const GROUND = "rgb(23 24 27 / 82%)";
const TRACK = "rgb(90 90 90)";
const STYLES = ["full", "compact", "title", "short"]; // names beside the bars, bars alone, no bars, no number

/** The context of a canvas, emptied and in units of CSS, whatever the screen's density. */
export function emptied(canvas) {
  const density = window.devicePixelRatio;
  const [width, height] = [Math.round(canvas.clientWidth * density), Math.round(canvas.clientHeight * density)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.resetTransform();
  context.clearRect(0, 0, width, height);
  context.scale(density, density);
  return context;
}

/**
 * Draw faces.
 *
 * @param {CanvasRenderingContext2D} context of the size of the view.
 * @param {object[]} faces as the tracker gives them, boxes in pixels of the frame.
 * @param {string[]} labels the model's.
 * @param {object} view `width` and `height`; `frame`, the frame's [width, height], which is fitted into it; `mirrored`,
 *   whether left and right are exchanged; `unit`, the height of text; all in units of the context. `show` says whether
 *   there are {boxes, labels, bars}; `lit` is the place of a face to point at, or -1.
 */
export function drawFaces(context, faces, labels, view) {
  const { boxes, panels } = layout(context, faces, labels, view);
  const { unit, lit = -1 } = view;
  if (view.show?.boxes ?? true) {
    faces.forEach((face, k) => outline(context, boxes[k], shade(face, labels), face.uncertain, unit));
  }
  if (lit >= 0 && boxes[lit]) {
    const { x1, y1, x2, y2 } = boxes[lit];
    const gap = unit * 0.3;
    outline(context, { x1: x1 - gap, y1: y1 - gap, x2: x2 + gap, y2: y2 + gap }, "#ffffff", false, unit * 1.3);
  }
  panels.forEach(({ panel, spot }, k) => panel && paint(context, panel, spot, faces[k], labels));
}

/**
 * Where boxes and panels go: a panel as full as there is room for, and none where it would hide another face or panel.
 *
 * @returns {{boxes: object[], panels: {panel: object | null, spot: object}[]}} in units of the context.
 */
export function layout(context, faces, labels, view) {
  const boxes = placed(faces, view);
  const { inside } = fitting(view);
  const show = { labels: true, bars: true, ...view.show };
  const panels = [];
  const taken = [];
  faces.forEach((face, k) => {
    let best = null;
    for (const style of styles(boxes, k, show, view)) {
      const panel = fitted(context, face, labels, view, style, show);
      if (panel.width > inside.x2 - inside.x1 || panel.height > inside.y2 - inside.y1) continue;
      const spot = choose(panel, boxes, k, taken, inside, view.unit);
      if (spot.clear && (!best || spot.cost < best.spot.cost)) best = { panel, spot };
      if (best && best.spot.cost < 0.15 * best.panel.width * best.panel.height) break;
    }
    if (best) taken.push(best.spot);
    panels.push(best ?? { panel: null, spot: null });
  });
  return { boxes, panels };
}

/** The styles that a panel may have, the fullest first. */
function styles(boxes, k, show, { unit, width }) {
  if (!show.labels && !show.bars) return [];
  if (!show.labels) return ["compact"];
  if (!show.bars) return STYLES.slice(2);
  // a full panel would hide the neighbours of a small face
  const small = boxes.length > 2 && boxes[k].y2 - boxes[k].y1 < 6 * unit;
  return STYLES.slice(small ? 2 : boxes.length > 2 || width < 32 * unit ? 1 : 0);
}

/** How the frame lies in the view. */
export function fitting({ width, height, frame }) {
  const scale = Math.min(width / frame[0], height / frame[1]);
  const [left, top] = [(width - frame[0] * scale) / 2, (height - frame[1] * scale) / 2];
  return {
    scale,
    left,
    top,
    inside: { x1: Math.max(left, 0), y1: Math.max(top, 0), x2: width - left, y2: height - top },
  };
}

/** The boxes of faces in units of the view. */
export function placed(faces, view) {
  const { scale, left, top, inside } = fitting(view);
  const across = view.frame[0];
  return faces.map(({ box: [x1, y1, x2, y2] }) => {
    if (view.mirrored) [x1, x2] = [across - x2, across - x1];
    return clip({ x1: left + x1 * scale, y1: top + y1 * scale, x2: left + x2 * scale, y2: top + y2 * scale }, inside);
  });
}

const shade = (face, labels) => (face.uncertain ? MUTED : colour(labels[face.label]));

function clip(box, inside) {
  const x1 = Math.min(Math.max(box.x1, inside.x1), inside.x2 - 1);
  const y1 = Math.min(Math.max(box.y1, inside.y1), inside.y2 - 1);
  return {
    x1,
    y1,
    x2: Math.min(Math.max(box.x2, x1 + 1), inside.x2),
    y2: Math.min(Math.max(box.y2, y1 + 1), inside.y2),
  };
}

/** A coloured box with a dark rim, thinner on small faces; of an uncertain face only the corners. */
function outline(context, { x1, y1, x2, y2 }, colour, corners, unit) {
  const share = corners ? 0.25 : 0.5;
  const [dx, dy] = [(x2 - x1) * share, (y2 - y1) * share];
  const thick = Math.min(unit * 0.18, Math.max(1.2, (y2 - y1) * 0.04));
  context.lineCap = "round";
  for (const [style, width] of [
    [DARK, thick * 2],
    [colour, thick],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    for (const [x, y, sx, sy] of [
      [x1, y1, 1, 1],
      [x2, y1, -1, 1],
      [x1, y2, 1, -1],
      [x2, y2, -1, -1],
    ]) {
      context.moveTo(x + dx * sx, y);
      context.lineTo(x, y);
      context.lineTo(x, y + dy * sy);
    }
    context.stroke();
  }
}

/** Size and text of a panel. */
function fitted(context, face, labels, { unit }, style, show) {
  const font = `600 ${unit}px system-ui, sans-serif`;
  context.font = font;
  const id = face.id ? `#${face.id} ` : "";
  const short = `${emotion(labels[face.label])}${face.uncertain ? "?" : ""}`;
  const text = show.labels ? (style === "short" ? short : id + title(face, labels)) : "";
  const names = style === "full";
  const row = names ? unit * 1.3 : style === "compact" ? unit * 0.55 : 0;
  const column = names ? Math.max(...labels.map((each) => context.measureText(emotion(each)).width)) + unit * 0.6 : 0;
  const width = Math.max(context.measureText(text).width + unit * 1.1, row && column + unit * (names ? 8.1 : 6.1));
  const top = text ? unit * (row ? 1.9 : 1.5) : unit * 0.3;
  return { text, font, unit, names, row, column, width, top, height: top + (row && labels.length * row + unit * 0.3) };
}

/**
 * The place where a panel hides the least: right, left, below, above the face, or inside it at the bottom. `clear` says
 * that no other panel and almost nothing of another face lies under it.
 */
function choose(panel, boxes, k, taken, inside, unit) {
  const { x1, y1, x2, y2 } = boxes[k];
  const gap = unit * 0.4;
  const area = panel.width * panel.height;
  const [middle, centre] = [(y1 + y2 - panel.height) / 2, (x1 + x2 - panel.width) / 2];
  const beside = [x2 + gap, x1 - gap - panel.width].flatMap((x) => [y1, y2 - panel.height, middle].map((y) => [x, y]));
  const stacked = [y2 + gap, y1 - gap - panel.height].flatMap((y) => [x1, x2 - panel.width, centre].map((x) => [x, y]));
  const within = [
    [centre, y2 - panel.height],
    [x1, y2 - panel.height],
    [x2 - panel.width, y1],
  ];
  // a line of text beside a face would seem to belong to the next one
  const spots = panel.row || boxes.length < 3 ? [...beside, ...stacked, ...within.slice(1)] : [...stacked, ...within];
  let best;
  spots.forEach(([x, y], rank) => {
    const left = Math.max(Math.min(x, inside.x2 - panel.width), inside.x1);
    const top = Math.max(Math.min(y, inside.y2 - panel.height), inside.y1);
    const spot = { x1: left, y1: top, x2: left + panel.width, y2: top + panel.height };
    let cost = 0.005 * rank * area;
    let clear = true;
    boxes.forEach((box, other) => {
      const hidden = common(spot, box);
      cost += hidden * (other === k ? 0.8 : 3);
      if (other === k) clear &&= hidden < 0.5 * (box.x2 - box.x1) * (box.y2 - box.y1);
      else clear &&= hidden < 0.03 * (box.x2 - box.x1) * (box.y2 - box.y1);
    });
    for (const other of taken) {
      const hidden = common(spot, other);
      cost += hidden * 8;
      clear &&= hidden === 0;
    }
    if (!best || clear > best.clear || (clear === best.clear && cost < best.cost)) best = { cost, clear, ...spot };
  });
  return best;
}

function common(a, b) {
  const across = Math.max(0, Math.min(a.x2, b.x2) - Math.max(a.x1, b.x1));
  return across * Math.max(0, Math.min(a.y2, b.y2) - Math.max(a.y1, b.y1));
}

function paint(context, panel, { x1, y1 }, face, labels) {
  const { unit, row, top: head } = panel;
  context.fillStyle = GROUND;
  context.fillRect(x1, y1, panel.width, panel.height);
  context.fillStyle = shade(face, labels);
  context.fillRect(x1, y1, unit * 0.25, panel.height);
  context.font = panel.font;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillStyle = face.uncertain ? MUTED : "#ffffff";
  if (panel.text) context.fillText(panel.text, x1 + unit * 0.6, y1 + unit * (row ? 1 : 0.8));
  if (!row) return;
  context.font = panel.font.replace("600", "400");
  order(labels).forEach((k, place) => {
    const y = y1 + head + place * row;
    const left = x1 + unit * 0.7 + panel.column;
    const width = panel.width - panel.column - unit * 1.1;
    if (panel.names) context.fillText(emotion(labels[k]), x1 + unit * 0.7, y + row * 0.45);
    const [top, thick] = [y + row * (panel.names ? 0.15 : 0.1), row * (panel.names ? 0.6 : 0.75)];
    context.fillStyle = TRACK;
    context.fillRect(left, top, width, thick);
    context.fillStyle = face.uncertain ? MUTED : colour(labels[k]);
    context.fillRect(left, top, width * face.probabilities[k], thick);
    context.fillStyle = face.uncertain ? MUTED : "#ffffff";
  });
}
