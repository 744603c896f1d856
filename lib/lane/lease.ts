/**
 * Leases: the processes on a lane. Each has a file in `<n>.leases/`, named by its pid (exec keeps the pid).
 *
 *     <pid>      a session
 *     <pid>.w    a call that waits for a moment to be one, so that two calls cannot take the last place
 *     <pid>.via  a channel that does not count against the server's MaxSessions (`-W`)
 *
 * sh creates them, empty. Leases of dead processes do not count. The sleeper removes them, and those whose
 * pid belongs to another process now, as its birth shows.
 */
import { addIfEmpty, exists, namesIn, removePath, setModified, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import type { LaneRecord } from "./lane.ts";
import type { Lane } from "./layout.ts";

export interface Lease {
  readonly pid: number;
  readonly kind: "running" | "waiting" | "via";
}

type LeaseDirs = Pick<Lane, "leases" | "retired">;

/** How long a lease may be waiting, ms: a shell cannot remove it by itself. */
const WAITING_FOR = 10_000;

/**
 * Returns the leases on a lane, open or retired, whose processes are alive. A process with a waiting and a
 * running lease counts only as running.
 */
export function liveLeases(lane: LeaseDirs, system: Pick<System, "isAlive">): Lease[] {
  const leases = namesIn(leaseDir(lane)).flatMap((name) => parseLease(name) ?? []);
  return leases.filter(({ pid, kind }) =>
    !(kind === "waiting" &&
      leases.some((other) => other.pid === pid && other.kind === "running")) &&
    system.isAlive(pid)
  );
}

/**
 * Whether there is a place among these leases for the process `pid`. Running leases come first, then waiting
 * ones with lower pids.
 */
export function hasRoom(
  record: Pick<LaneRecord, "linger" | "maxSessions">,
  leases: readonly Lease[],
  pid: number,
  isKept = false,
): boolean {
  const others = leases.filter((lease) => lease.pid !== pid);
  // Without a linger, a lane is used only while another process is on it, or while it is kept.
  if (record.linger === 0 && !isKept && others.length === 0) return false;
  const before = others.filter(({ kind, pid: other }) =>
    kind === "running" || (kind === "waiting" && other < pid)
  );
  return before.length < record.maxSessions;
}

/** Removes the leases of dead processes, and files that are no leases: they would keep the lane forever. */
export function dropDeadLeases(lane: LeaseDirs, system: Pick<System, "isAlive">): void {
  const dir = leaseDir(lane);
  for (const name of namesIn(dir)) {
    const lease = parseLease(name);
    if (!lease || !system.isAlive(lease.pid)) removePath(`${dir}/${name}`);
  }
}

/** A lease that the sleeper has seen. */
export interface SeenLease extends Lease {
  /** When it was taken, ms since the epoch. */
  readonly takenAt: number;
}

/** What a sweep of a lane's leases has found. */
export interface Sweep {
  /** The lane takes sessions. */
  readonly isOpen: boolean;
  /** Leases whose processes are alive. */
  readonly live: readonly SeenLease[];
  /** How many leases have come since the last sweep, even if they have gone again. */
  readonly begun: number;
  /** Leases that have gone since the last sweep, or have come and gone. */
  readonly ended: readonly Lease[];
}

/**
 * Follows the leases of a lane from sweep to sweep, for the sleeper. A pid that is alive at two sweeps in a
 * row is the same process: no machine uses up all its pids in a second. So each birth is looked up once.
 */
export class LeaseWatch {
  readonly #lane: LeaseDirs;
  /** The live leases of the last sweep, by file name. */
  #known: ReadonlyMap<string, SeenLease> = new Map();
  #isInDoubt = false;

  constructor(lane: LeaseDirs) {
    this.#lane = lane;
  }

  /** Makes the next sweep look up all births: it may come a long time after the last one. */
  doubt(): void {
    this.#isInDoubt = true;
  }

  /** Removes leases of dead processes, or whose pid has another process now, and files that are no leases. */
  async sweep(system: Pick<System, "births" | "isAlive" | "now">): Promise<Sweep> {
    const isOpen = exists(this.#lane.leases);
    const dir = leaseDir(this.#lane);
    const found = new Map<string, SeenLease>();
    for (const name of namesIn(dir)) {
      const lease = this.#known.get(name) ?? seeLease(dir, name);
      if (lease) found.set(name, lease);
      else removePath(`${dir}/${name}`);
    }
    const live = await this.#living(dir, found, system);
    for (const name of found.keys()) if (!live.has(name)) removePath(`${dir}/${name}`);
    const begun = [...found.keys()].filter((name) => !this.#known.has(name));
    const ended = new Map([...this.#known, ...found].filter(([name]) => !live.has(name)));
    this.#known = live;
    this.#isInDoubt = false;
    return {
      isOpen,
      live: [...live.values()],
      begun: begun.filter((name) => found.get(name)!.kind !== "waiting").length,
      ended: [...ended.values()].filter(({ kind }) => kind !== "waiting"),
    };
  }

  async #living(
    dir: string,
    found: ReadonlyMap<string, SeenLease>,
    system: Pick<System, "births" | "isAlive" | "now">,
  ): Promise<Map<string, SeenLease>> {
    const live = new Map(
      [...found].filter(([, lease]) => system.isAlive(lease.pid) && !isOver(lease, found, system)),
    );
    const fresh = [...live].filter(([name]) => this.#isInDoubt || !this.#known.has(name));
    if (fresh.length === 0) return live;
    const births = await system.births(fresh.map(([, { pid }]) => pid));
    for (const [name, lease] of fresh) {
      const birth = births.get(lease.pid);
      // If the system reports no birth, the pid must do.
      if (birth !== undefined && !isBorn(`${dir}/${name}`, lease, birth)) live.delete(name);
    }
    return live;
  }
}

/** Whether a waiting lease no longer waits: its call runs, or went elsewhere. */
function isOver(
  { pid, kind, takenAt }: SeenLease,
  found: ReadonlyMap<string, Lease>,
  system: Pick<System, "now">,
): boolean {
  if (kind !== "waiting") return false;
  return found.has(`${pid}`) || Math.abs(system.now() - takenAt) > WAITING_FOR;
}

/**
 * Whether the process with this birth created the lease. A call cannot read its own birth, so the first
 * sweep trusts the process and writes its birth to the lease.
 */
function isBorn(path: string, lease: SeenLease, birth: string): boolean {
  const noted = addIfEmpty(path, birth);
  if (noted === "") setModified(path, lease.takenAt);
  return noted === undefined || noted === "" || noted === birth;
}

function seeLease(dir: string, name: string): SeenLease | undefined {
  const lease = parseLease(name);
  const takenAt = lease && statOf(`${dir}/${name}`)?.mtime?.getTime();
  return lease && { ...lease, takenAt: takenAt ?? 0 };
}

function leaseDir(lane: LeaseDirs): string {
  return exists(lane.leases) ? lane.leases : lane.retired;
}

function parseLease(name: string): Lease | undefined {
  const [, pid, ending] = /^([1-9]\d{0,9})(\.w|\.via)?$/.exec(name) ?? [];
  if (!pid) return undefined;
  return { pid: Number(pid), kind: ending === ".w" ? "waiting" : ending ? "via" : "running" };
}
