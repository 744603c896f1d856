/** Sees to it that a sleeper is awake. The sleeper itself is in sleeper.ts. */
import { keepDescriptors } from "./libc.ts";
import { programCommand, VERSION } from "./program.ts";
import { INSIDE } from "./real_ssh.ts";
import type { System } from "./system.ts";

/** The file that names the sleeper: its pid, and its version. The sleeper holds a lock on it. */
export function sleeperFile(stateDir: string): string {
  return `${stateDir}/sleeper`;
}

/** The pid of the sleeper; `undefined` where none is awake. */
export function sleeperPid(
  stateDir: string,
  system: Pick<System, "isAlive">,
): number | undefined {
  try {
    const pid = parseInt(Deno.readTextFileSync(sleeperFile(stateDir)));
    return pid > 1 && system.isAlive(pid) ? pid : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** How often the sleeper looks after its lanes, seconds: `SSHS_LOOK`, else 5. */
export function lookSeconds(system: Pick<System, "env">): number {
  const seconds = Number(system.env("SSHS_LOOK"));
  return seconds >= 0.1 && seconds <= 60 ? seconds : 5;
}

/** What the sleeper's file holds. */
export function sleeperText(pid: number): string {
  return `${pid}\n${VERSION}\n`;
}

/**
 * Starts a sleeper where none is awake. It is forked twice, holds nothing of the caller, and begins
 * its work a second later: the call that needed it goes first. Until then its pid, which an exec
 * keeps, already stands in the file, so that 50 calls at once do not start 50.
 */
export async function wakeSleeper(
  stateDir: string,
  system: Pick<System, "isAlive">,
): Promise<void> {
  if (sleeperPid(stateDir, system) !== undefined) return;
  keepDescriptors();
  const { stdout } = await new Deno.Command("/bin/sh", {
    args: [
      "-c",
      '{ sleep 1; exec "$@"; } </dev/null >/dev/null 2>&1 & echo $!',
      "sh",
      ...programCommand("--sleeper", stateDir),
    ],
    cwd: "/",
    env: { [INSIDE]: "sleeper", SSHS_DIR: stateDir },
    stdin: "null",
    stdout: "piped",
    stderr: "null",
    detached: true,
  }).spawn().output(); // Without spawn() it would not be detached: output() passes over it (Deno 2.9).
  const pid = parseInt(new TextDecoder().decode(stdout));
  if (!(pid > 1)) return;
  const draft = `${sleeperFile(stateDir)}.${Deno.pid}`;
  Deno.writeTextFileSync(draft, sleeperText(pid), { mode: 0o600 });
  try {
    // Not over another's: who was first stays.
    Deno.linkSync(draft, sleeperFile(stateDir));
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    if (sleeperPid(stateDir, system) === undefined) {
      Deno.renameSync(draft, sleeperFile(stateDir));
      return;
    }
  }
  Deno.removeSync(draft);
}
