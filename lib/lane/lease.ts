/**
 * Leases: who is on a lane, a file each in `<n>.leases/` by the pid of its process (an exec keeps the pid).
 *
 *     <pid>      a session
 *     <pid>.w    one that waits to be, for a moment: so two calls cannot take the last place
 *     <pid>.via  a channel that takes no place of the server's MaxSessions (`-W`)
 *
 * sh makes them, empty. Dead pids do not count; the sleeper removes them, and those whose pid is another
 * process's by now, as its birth tells.
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

/** How long a lease may be waiting, ms: no shell can take it back by itself. */
const WAITING_FOR = 10_000;

/** The leases on a lane, open or retired, whose processes live; a waiting one that also runs only runs. */
export function liveLeases(lane: LeaseDirs, system: Pick<System, "isAlive">): Lease[] {
  const leases = namesIn(leaseDir(lane)).flatMap((name) => parseLease(name) ?? []);
  return leases.filter(({ pid, kind }) =>
    !(kind === "waiting" &&
      leases.some((other) => other.pid === pid && other.kind === "running")) &&
    system.isAlive(pid)
  );
}

/**
 * Whether there is a place among these leases for the process `pid`: it comes after those that run, and
 * after those of lower pids that wait.
 */
export function hasRoom(
  record: Pick<LaneRecord, "linger" | "maxSessions">,
  leases: readonly Lease[],
  pid: number,
  isKept = false,
): boolean {
  const others = leases.filter((lease) => lease.pid !== pid);
  // With no linger a lane is used only while somebody else is on it, or while it is kept.
  if (record.linger === 0 && !isKept && others.length === 0) return false;
  const before = others.filter(({ kind, pid: other }) =>
    kind === "running" || (kind === "waiting" && other < pid)
  );
  return before.length < record.maxSessions;
}

/** Removes the leases of dead processes, and what is no lease: it would keep the lane for ever. */
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

/** What a look at a lane's leases has found. */
export interface Sweep {
  /** The lane takes sessions. */
  readonly isOpen: boolean;
  /** Those whose processes live. */
  readonly live: readonly SeenLease[];
  /** How many have come since the last look, be it that they have gone again. */
  readonly begun: number;
  /** Those that have gone since the last look, or have come and gone. */
  readonly ended: readonly Lease[];
}

/**
 * The leases of a lane as the sleeper sees them, look after look. A pid that lives at two looks in a
 * row is the same process: no machine uses up all its pids in a second. So a birth is asked for once.
 */
export class LeaseWatch {
  readonly #lane: LeaseDirs;
  /** Those that were there at the last look, by the names of their files. */
  #known: ReadonlyMap<string, SeenLease> = new Map();
  #isInDoubt = false;

  constructor(lane: LeaseDirs) {
    this.#lane = lane;
  }

  /** The next look may be a long time after the last one. */
  doubt(): void {
    this.#isInDoubt = true;
  }

  /** Removes the leases of dead processes, those whose pid has another process now, and what is none. */
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
      // Where births cannot be had the pid must do.
      if (birth !== undefined && !isBorn(`${dir}/${name}`, lease, birth)) live.delete(name);
    }
    return live;
  }
}

/** Whether a waiting lease waits no more: it runs, or went elsewhere. */
function isOver(
  { pid, kind, takenAt }: SeenLease,
  found: ReadonlyMap<string, Lease>,
  system: Pick<System, "now">,
): boolean {
  if (kind !== "waiting") return false;
  return found.has(`${pid}`) || Math.abs(system.now() - takenAt) > WAITING_FOR;
}

/**
 * Whether the process with this birth is the one that made the lease. It is noted in it, since a call
 * has no way to read its own: at the first look it counts as the one.
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
