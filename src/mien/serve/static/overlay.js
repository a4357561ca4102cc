// Boxes, ids and five bars over a picture, in the manner of mien.draw.

import { MUTED, colour, order, title } from "./labels.js";

const DARK = "rgb(20 20 20)";
const GROUND = "rgb(23 24 27 / 82%)";
const TRACK = "rgb(90 90 90)";

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
 * @param {{width: number, height: number, frame: number[], mirrored: boolean, unit: number}} view its size, the frame's
 *   [width, height], which is fitted into it, whether left and right are exchanged, and the height of text; all in
 *   units of the context.
 */
export function drawFaces(context, faces, labels, view) {
  const { width, height, frame, mirrored } = view;
  const scale = Math.min(width / frame[0], height / frame[1]);
  const [left, top] = [(width - frame[0] * scale) / 2, (height - frame[1] * scale) / 2];
  const inside = { x1: Math.max(left, 0), y1: Math.max(top, 0), x2: width - left, y2: height - top };
  const boxes = faces.map(({ box: [x1, y1, x2, y2] }) => {
    if (mirrored) [x1, x2] = [frame[0] - x2, frame[0] - x1];
    return clip({ x1: left + x1 * scale, y1: top + y1 * scale, x2: left + x2 * scale, y2: top + y2 * scale }, inside);
  });
  faces.forEach((face, k) => outline(context, boxes[k], shade(face, labels), face.uncertain, view.unit));
  const placed = [];
  faces.forEach((face, k) => {
    const panel = fitted(context, face, labels, view, faces.length);
    const spot = choose(panel, boxes, k, placed, inside, view.unit);
    placed.push(spot);
    paint(context, panel, spot, face, labels);
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

/** A coloured box with a dark rim; of an uncertain face only the corners. */
function outline(context, { x1, y1, x2, y2 }, colour, corners, unit) {
  const share = corners ? 0.25 : 0.5;
  const [dx, dy] = [(x2 - x1) * share, (y2 - y1) * share];
  context.lineCap = "round";
  for (const [style, thick] of [
    [DARK, unit * 0.36],
    [colour, unit * 0.18],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = thick;
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

/** Size and style of a panel: names beside the bars where there is room, no bars where many share a small picture. */
function fitted(context, face, labels, view, count) {
  const { unit } = view;
  const font = `600 ${unit}px system-ui, sans-serif`;
  context.font = font;
  const text = (face.id ? `#${face.id} ` : "") + title(face, labels);
  const names = count <= 2 && view.width >= 32 * unit;
  const row = names ? unit * 1.3 : count > 2 && view.width < 34 * unit ? 0 : unit * 0.55;
  const column = names ? Math.max(...labels.map((label) => context.measureText(label).width)) + unit * 0.6 : 0;
  const width = Math.max(context.measureText(text).width + unit * 1.3, row && column + unit * (names ? 8.1 : 6.1));
  return {
    text,
    font,
    unit,
    names,
    row,
    column,
    width,
    height: unit * 1.9 + labels.length * row + (row && unit * 0.3),
  };
}

/** The place where a panel hides the least: right, left, below, above the face, or over a corner of it. */
function choose(panel, boxes, k, placed, inside, unit) {
  const { x1, y1, x2, y2 } = boxes[k];
  const gap = unit * 0.4;
  const beside = [x2 + gap, x1 - gap - panel.width].flatMap((x) => [y1, y2 - panel.height].map((y) => [x, y]));
  const stacked = [y2 + gap, y1 - gap - panel.height].flatMap((y) => [x1, x2 - panel.width].map((x) => [x, y]));
  let best;
  [...beside, ...stacked, [x1, y2 - panel.height]].forEach(([x, y], rank) => {
    const left = Math.max(Math.min(x, inside.x2 - panel.width), inside.x1);
    const top = Math.max(Math.min(y, inside.y2 - panel.height), inside.y1);
    const spot = { x1: left, y1: top, x2: left + panel.width, y2: top + panel.height };
    let cost = 0.005 * rank * panel.width * panel.height;
    boxes.forEach((box, other) => (cost += common(spot, box) * (other === k ? 0.8 : 3)));
    for (const other of placed) cost += common(spot, other) * 8;
    if (!best || cost < best.cost) best = { cost, ...spot };
  });
  return best;
}

function common(a, b) {
  const across = Math.max(0, Math.min(a.x2, b.x2) - Math.max(a.x1, b.x1));
  return across * Math.max(0, Math.min(a.y2, b.y2) - Math.max(a.y1, b.y1));
}

function paint(context, panel, { x1, y1 }, face, labels) {
  const { unit, row } = panel;
  context.fillStyle = GROUND;
  context.fillRect(x1, y1, panel.width, panel.height);
  context.fillStyle = shade(face, labels);
  context.fillRect(x1, y1, unit * 0.25, panel.height);
  context.font = panel.font;
  context.textBaseline = "middle";
  context.fillStyle = face.uncertain ? MUTED : "#ffffff";
  context.fillText(panel.text, x1 + unit * 0.7, y1 + unit);
  if (!row) return;
  context.font = panel.font.replace("600", "400");
  order(labels).forEach((k, place) => {
    const y = y1 + unit * 1.9 + place * row;
    const left = x1 + unit * 0.7 + panel.column;
    const width = panel.width - panel.column - unit * 1.1;
    if (panel.names) context.fillText(labels[k], x1 + unit * 0.7, y + row * 0.45);
    const [top, thick] = [y + row * (panel.names ? 0.15 : 0.1), row * (panel.names ? 0.6 : 0.75)];
    context.fillStyle = TRACK;
    context.fillRect(left, top, width, thick);
    context.fillStyle = face.uncertain ? MUTED : colour(labels[k]);
    context.fillRect(left, top, width * face.probabilities[k], thick);
    context.fillStyle = face.uncertain ? MUTED : "#ffffff";
  });
}
