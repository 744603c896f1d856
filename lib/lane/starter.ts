/**
 * Login attempts, one at a time per identity. The starter of an attempt creates `starter.<n>` exclusively;
 * the highest number counts. The first line holds the pids of the starter and of its ssh (0 before there is
 * one). When the attempt is over, another line says "up" or "failed".
 */
import { namesIn, readText, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { starterPath } from "./layout.ts";

export interface Starter {
  /** Also the name of its lane. */
  readonly number: number;
  readonly path: string;
  /** "broken off": its process is gone without a result, which says nothing about the host. */
  readonly state: "running" | "up" | "failed" | "broken off";
  /** 0 if unknown. */
  readonly pid: number;
  readonly ssh: number;
}

/** How long a file may be empty, ms: sh creates it and writes to it in two steps. sshs_look() has the same. */
const EMPTY_FOR = 5000;

/** Returns all recorded attempts, the highest number last. */
export function startersOf(dir: string, system: Pick<System, "isAlive" | "now">): Starter[] {
  return namesIn(dir).filter((name) => /^starter\.\d+$/.test(name))
    .map((name) => Number(name.slice("starter.".length)))
    .sort((a, b) => a - b)
    .map((number) => readStarter(dir, number, system));
}

/** Returns the attempt that counts. */
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
