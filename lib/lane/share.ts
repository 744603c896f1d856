/**
 * A place for a call on a lane: one that is open and fit, or else a new one, started by one caller for
 * all that wait. Whatever goes wrong on our side ends in "plain": the call becomes ssh itself.
 */
import { Flight, hasFailedSince, heldFor, isAsking } from "./flight.ts";
import { openIfThere } from "../os/files.ts";
import { closeLane, isFit } from "./health.ts";
import { hasRoom, type Lane, lanesOf, readRecord } from "./lane.ts";
import { dropLease, liveLeases, takeLease } from "./lease.ts";
import type { Place, PlaceRequest, PlaceSystem } from "./place.ts";
import { startLane } from "./start_lane.ts";
import type { System } from "../os/system.ts";
import { say, words } from "../os/terminal.ts";

/**
 * How long a call waits for another's attempt, ms; and where that one waits for its user's answer. Not for
 * all that come before it: of 200 calls at once each has its turn.
 */
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
    const attempt = Math.min(waited, heldFor(request.dir, system.now()) ?? waited);
    if (attempt > (isAsking(request.dir) ? WAIT_FOR_ANSWER : WAIT)) {
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
    if (fit) {
      dropOthers(lane, request);
      return lane;
    }
    await closeLane(lane, system);
  }
}

/** Drops the lease that the launcher may have left on another lane, whose plan did not hold. */
function dropOthers(mine: Lane, request: PlaceRequest): void {
  for (const lane of lanesOf(request.dir)) {
    if (lane.name !== mine.name) dropLease(lane, request.lease);
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

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms * (0.75 + Math.random() / 2)));
}
