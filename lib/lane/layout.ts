/**
 * The layout of the state directory, which the program, the launcher (sh) and the sleeper share. This is
 * its one description:
 *
 *     <state>/plans/<key>        what is done with a call: sh text, tests and then assignments
 *             stamps/            the times of files that plans rest on: see ssh/watches.ts
 *             sleeper            the sleeper's pid, its version, and "waking" or "awake"; a line each
 *             sleeper.log        what it did
 *             used               written to by every call that takes a lease: it wakes the idle sleeper
 *             owner              in a job's own directory (`--with`): the pid and birth of its process.
 *                                When that has ended, all that is here does
 *             <identity>/        16 hexadecimal digits; outlives its lanes
 *
 *     <identity>/about           what the identity is, for people
 *                direct          calls go plain until its mtime; it says why
 *                terminal        there if a ProxyCommand needs the terminal: calls go plain
 *                ended-early     there if the last connection ended together with its first session
 *                starter.<n>     the attempt to log in that makes lane <n>: see starter.ts
 *                <n>.sock        the control socket
 *                <n>.log         what a ProxyCommand says
 *                <n>.lane        JSON, written once by the starter: LaneRecord; its mtime is the start
 *                <n>.leases/     the lane takes sessions exactly while this is there: see lease.ts
 *                <n>.retired/    what .leases is called once the lane takes no more
 *                <n>.verified    its mtime is the time until which the far end counts as alive; it holds
 *                                the round trip in ms
 *                <n>.master      the master's pid and birth, written by the sleeper when it takes the
 *                                lane. Until then the lane has only just logged in, and counts as verified
 *                <n>.keep        s since the epoch until which the lane stays whatever its linger, or
 *                                "forever"
 *                <n>.agent       the public keys that the agent had when the sleeper took the lane
 *                <n>.forwards/   what the sessions asked to be forwarded: see forwards.ts
 *
 * Most of it is written by sh, which makes files in one step and empty. No name <n> is used twice: a
 * master that was stopped for long would remove the socket of a later one.
 */
import { namesIn } from "../os/files.ts";

/** A lane: one connection master of an identity, and where its files are. */
export interface Lane {
  /** The directory of the lane's identity. */
  readonly dir: string;
  /** A number. */
  readonly name: string;
  readonly socket: string;
  readonly log: string;
  readonly record: string;
  readonly leases: string;
  readonly retired: string;
  readonly verified: string;
  readonly master: string;
  readonly keep: string;
  readonly agent: string;
  readonly forwards: string;
}

/** A lane by its name. Nothing need be there yet. */
export function laneAt(dir: string, name: string): Lane {
  const base = `${dir}/${name}`;
  return {
    dir,
    name,
    socket: `${base}.sock`,
    log: `${base}.log`,
    record: `${base}.lane`,
    leases: `${base}.leases`,
    retired: `${base}.retired`,
    verified: `${base}.verified`,
    master: `${base}.master`,
    keep: `${base}.keep`,
    agent: `${base}.agent`,
    forwards: `${base}.forwards`,
  };
}

/** The lanes of an identity that have a record, open or retired. */
export function lanesOf(dir: string): Lane[] {
  return namesIn(dir).filter((name) => /^\d+\.lane$/.test(name))
    .map((name) => laneAt(dir, name.slice(0, -".lane".length)));
}

/** The identities in a state directory. */
export function identityDirs(stateDir: string): string[] {
  return namesIn(stateDir).filter((name) => /^[0-9a-f]{16}$/.test(name))
    .map((name) => `${stateDir}/${name}`);
}

/** Where the lanes of an identity are. */
export function identityDir(
  { stateDir, identity }: { readonly stateDir: string; readonly identity: string },
): string {
  return `${stateDir}/${identity}`;
}

/** All lanes in a state directory. */
export function allLanes(stateDir: string): Lane[] {
  return identityDirs(stateDir).flatMap(lanesOf);
}

export function plansDir(stateDir: string): string {
  return `${stateDir}/plans`;
}

export function stampsDir(stateDir: string): string {
  return `${stateDir}/stamps`;
}

export function sleeperPath(stateDir: string): string {
  return `${stateDir}/sleeper`;
}

export function sleeperLogPath(stateDir: string): string {
  return `${stateDir}/sleeper.log`;
}

export function usedPath(stateDir: string): string {
  return `${stateDir}/used`;
}

export function ownerPath(stateDir: string): string {
  return `${stateDir}/owner`;
}

export function aboutPath(dir: string): string {
  return `${dir}/about`;
}

export function directPath(dir: string): string {
  return `${dir}/direct`;
}

export function terminalPath(dir: string): string {
  return `${dir}/terminal`;
}

export function endedEarlyPath(dir: string): string {
  return `${dir}/ended-early`;
}

export function starterPath(dir: string, number: number): string {
  return `${dir}/starter.${number}`;
}
