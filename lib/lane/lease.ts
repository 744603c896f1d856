/**
 * Leases: one live session on a lane each, a file in `<lane>.leases/` named by the session's pid (an
 * exec keeps the pid). Dead pids do not count; a pid that has another process now is told by its birth.
 */
import type { BirthRegister } from "../os/birth_register.ts";
import { exists, isAbsence, namesIn, removePath } from "../os/files.ts";
import { birthFromStat } from "../os/proc_stat.ts";
import type { System } from "../os/system.ts";
import { WatchedDir } from "../os/watched_dir.ts";

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
    if (isAbsence(error)) return false;
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

/** Removes the leases of dead processes, and what is no lease: it would keep the lane for ever. */
export function dropDeadLeases(lane: LeaseDirs, system: Pick<System, "isAlive">): void {
  const dir = leaseDir(lane);
  for (const name of namesIn(dir)) {
    if (!isLease(name) || !system.isAlive(parseInt(name))) removePath(`${dir}/${name}`);
  }
}

/** What a look at a lane's leases has found. */
export interface Sweep {
  /** The lane takes sessions. */
  readonly open: boolean;
  /** Sessions are on it. */
  readonly busy: boolean;
  /** Sessions are on it, or have been since the last look. */
  readonly used: boolean;
  /** Sessions have begun since the last look. */
  readonly begun: boolean;
}

/**
 * The leases of a lane as the sleeper sees them, look after look. A pid that lives at two looks in a
 * row is the same process: no machine uses up all its pids in seconds. So a birth is asked for once.
 */
export class LeaseWatch {
  readonly #lane: LeaseDirs;
  readonly #births: BirthRegister;
  readonly #leases: WatchedDir;
  /** Those that were there at the last look. */
  #known: ReadonlySet<string> = new Set();
  #isInDoubt = false;

  constructor(lane: LeaseDirs, births: BirthRegister) {
    this.#lane = lane;
    this.#births = births;
    this.#leases = new WatchedDir(lane.leases);
  }

  /** The next look may be a long time after the last one. */
  doubt(): void {
    this.#isInDoubt = true;
  }

  /** Removes the leases of dead processes and those whose pid has another process now. */
  async sweep(system: Pick<System, "isAlive">): Promise<Sweep> {
    const open = this.#leases.names();
    const dir = open ? this.#lane.leases : this.#lane.retired;
    const all = (open ?? namesIn(dir)).filter(isLease);
    const live = all.filter((name) => system.isAlive(parseInt(name)));
    const fresh = live.filter((name) => this.#isInDoubt || !this.#known.has(name));
    const reused = fresh.length === 0 ? [] : await this.#reused(dir, fresh);
    const left = live.filter((name) => !reused.includes(name));
    for (const name of all) if (!left.includes(name)) removePath(`${dir}/${name}`);
    const begun = all.some((name) => !this.#known.has(name));
    this.#known = new Set(left);
    this.#isInDoubt = false;
    return { open: open !== undefined, busy: left.length > 0, used: all.length > 0, begun };
  }

  async #reused(dir: string, names: readonly string[]): Promise<string[]> {
    const born = await this.#births.of(names.map((name) => parseInt(name)));
    return names.filter((name) => !isBorn(`${dir}/${name}`, born.get(parseInt(name))));
  }
}

/**
 * Whether the process with this birth is the one that made the lease, which is then noted in it: a
 * call has no way to read its own. Where births cannot be had the pid must do.
 */
function isBorn(path: string, birth: string | undefined): boolean {
  if (birth === undefined) return true;
  try {
    // Not created: whoever made it may have dropped it meanwhile.
    using file = Deno.openSync(path, { read: true, write: true });
    const bytes = new Uint8Array(1024);
    const noted = new TextDecoder().decode(bytes.subarray(0, file.readSync(bytes) ?? 0));
    if (noted === "") file.writeSync(new TextEncoder().encode(birth));
    return noted === "" || (birthFromStat(noted) ?? noted) === birth;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
}

function leaseDir(lane: LeaseDirs): string {
  return exists(lane.leases) ? lane.leases : lane.retired;
}

function leasesIn(dir: string): string[] {
  return namesIn(dir).filter(isLease);
}

function isLease(name: string): boolean {
  return /^[1-9]\d{0,9}(\.via)?$/.test(name);
}
