/**
 * A place for a call on a lane: one that is open and fit, or else a new one, started by one caller for
 * all that wait. Whatever goes wrong on our side ends in "plain": the call becomes ssh itself.
 */
import { hasTerminal } from "./ask.ts";
import { Flight, hasFailedSince, isAsking } from "./flight.ts";
import { closeLane, isFit } from "./health.ts";
import { withoutValues } from "./identity.ts";
import { Interrupt } from "./interrupt.ts";
import { isSystemError, makeDir, makeWay, openIfThere, removePath } from "./gone.ts";
import {
  hasRoom,
  type Lane,
  lanesOf,
  newLane,
  openLane,
  readRecord,
  removeLane,
  verify,
} from "./lane.ts";
import { dropLease, liveLeases, takeLease } from "./lease.ts";
import { endAbandoned, type MasterStart, startMaster } from "./master.ts";
import { PromptRelay } from "./prompt.ts";
import type { System } from "./system.ts";
import { say, words } from "./ui.ts";

/** All that is needed to find a call a place. */
export interface PlaceRequest {
  readonly ssh: string;
  /** The directory of the call's identity, and what goes into it: the identity's text. */
  readonly dir: string;
  readonly identity: string;
  /** As the user wrote it, and as ssh resolved it. */
  readonly destination: string;
  readonly resolved: string;
  /** What must be done before a master can be started; `asking` as below. */
  readonly groundwork: (asking: (open: boolean) => void) => Promise<Groundwork>;
  /** Done while the master logs in. */
  readonly meanwhile: () => Promise<void>;
  /** Told when a question to the user is open, and when it is done. */
  readonly asking: (open: boolean) => void;
  /** The name of the lease. */
  readonly lease: string;
  /** Seconds. */
  readonly linger: number;
  readonly grace: number;
  readonly maxSessions: number;
  readonly forwards: boolean;
  /** It connects through a ProxyCommand or a jump host. */
  readonly proxied: boolean;
  /** The configuration forbids questions. */
  readonly batch: boolean;
  readonly quiet: boolean;
  /** Takes what a starting master says. */
  readonly stderr: (bytes: Uint8Array) => void;
}

/** What a master stands on: its jump host's lane. */
export type Groundwork =
  | {
    readonly kind: "ready";
    /** The options that the master is started with. */
    readonly options: readonly string[];
    /** Told the pid of the master that stands on it, or `undefined` when none came up. */
    readonly handOver: (master: number | undefined) => void;
  }
  | Extract<Place, { kind: "refused" }>;

export type Place =
  | { readonly kind: "lane"; readonly lane: Lane; readonly started: boolean }
  /** ssh could not connect or log in, and has said why: exit with its code. */
  | { readonly kind: "refused"; readonly code: number }
  /** `expected`: nothing is wrong with us, and nothing need be said. */
  | { readonly kind: "plain"; readonly reason: string; readonly expected?: boolean };

type PlaceSystem = Pick<System, "env" | "isAlive" | "kill" | "now" | "run">;

/** How long a call waits for another's attempt, ms; and where that one waits for its user's answer. */
const WAIT = 30_000;
const WAIT_FOR_ANSWER = 120_000;
/** How long it waits for its turn to take a lease, ms: a turn takes some microseconds, with 200 leases 1 ms. */
const WAIT_FOR_TURN = 3_000;
/** A call that waits longer than this says so, on a terminal. */
const WAIT_IN_SILENCE = 3_000;
/** How often who waits looks again, ms: short at first, since most logins are. */
const LOOK_AGAIN = [15, 25, 50, 100];
/**
 * Later after a tenth of the time that it has waited, up to this: 200 calls that look ten times a second
 * keep two processors from all else.
 */
const LOOK_AGAIN_AT_LAST = 1000;

/** Finds a place, starting a master if need be. The lease is taken when it returns a lane. */
export async function findPlace(
  request: PlaceRequest,
  system: PlaceSystem,
): Promise<Place> {
  const began = system.now();
  const start = performance.now();
  for (let look = 0;; look++) {
    const lane = await openPlace(request, system);
    if (lane) return { kind: "lane", lane, started: false };
    if (hasFailedSince(request.dir, began, system.now())) {
      const reason = "another call's attempt to log in has just failed";
      return { kind: "plain", reason, expected: true };
    }
    using flight = Flight.tryTake(request.dir);
    // Once more: a lane may have been opened since the look, and its opener have left the lock.
    if (flight) {
      const freed = await openPlace(request, system);
      if (freed) return { kind: "lane", lane: freed, started: false };
      if (!hasFailedSince(request.dir, began, system.now())) {
        return await startLane(request, flight, system);
      }
      continue;
    }
    const waited = performance.now() - start;
    if (waited > (isAsking(request.dir) ? WAIT_FOR_ANSWER : WAIT)) {
      const reason = "another call has been logging in for too long";
      return { kind: "plain", reason, expected: true };
    }
    if (look > 0 && waited > WAIT_IN_SILENCE && !request.quiet && Deno.stderr.isTerminal()) {
      say(words.waiting(request.destination));
      request = { ...request, quiet: true };
    }
    const soon = LOOK_AGAIN[Math.min(look, LOOK_AGAIN.length - 1)];
    await pause(Math.max(soon, Math.min(waited / 10, LOOK_AGAIN_AT_LAST)));
  }
}

