/** The way of a shared call: a place on its own lane, and on that of its jump host before. */
import type { DecideSystem, Shared } from "../call/decide.ts";
import { isSystemError, openIfThere, statOf } from "../os/files.ts";
import { jumpCommand } from "../ssh/jump.ts";
import { dropLease, leaseName, takeLease } from "./lease.ts";
import type { Groundwork, Place } from "./place.ts";
import { findPlace } from "./share.ts";
import { connectionOptions, type SshConfig } from "../ssh/configuration.ts";
import type { System } from "../os/system.ts";
import { writeStderr } from "../os/terminal.ts";
import { lookSeconds, wakeSleeper } from "../sleeper/sleeper_start.ts";

export type RouteSystem = DecideSystem & Pick<System, "isAlive" | "kill">;

/** What else a route is told to do. */
export interface RouteOptions {
  /** Takes what starting masters say, in place of the caller's own stderr. */
  readonly stderr?: (bytes: Uint8Array) => void;
  /** Told when a question to the user is open, and when it is done. */
  readonly asking?: (open: boolean) => void;
}

/** Finds the call a place; its jump host shares too. */
export function route(
  shared: Shared,
  system: RouteSystem,
  options: RouteOptions = {},
): Promise<Place> {
  const look = lookSeconds(system);
  return findPlace(
    {
      ...shared,
      // A master that must not linger goes as soon as its session has; the others wait for a sleeper
      // that died to be replaced, or for one that wakes on a machine with much else to do.
      grace: shared.linger === 0 ? 2 : Math.max(5, Math.ceil(3 * look)),
      groundwork: (asking) => groundwork(shared, system, { ...options, asking }),
      meanwhile: () => wakeSleeper(shared.stateDir, system),
      proxy: proxyOf(shared.config),
      stderr: options.stderr ?? stderrOf(shared),
      asking: options.asking ?? (() => {}),
    },
    system,
  );
}

async function groundwork(
  shared: Shared,
  system: RouteSystem,
  options: RouteOptions,
): Promise<Groundwork> {
  // No ServerAlive* that the user has not set: a session must live through as long an outage as it would
  // on a connection of its own.
  const native: Groundwork = { kind: "ready", options: shared.options, handOver: () => {} };
  const { jump } = shared;
  if (!jump) return native;
  const place = await route({ ...jump.shared, quiet: shared.quiet }, system, options);
  if (place.kind === "refused") return place;
  if (place.kind === "plain") return native;
  // Now, since the lane stays even if nothing comes of the master behind it.
  await wakeSleeper(shared.stateDir, system);
  const { lane } = place;
  const logged = statOf(lane.log)?.size ?? 0;
  return {
    kind: "ready",
    options: [
      // As in ssh.c: "Never use FD passing for ProxyJump". And ssh refuses -J beside a ProxyCommand.
      ...["-o", `ProxyCommand=${jumpCommand(shared.ssh, lane.socket, jump.argv)}`],
      ...["-o", "ProxyUseFdpass=no", ...connectionOptions(shared.call, "J")],
    ],
    handOver(master) {
      // What holds the jump host's lane from now on is the master behind it.
      if (master !== undefined) takeLease(lane, leaseName(master, false));
      else copyFrom(lane.log, logged, options.stderr ?? writeStderr);
      dropLease(lane, jump.shared.lease);
    },
  };
}

/**
 * Copies what a jump host's master has said meanwhile: why it could not open the way ("administratively
 * prohibited", "Connection refused") is told to it, and its client learns only that it was refused.
 */
function copyFrom(log: string, start: number, stderr: (bytes: Uint8Array) => void): void {
  using file = openIfThere(log);
  if (!file) return;
  // The sleeper empties a log that has grown too large.
  file.seekSync(file.statSync().size < start ? 0 : start, Deno.SeekMode.Start);
  const bytes = new Uint8Array(16 * 1024);
  const count = file.readSync(bytes);
  if (count) stderr(bytes.subarray(0, count));
}

function proxyOf(config: SshConfig): "command" | "jump" | undefined {
  if ((config.get("proxycommand") ?? "none") !== "none") return "command";
  return config.get("proxyjump") !== undefined ? "jump" : undefined;
}

/** With `-E` ssh's words go to a file of the user's. */
function stderrOf(shared: Shared): (bytes: Uint8Array) => void {
  const path = shared.call.options.findLast(({ letter }) => letter === "E")?.value;
  if (path === undefined) return writeStderr;
  return (bytes) => {
    try {
      Deno.writeFileSync(path, bytes, { append: true });
    } catch (error) {
      // Deno opens hardly anything in /dev, such as /dev/stderr.
      if (error instanceof Deno.errors.NotCapable) return writeStderr(bytes);
      if (!isSystemError(error)) throw error; // What we become says so itself.
    }
  };
}
