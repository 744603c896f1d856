/** The way of a shared call: a place on its own lane, and on that of its jump host before. */
import { decide, type DecideSystem, type Shared } from "./decide.ts";
import { connectionOptions } from "./ssh_config.ts";
import { jumpCall, jumpCommand } from "./jump.ts";
import { dropLease, leaseName, takeLease } from "./lease.ts";
import { findPlace, type Groundwork, type Place } from "./share.ts";
import type { System } from "./system.ts";
import { lookSeconds } from "./wake.ts";
import { writeStderr } from "./ui.ts";

export type RouteSystem = DecideSystem & Pick<System, "isAlive" | "kill">;

/** Finds the call a place; its jump host shares too. */
export function route(shared: Shared, system: RouteSystem): Promise<Place> {
  const look = lookSeconds(system);
  return findPlace(
    {
      ...shared,
      // A master that must not linger goes as soon as its session has; the others wait for a sleeper
      // that died to be replaced.
      grace: shared.linger === 0 ? 2 : Math.max(2, Math.ceil(3 * look)),
      groundwork: () => groundwork(shared, system),
      stderr: stderrOf(shared),
    },
    system,
  );
}

/**
 * Seconds between the server's chances to answer, and how many it may miss, where the user has set
 * none: it is the sleeper that finds dead links in time, and a session must live through as long an
 * outage as it would on a connection of its own.
 */
const SERVER_ALIVE = ["-o", "ServerAliveInterval=60", "-o", "ServerAliveCountMax=30"];

async function groundwork(
  shared: Shared,
  system: RouteSystem,
): Promise<Groundwork> {
  const alive = shared.config.get("serveraliveinterval") === "0" ? SERVER_ALIVE : [];
  const native: Groundwork = {
    kind: "ready",
    options: [...alive, ...shared.options],
    handOver: () => {},
  };
  const argv = jumpCall(shared.call, shared.config);
  if (!argv) return native;
  const jump = await decide(argv, shared.ssh, system);
  if (jump.kind === "direct") return native;
  const place = await route(
    { ...jump, batch: shared.batch, quiet: shared.quiet },
    system,
  );
  if (place.kind === "refused") return place;
  const command = place.kind === "lane" && jumpCommand(shared.ssh, place.lane.socket, argv);
  if (place.kind === "plain" || !command) return native;
  return {
    kind: "ready",
    // ssh refuses -J beside a ProxyCommand.
    options: [...alive, "-o", `ProxyCommand=${command}`, ...connectionOptions(shared.call, "J")],
    // What holds the jump host's lane from now on is the master behind it.
    handOver(pid) {
      if (pid !== undefined) takeLease(place.lane, leaseName(pid, false));
      dropLease(place.lane, jump.lease);
    },
  };
}

/** With `-E` ssh's words go to a file of the user's. */
function stderrOf(shared: Shared): (bytes: Uint8Array) => void {
  const path = shared.call.options.findLast(({ letter }) => letter === "E")?.value;
  if (path === undefined) return writeStderr;
  return (bytes) => Deno.writeFileSync(path, bytes, { append: true });
}
