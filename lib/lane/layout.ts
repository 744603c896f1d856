/**
 * The layout of the state directory, which the program, the launcher (sh) and the sleeper share. It is
 * described only here:
 *
 *     <state>/plans/<key>        what to do with a call: sh text, first tests, then assignments
 *                   <key>#       the claim of the call that asks the program for it: its pid, and "reading"
 *                                once the program reads ssh's configuration
 *             stamps/            the times of files that plans depend on: see ssh/watches.ts; until.<hour>:
 *                                its mtime is when plans lapse that depend on it
 *             ssh                a launcher, if the program was called without one (scp, sftp and sshs too
 *                                in a job's directory)
 *             waiting/<for>.<pid>  a named pipe: the call <pid> waits. <for> is an identity (for a login, a
 *                                place, or an answer about a lane), or the pid of the call that asks the
 *                                program for the same plan. A line in it means: look again
 *             sleeper            the sleeper's pid, its version, the descriptor under which it has this file
 *                                open, its namespaces; one per line
 *             sleeper.log        what the sleeper did
 *             used               every call that takes a lease writes to it, which wakes an idle sleeper
 *             owner              in a job's own directory (`--with`): the pid and birth of the job's process.
 *                                When that has ended, everything in the directory is ended too
 *             <identity>/        16 hexadecimal digits; outlives its lanes
 *
 *     <identity>/about           a description of the identity, for people
 *                direct, sessions, several, pings  what the server has shown of itself: see learned.ts
 *                terminal        exists if a ProxyCommand needs the terminal: calls go direct
 *                ended-early     exists if the last connection ended together with its first session
 *                starter.<n>     the login attempt that creates lane <n>: see starter.ts
 *                <n>.sock        the control socket
 *                <n>.log         the messages of a ProxyCommand, or of ssh if its configuration has warnings
 *                <n>.try[ed]     exist for a moment: can a hard link be made here?
 *                <n>.lane        JSON, written once by the starter: LaneRecord; its mtime is the start
 *                <n>.leases/     exists while the lane takes sessions: see lease.ts. Made before the lane, which
 *                                is open once it has .lane, .sock and .leases
 *                <n>.retired/    .leases, renamed once the lane takes no more sessions
 *                <n>.verified    the far end counts as alive until its mtime; the text is the round trip
 *                                in ms
 *                <n>.master      the master's pid and birth, written by the sleeper when it takes the
 *                                lane. Until then the lane counts as just logged in, and so as verified
 *                <n>.keep        until when the lane stays regardless of its linger: s since the epoch, or
 *                                "forever"
 *                <n>.agent       the public keys that the agent had when the lane logged in, as `ssh-add -L`
 *                                prints them
 *                <n>.once        exists if ssh said that the password had to be changed: no more sessions
 *                <n>.forwards/   the forwards that the sessions asked for: see forwards.ts
 *
 * Most of it is written by sh, which can create a file in one step only if it is empty. No name <n> is used
 * twice: a master that was stopped for a long time would remove the socket of a later one.
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
  readonly once: string;
  readonly forwards: string;
}

/** Returns a lane by its name. Its files need not exist yet. */
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
    once: `${base}.once`,
    forwards: `${base}.forwards`,
  };
}

/** Returns the lanes of an identity that have a record, open or retired. */
export function lanesOf(dir: string): Lane[] {
  return namesIn(dir).filter((name) => /^\d+\.lane$/.test(name))
    .map((name) => laneAt(dir, name.slice(0, -".lane".length)));
}

/** Returns the directories of the identities in a state directory. */
export function identityDirs(stateDir: string): string[] {
  return namesIn(stateDir).filter((name) => /^[0-9a-f]{16}$/.test(name))
    .map((name) => `${stateDir}/${name}`);
}

/** Returns the directory of an identity's lanes. */
export function identityDir(
  { stateDir, identity }: { readonly stateDir: string; readonly identity: string },
): string {
  return `${stateDir}/${identity}`;
}

/** Returns all lanes in a state directory. */
export function allLanes(stateDir: string): Lane[] {
  return identityDirs(stateDir).flatMap(lanesOf);
}

export function plansDir(stateDir: string): string {
  return `${stateDir}/plans`;
}

export function waitingDir(stateDir: string): string {
  return `${stateDir}/waiting`;
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
