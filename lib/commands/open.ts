/** Opens a lane without a session: what --warm and --hold do before anything else. */
import { decide } from "../call/decide.ts";
import type { Lane } from "../lane/lane.ts";
import { dropLease } from "../lane/lease.ts";
import { findRealSsh } from "../ssh/real_ssh.ts";
import { route, type RouteSystem } from "../lane/route.ts";
import { words } from "../os/terminal.ts";
import { wakeSleeper } from "../sleeper/sleeper_start.ts";

export type Opened =
  | { readonly kind: "open"; readonly lane: Lane; readonly started: boolean }
  /** With what ssh said, or why there is nothing to share. */
  | { readonly kind: "failed"; readonly reason: string };

/**
 * Opens the lane of a call, or finds it open, and calls `use` with it before anybody can let it go.
 * What ssh says meanwhile comes back in the reason.
 */
export async function openLaneOf(
  argv: readonly string[],
  system: RouteSystem,
  use: (lane: Lane) => void = () => {},
): Promise<Opened> {
  const ssh = findRealSsh(system);
  if (ssh === undefined) return failed(words.noSsh());
  const decision = await decide(argv, ssh, system);
  if (decision.kind === "direct") {
    return failed(`cannot be shared: ${decision.reason}${hint(decision.remedy)}`);
  }
  const said: Uint8Array[] = [];
  const place = await route(decision, system, { stderr: (bytes) => said.push(bytes) });
  switch (place.kind) {
    case "lane":
      use(place.lane);
      await wakeSleeper(decision.stateDir, system);
      dropLease(place.lane, decision.lease);
      return { kind: "open", lane: place.lane, started: place.started };
    case "refused":
      return failed(await lastLine(said) || "ssh could not log in");
    case "plain":
      return failed(place.reason);
    default:
      return place satisfies never;
  }
}

function failed(reason: string): Opened {
  return { kind: "failed", reason };
}

function hint(remedy: string | undefined): string {
  return remedy ? `; ${remedy}` : "";
}

/** What ssh gave as its reason stands last. */
async function lastLine(said: readonly Uint8Array[]): Promise<string | undefined> {
  const text = await new Blob(said as Uint8Array<ArrayBuffer>[]).text();
  return text.split(/\r?\n/).findLast((line) => line.trim() !== "");
}
