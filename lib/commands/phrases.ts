/** What our commands say in several places: durations, counts, moments and command lines. */
import { quote } from "../os/program.ts";

/** There is no shared connection. */
export const NOTHING_SHARED = "nothing is shared";

const UNITS = [["w", 604800], ["d", 86400], ["h", 3600], ["m", 60], ["s", 1]] as const;

/** Formats seconds in their two largest units: `45s`, `3m`, `2h5m`, `3d`; `never` for Infinity. */
export function duration(seconds: number): string {
  if (seconds === Infinity) return "never";
  let rest = Math.max(0, Math.round(seconds));
  const parts = UNITS.map(([unit, size]) => {
    const number = Math.floor(rest / size);
    rest %= size;
    return number > 0 ? `${number}${unit}` : "";
  });
  return parts.filter((part) => part).slice(0, 2).join("") || "0s";
}

/** Counts things: `1 session`, `2 sessions`. */
export function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}

/** Formats a moment, ms since the epoch, in local time: `2026-11-25 21:30:00`. */
export function clock(moment: number): string {
  return new Date(moment).toLocaleString("sv");
}

/** Returns words as a user would type them, quoted for a shell where they need it. */
export function commandLine(words: readonly string[]): string {
  return words.map((word) =>
    /^[\w@%+=:,./~-]+$/.test(word) ? word : quote(word) ?? JSON.stringify(word)
  ).join(" ");
}
