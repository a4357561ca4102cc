// Times and amounts in words.

import { t } from "./words.js";

/** "1:05", "1:00:05"; below ten seconds with a tenth, "3.4". */
export function clock(seconds) {
  if (seconds < 10 && seconds % 1) return seconds.toFixed(1);
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** "3.4 s", "75 s". */
export const inSeconds = (value) => t("seconds", { n: value.toFixed(value < 100 ? 1 : 0) });
