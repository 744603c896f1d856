/**
 * Attempts to log in, one at a time for an identity. Who starts one creates `starter.<n>` exclusively;
 * the highest number counts. Its first line is the pid of the starter and that of its ssh (0 before
 * there is one); when the attempt is over, a line says "up" or "failed".
 */
import { namesIn, readText, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { starterPath } from "./layout.ts";

export interface Starter {
  /** Also the name of its lane. */
  readonly number: number;
  readonly path: string;
  /** "broken off": its process is gone without a word, which says nothing of the host. */
  readonly state: "running" | "up" | "failed" | "broken off";
  /** 0 where it is not known. */
  readonly pid: number;
  readonly ssh: number;
}

/** How long a file may be empty, ms: sh creates it and writes to it in two steps. */
const EMPTY_FOR = 5000;

/** All attempts that are on record, the highest number last. */
export function startersOf(dir: string, system: Pick<System, "isAlive" | "now">): Starter[] {
  return namesIn(dir).filter((name) => /^starter\.\d+$/.test(name))
    .map((name) => Number(name.slice("starter.".length)))
    .sort((a, b) => a - b)
    .map((number) => readStarter(dir, number, system));
}

/** The attempt that counts. */
export function latestStarter(
  dir: string,
  system: Pick<System, "isAlive" | "now">,
): Starter | undefined {
  return startersOf(dir, system).at(-1);
}

function readStarter(
  dir: string,
  number: number,
  system: Pick<System, "isAlive" | "now">,
): Starter {
  const path = starterPath(dir, number);
  const [line, ...words] = (readText(path) ?? "").split("\n");
  const [pid, ssh] = /^\d+ \d+$/.test(line) ? line.split(" ").map(Number) : [0, 0];
  const ended = words.find((word) => word === "up" || word === "failed");
  const isRunning = pid > 1 ? system.isAlive(pid) : isNew(path, system.now());
  return { number, path, pid, ssh, state: ended ?? (isRunning ? "running" : "broken off") };
}

function isNew(path: string, now: number): boolean {
  const age = now - (statOf(path)?.mtime?.getTime() ?? 0);
  return age >= 0 && age < EMPTY_FOR;
}
