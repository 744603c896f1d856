/**
 * Login attempts, one at a time per identity. The starter of an attempt creates `starter.<n>` exclusively;
 * the highest number counts. The first line holds the starter's pid and birth. When the attempt is over,
 * another line says "up" or "failed".
 */
import { exists, namesIn, readText, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { laneAt } from "./layout.ts";
import { isSameProcess } from "./process.ts";

export interface Starter {
  /** Also the name of its lane. */
  readonly number: number;
  readonly path: string;
  /** "broken off": its process is gone without a result, which says nothing about the host. */
  readonly state: "running" | "up" | "failed" | "broken off";
  /** 0 if unknown. */
  readonly pid: number;
  /** Empty if unknown. */
  readonly birth: string;
}

/** How long a file may be empty, ms: sh creates it and writes to it in two steps. The launcher has the same. */
const EMPTY_FOR = 5000;

/** No login takes this long, ms: where no birth tells, the pid must be another process's by now. */
const LONGEST = 3600_000;

/** Returns all recorded attempts, the one that counts last. */
export function startersOf(dir: string, system: Pick<System, "isAlive" | "now">): Starter[] {
  return namesIn(dir).filter((name) => /^starter\.\d+$/.test(name))
    .map((name) => Number(name.slice("starter.".length)))
    .sort((a, b) => a - b)
    .map((number) => readStarter(dir, number, system));
}

/** Whether an attempt runs, and the process that it names is not another one with the same pid. */
export async function isRunning(
  { state, pid, birth }: Starter,
  system: Pick<System, "births" | "isAlive">,
): Promise<boolean> {
  // A word that is the pid of a living process may be 0.2.0's.
  const isUnknown = pid < 2 || !isBirth(birth) || system.isAlive(Number(birth));
  return state === "running" && (isUnknown || await isSameProcess({ pid, birth }, system));
}

function readStarter(
  dir: string,
  number: number,
  system: Pick<System, "isAlive" | "now">,
): Starter {
  const path = `${dir}/starter.${number}`;
  const [line, ...words] = (readText(path) ?? "").split("\n");
  const [, pid = "0", birth = ""] = /^(\d+)(?: (.*))?$/.exec(line) ?? [];
  const said = words.find((word) => word === "up" || word === "failed");
  // A starter that is killed once its lane is complete has done all but say so.
  const ended = said ?? (exists(laneAt(dir, `${number}`).record) ? "up" : undefined);
  const age = system.now() - (statOf(path)?.mtime?.getTime() ?? 0);
  const isRunning = Number(pid) > 1
    ? system.isAlive(Number(pid)) && (isBirth(birth) || age < LONGEST)
    : age >= 0 && age < EMPTY_FOR;
  const state = ended ?? (isRunning ? "running" : "broken off");
  return { number, path, pid: Number(pid), birth, state };
}

/** Whether the word after a pid is a birth. 0.2.0 has a pid there, and 0 before there is an ssh. */
function isBirth(word: string): boolean {
  return word !== "" && word !== "0";
}
