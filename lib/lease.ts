/**
 * Leases: one live session on a lane each, a file in `<lane>.leases/` named by the session's pid (an
 * exec keeps the pid). Dead pids do not count; a pid that has another process now is told by its birth.
 */
import { exists, namesIn, readText, removePath } from "./gone.ts";
import { birthFromStat, births, type System } from "./system.ts";

/** Where a lane's leases are: open, or retired. */
export interface LeaseDirs {
  readonly leases: string;
  readonly retired: string;
}

/**
 * The name of a process's lease. A channel that is no session (`-W`, a jump host's) takes no place of
 * sshd's MaxSessions but holds the lane all the same.
 */
export function leaseName(pid: number, takesPlace: boolean): string {
  return takesPlace ? `${pid}` : `${pid}.via`;
}

/** Takes a lease; false where the lane is closed. */
export function takeLease(lane: LeaseDirs, lease: string): boolean {
  try {
    Deno.writeTextFileSync(`${lane.leases}/${lease}`, "", { mode: 0o600 });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

export function dropLease(lane: LeaseDirs, lease: string): void {
  removePath(`${lane.leases}/${lease}`);
}

/** The leases on a lane, open or retired, whose processes live. */
export function liveLeases(lane: LeaseDirs, system: Pick<System, "isAlive">): string[] {
  return leasesIn(leaseDir(lane)).filter((name) => system.isAlive(parseInt(name)));
}

/** How many sessions there are among leases. */
export function placesTaken(leases: readonly string[]): number {
  return leases.filter((name) => !name.endsWith(".via")).length;
}

/** Removes the leases of dead processes. */
export function dropDeadLeases(lane: LeaseDirs, system: Pick<System, "isAlive">): void {
  const dir = leaseDir(lane);
  for (const name of namesIn(dir)) {
    if (!system.isAlive(parseInt(name))) removePath(`${dir}/${name}`);
  }
}

/**
 * Removes the leases of dead processes and those whose pid has another process now, and returns the
 * rest. One without a birth is given its own: the launcher may have had no way to read it.
 */
export async function sweepLeases(
  lane: LeaseDirs,
  system: Pick<System, "isAlive" | "run">,
): Promise<string[]> {
  dropDeadLeases(lane, system);
  const dir = leaseDir(lane);
  const live = leasesIn(dir);
  const born = await births(live.map((name) => parseInt(name)), system);
  return live.filter((name) => {
    const birth = born.get(parseInt(name));
    const noted = readText(`${dir}/${name}`);
    if (birth === undefined || noted === undefined) return system.isAlive(parseInt(name));
    if (noted === "") {
      Deno.writeTextFileSync(`${dir}/${name}`, birth, { mode: 0o600 });
      return true;
    }
    if ((birthFromStat(noted) ?? noted) === birth) return true;
    removePath(`${dir}/${name}`);
    return false;
  });
}

function leaseDir(lane: LeaseDirs): string {
  return exists(lane.leases) ? lane.leases : lane.retired;
}

function leasesIn(dir: string): string[] {
  return namesIn(dir).filter((name) => /^[1-9]\d*(\.via)?$/.test(name));
}
