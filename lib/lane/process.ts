/**
 * Processes that files name by pid and birth ("1234 5678"). The birth, if the system reports one, reveals a
 * pid that another process has by now.
 */
import { readText, writeText } from "../os/files.ts";
import type { System } from "../os/system.ts";

export interface Process {
  readonly pid: number;
  readonly birth?: string;
}

/** Returns the process with a pid. */
export async function processOf(pid: number, system: Pick<System, "births">): Promise<Process> {
  return { pid, birth: (await system.births([pid])).get(pid) };
}

/** Returns the process that the first line of a file names. */
export function readProcess(path: string): Process | undefined {
  const [, pid, birth] = /^([1-9]\d*)(?: (.+))?\n/.exec(readText(path) ?? "") ?? [];
  return Number(pid) > 1 ? { pid: Number(pid), birth } : undefined;
}

/** Writes a process as {@linkcode readProcess} reads it; without one, an empty file. */
export function writeProcess(path: string, process?: Process): void {
  writeText(path, process ? `${[process.pid, process.birth ?? ""].join(" ").trim()}\n` : "");
}

/** Whether a recorded process is alive, and its pid is not another's by now. */
export async function isSameProcess(
  process: Process,
  system: Pick<System, "births" | "isAlive">,
): Promise<boolean> {
  if (!system.isAlive(process.pid)) return false;
  const { birth } = await processOf(process.pid, system);
  // If the system tells no births, the pid must do.
  return birth === undefined || process.birth === undefined || birth === process.birth;
}
