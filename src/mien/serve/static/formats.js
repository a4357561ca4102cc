// What a file is, so that the page can say why it does not open; and the library that reads the frames of videos.

import { t, told } from "./words.js";

const HEIC = ["heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"];
const CODECS = { hevc: "HEVC (H.265)", avc: "H.264", av1: "AV1", vp9: "VP9", vp8: "VP8", prores: "ProRes" };

/** The library that reads containers of videos, loaded when it is needed; see web/build.py. */
export const mediabunny = () => import("./vendor/mediabunny.min.mjs");

/** The Error that says why a file could not be opened. @param {File} file */
export async function complaint(file) {
  const { name } = file;
  const start = new Uint8Array(await file.slice(0, 32).arrayBuffer());
  const end = new Uint8Array(await file.slice(-64).arrayBuffer());
  const text = (from, to) => String.fromCharCode(...start.subarray(from, to));
  const picture = (kind, whole) => told(whole ? "damagedPicture" : "cutPicture", { name, kind });
  if (start[0] === 0xff && start[1] === 0xd8) return picture("JPEG", await isWholeJpeg(file));
  if (text(1, 4) === "PNG") return picture("PNG", String.fromCharCode(...end).includes("IEND"));
  if (text(0, 4) === "GIF8") return picture("GIF", end.at(-1) === 0x3b);
  if (text(0, 4) === "RIFF" && text(8, 12) === "WEBP") {
    const size = new DataView(start.buffer).getUint32(4, true) + 8;
    return picture("WebP", file.size >= size);
  }
  if (text(4, 8) === "ftyp" && HEIC.includes(text(8, 12))) return told("heic", { name });
  if (["II*\0", "MM\0*"].includes(text(0, 4))) return told("otherPicture", { name, kind: "TIFF" });
  if (text(0, 4) === "%PDF") return told("pdf", { name });
  if (text(0, 4) === "RIFF" && text(8, 12) === "AVI ") return told("otherVideo", { name, kind: "AVI" });
  return (await videoComplaint(file)) ?? told("neither", { name });
}

/** Whether a JPEG file has an end after its first scan; phones often put more data behind it. */
export async function isWholeJpeg(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let at = 2;
  while (bytes[at] === 0xff && bytes[at + 1] !== 0xda) at += 2 + (bytes[at + 2] << 8) + bytes[at + 3];
  for (; at >= 0 && at < bytes.length; at = bytes.indexOf(0xff, at + 1)) {
    if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
  }
  return false;
}

/** For a file in a container of videos: what in it does not play. */
async function videoComplaint(file) {
  const { name } = file;
  const opened = await videoTrack(file).catch(() => null);
  if (!opened)
    return /^\0\0..(ftyp|moov|mdat|wide)/s.test(await latin(file.slice(0, 8))) ? told("cutVideo", { name }) : null;
  const { track, input } = opened;
  if (!track) return told((await input.getPrimaryAudioTrack()) ? "noVideoTrack" : "cutVideo", { name });
  const codec = await track.getCodec();
  return told("videoCodec", { name, kind: CODECS[codec] ?? codec ?? track.internalCodecId ?? t("unknown") });
}

const latin = async (blob) => String.fromCharCode(...new Uint8Array(await blob.arrayBuffer()));

/** The library and the first video track of a file; track is null where there is none. */
export async function videoTrack(file) {
  const library = await mediabunny();
  const input = new library.Input({ formats: library.ALL_FORMATS, source: new library.BlobSource(file) });
  return { library, input, track: await input.getPrimaryVideoTrack() };
}