/** Takes a lease on an open lane that has a free place and is fit; closes those that are not fit. */
async function openPlace(request: PlaceRequest, system: PlaceSystem): Promise<Lane | undefined> {
  for (const lane of lanesOf(request.dir)) {
    if (!await takePlace(lane, request, system)) continue;
    let fit = false;
    try {
      fit = await isFit(lane, system);
    } finally {
      if (!fit) dropLease(lane, request.lease);
    }
    if (fit) return lane;
    await closeLane(lane, system);
  }
}

/**
 * Takes a lease where there is a place for it. Who comes at the same moment takes turns: else each of
 * 30 would see the leases of the 29 others, and none would find a place.
 */
async function takePlace(
  lane: Lane,
  request: PlaceRequest,
  system: Pick<System, "isAlive" | "now">,
): Promise<boolean> {
  const record = readRecord(lane);
  using turn = record && openIfThere(lane.log);
  if (!record || !turn || !await comesUp(turn)) return false;
  if (!takeLease(lane, request.lease)) return false;
  if (hasRoom(record, liveLeases(lane, system), system.now())) return true;
  dropLease(lane, request.lease);
  return false;
}

/** Waits for our turn on a lane. False: somebody has been stopped in theirs, and the lane is passed over. */
async function comesUp(turn: Deno.FsFile): Promise<boolean> {
  for (const start = performance.now(); !turn.tryLockSync(true);) {
    if (performance.now() - start > WAIT_FOR_TURN) return false;
    await pause(2);
  }
  return true;
}

async function startLane(
  request: PlaceRequest,
  flight: Flight,
  system: PlaceSystem,
): Promise<Place> {
  await endAbandoned(request.dir, system);
  const problem = prepare(request);
  if (problem) return { kind: "plain", reason: problem };
  const asking = (open: boolean) => {
    flight.asking(open);
    request.asking(open);
  };
  const ground = await request.groundwork(asking);
  if (ground.kind === "refused") {
    flight.failed();
    return ground;
  }
  using interrupt = new Interrupt();
  const lane = newLane(request.dir);
  const begun = performance.now();
  let start: MasterStart | undefined;
  try {
    [start] = await Promise.all([
      askingStart(request, lane, ground.options, asking, system, interrupt),
      request.meanwhile(),
    ]);
    if (start.kind === "up") {
      // A login takes some ten round trips, so this is no less than one.
      verify(lane, (performance.now() - begun) / 10, system.now());
      openLane(lane, {
        pid: start.pid,
        destination: request.destination,
        resolved: request.resolved,
        started: system.now(),
        linger: request.linger === Infinity ? null : request.linger,
        maxSessions: request.maxSessions,
        forwards: request.forwards,
      }, request.lease);
    }
  } catch (error) {
    // The disk is full, the directory was removed, no process can be had.
    if (start?.kind === "up") await start.hold.terminate().catch(() => {});
    start = { kind: "failed", reason: (error as Error).message };
  }
  ground.handOver(start.kind === "up" ? start.pid : undefined);
  if (start.kind !== "up") {
    flight.failed();
    clear(lane);
    await interrupt.dieIfInterrupted();
    return start.kind === "refused" ? start : { kind: "plain", reason: start.reason };
  }
  await interrupt.dieIfInterrupted();
  return { kind: "lane", lane, started: true };
}

/** Starts the master with the prompt relay where there is somebody to ask. */
async function askingStart(
  request: PlaceRequest,
  lane: Lane,
  options: readonly string[],
  asking: (open: boolean) => void,
  system: PlaceSystem,
  interrupt: Interrupt,
): Promise<MasterStart> {
  const start = (relay?: PromptRelay) =>
    startMaster({ ...request, options, lane, relay, signal: interrupt.signal }, system);
  // Without a terminal, or when the user wants it, their own SSH_ASKPASS stays in force.
  if (request.batch || wantsAskpass(system) || !await hasTerminal(system)) return await start();
  await using relay = await PromptRelay.listen(lane, asking, system);
  if (relay) return await start(relay);
  // A login that asks nothing does without; one that asks must be ssh's own.
  const mute = await start();
  if (mute.kind !== "refused") return mute;
  return { kind: "failed", reason: `it cannot ask, since no program can be run from ${lane.dir}` };
}

/** Whether ssh would ask by SSH_ASKPASS though there is a terminal (read_passphrase() in readpass.c). */
function wantsAskpass(system: Pick<System, "env">): boolean {
  const wish = system.env("SSH_ASKPASS_REQUIRE")?.toLowerCase();
  const display = system.env("DISPLAY") ?? system.env("WAYLAND_DISPLAY");
  return wish === "force" || (wish === "prefer" && display !== undefined);
}

/** Makes the identity's directory fit for a socket; returns what is wrong with it. */
function prepare(request: PlaceRequest): string | undefined {
  makeDir(request.dir);
  const identity = `${request.dir}/identity`;
  makeWay(identity);
  Deno.writeTextFileSync(identity, withoutValues(request.identity), { mode: 0o600 });
  // ssh links its socket into place (mux.c, muxserver_listen); without hard links it would stay
  // behind as a detached ssh that nobody can reach.
  const probe = `${request.dir}/link.${Deno.pid}`;
  try {
    Deno.linkSync(identity, probe);
    removePath(probe);
  } catch (error) {
    return `no control socket can be made in ${request.dir} (${(error as Error).message})`;
  }
}

/** Removes the files of an attempt that came to nothing. What cannot be removed is left to the sleeper. */
function clear(lane: Lane): void {
  try {
    removeLane(lane);
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms * (0.75 + Math.random() / 2)));
}
