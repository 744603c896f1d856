/**
 * Leases: the processes on a lane. Each has a file in `<n>.leases/`, named by its pid (exec keeps the pid).
 *
 *     <pid>      a session
 *     <pid>.via  a channel that does not count against the server's MaxSessions (`-W`)
 *
 * sh creates them, empty. Leases of dead processes do not count. The sleeper removes them, and those whose
 * pid belongs to another process now, as its birth shows.
 */
import { addIfEmpty, exists, linkStatOf, namesIn, removePath, setModified } from "../os/files.ts";
import type { System } from "../os/system.ts";
import type { Lane } from "./layout.ts";
import type { LaneRecord } from "./record.ts";

export interface Lease {
  readonly pid: number;
  readonly kind: "running" | "via";
}

/** Returns the leases on a lane, open or retired, whose processes are alive. */
export function liveLeases(lane: Lane, system: Pick<System, "isAlive">): Lease[] {
  return namesIn(leaseDir(lane)).flatMap((name) => parseLease(name) ?? [])
    .filter(({ pid }) => system.isAlive(pid));
}

/** Returns how many more sessions a lane with these leases takes. */
export function freePlaces(
  { linger, maxSessions }: Pick<LaneRecord, "linger" | "maxSessions">,
  leases: readonly Lease[],
  isKept: boolean,
): number {
  // Without a linger, a lane is used only while another process is on it, or while it is kept.
  if (linger === 0 && !isKept && leases.length === 0) return 0;
  return Math.max(0, maxSessions - leases.filter(({ kind }) => kind === "running").length);
}

/** Returns the lease that a file's name is; `undefined` if it is none. */
export function parseLease(name: string): Lease | undefined {
  // `.w`: a call of 0.2.0 that waits for a place. It keeps the lane, and is no session.
  const [, pid, ending] = /^([1-9]\d{0,9})(\.w|\.via)?$/.exec(name) ?? [];
  return pid ? { pid: Number(pid), kind: ending ? "via" : "running" } : undefined;
}

function leaseDir(lane: Lane): string {
  return exists(lane.leases) ? lane.leases : lane.retired;
}

/** A lease that the sleeper has seen. */
export interface SeenLease extends Lease {
  /** When it was taken, ms since the epoch. */
  readonly takenAt: number;
}

/** What a sweep of a lane's leases has found. */
export interface Sweep {
  /** Leases whose processes are alive. */
  readonly live: readonly SeenLease[];
  /** How many leases have come since the last sweep, even if they have gone again. */
  readonly begun: number;
  /** Leases that have gone since the last sweep, or have come and gone. */
  readonly ended: readonly SeenLease[];
}

/**
 * Follows the leases of a lane from sweep to sweep, for the sleeper. A pid that is alive at two sweeps in a
 * row is the same process: no machine uses up all its pids in a second. So each birth is looked up once.
 */
export class LeaseWatch {
  readonly #lane: Lane;
  /** The live leases of the last sweep, by file name. */
  #known: ReadonlyMap<string, SeenLease> = new Map();
  #isInDoubt = false;

  constructor(lane: Lane) {
    this.#lane = lane;
  }

  /** Makes the next sweep look up all births: it may come a long time after the last one. */
  doubt(): void {
    this.#isInDoubt = true;
  }

  /** Removes leases of dead processes, or whose pid has another process now, and files that are no leases. */
  async sweep(system: Pick<System, "births" | "isAlive">): Promise<Sweep> {
    const dir = leaseDir(this.#lane);
    const names = namesIn(dir);
    const found = new Map<string, SeenLease>();
    for (const name of names) {
      const lease = this.#known.get(name) ?? seeLease(dir, name);
      if (lease) found.set(name, lease);
    }
    const live = new Map([...found].filter(([, { pid }]) => system.isAlive(pid)));
    const fresh = [...live].filter(([name]) => this.#isInDoubt || !this.#known.has(name));
    if (fresh.length > 0) {
      const births = await system.births(fresh.map(([, { pid }]) => pid));
      for (const [name, lease] of fresh) {
        if (!isBorn(`${dir}/${name}`, lease, births.get(lease.pid))) live.delete(name);
      }
    }
    for (const name of names) if (!live.has(name)) removePath(`${dir}/${name}`);
    const begun = [...found.keys()].filter((name) => !this.#known.has(name)).length;
    const ended = new Map([...this.#known, ...found].filter(([name]) => !live.has(name)));
    this.#known = live;
    this.#isInDoubt = false;
    return { live: [...live.values()], begun, ended: [...ended.values()] };
  }
}

/**
 * Whether the process with this birth created the lease; if the system reports none, the pid must do. The
 * launcher leaves a lease empty, so the first sweep trusts the process and writes its birth to it.
 */
function isBorn(path: string, lease: SeenLease, birth: string | undefined): boolean {
  if (birth === undefined) return true;
  const noted = addIfEmpty(path, birth);
  if (noted === "") setModified(path, lease.takenAt);
  return noted === undefined || noted === "" || noted === birth;
}

function seeLease(dir: string, name: string): SeenLease | undefined {
  const lease = parseLease(name);
  const info = lease && linkStatOf(`${dir}/${name}`); // A link's target is not ours to write.
  return info?.isFile ? { ...lease!, takenAt: info.mtime?.getTime() ?? 0 } : undefined;
}
