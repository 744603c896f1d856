/** A new lane: its master is started, asks its user what it must, and the lane is opened. */
import { hasTerminal } from "./ask.ts";
import type { Flight } from "./flight.ts";
import { isSystemError, makeDir, makeWay, removePath } from "../os/files.ts";
import { withoutValues } from "../ssh/identity.ts";
import { Interrupt } from "../os/interrupt.ts";
import { type Lane, newLane, openLane, removeLane, verify } from "./lane.ts";
import { endAbandoned, type MasterStart, startMaster } from "./master.ts";
import type { Place, PlaceRequest, PlaceSystem } from "./place.ts";
import { PromptRelay } from "./prompt.ts";
import type { System } from "../os/system.ts";

/**
 * Starts a master for the call, and opens its lane with the call's lease on it. Whatever goes wrong on
 * our side ends in "plain", and leaves nothing behind.
 *
 * @param flight the right to do so, which the caller holds until it is done
 */
export async function startLane(
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
    start = await askingStart(request, lane, ground.options, asking, system, interrupt);
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
