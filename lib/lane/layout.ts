/**
 * The layout of the state directory, which the program, the launcher (sh) and the sleeper share. It is
 * described only here:
 *
 *     <state>/plans/<key>        what to do with a call: sh text, first tests, then assignments
 *                   <key>#       the claim of the call that asks the program for it: its pid, and "reading"
 *                                once the program reads ssh's configuration
 *             stamps/            the times of files that plans depend on: see ssh/watches.ts; until.<hour>:
 *                                its mtime is when plans lapse that depend on it
 *             launcher/          the library (the launcher and the program), after `deno install` alone
 *             waiting/<for>.<pid>  a named pipe: the call <pid> waits. <for> is an identity (for a login, a
 *                                place, or an answer about a lane), or the pid of the call that asks the
 *                                program for the same plan. A line in it means: look again
 *             sleeper            the sleeper's pid, its version, the descriptor under which it has this file
 *                                open, its namespaces; one per line
 *             sleeper.start      the pid and birth of a process that is becoming the sleeper
 *             sleeper.log        what the sleeper did
 *             used               every call that takes a lease writes to it, which wakes an idle sleeper
 *             owner              in a job's own directory (`--with`): the pid and birth of the job's process.
 *                                When that has ended, everything in the directory is ended too
 *             <identity>/        16 hexadecimal digits; outlives its lanes
 *
 *     <identity>/about           a description of the identity, for people
 *                direct, sessions, several, pings, ended-early  what the server has shown: see learned.ts
 *                terminal        exists if a ProxyCommand needs the terminal: calls go direct
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
 *                <n>.forwards/   the forwards that the sessions asked for: see forwards.ts
 *
 * Most of it is written by sh, which can create a file in one step only if it is empty. No name <n> is used
 * twice: a master that was stopped for a long time would remove the socket of a later one.
 */
import { namesIn } from "../os/files.ts";

/** A lane: one connection master of an identity, and where its files are. */
export type Lane = Readonly<ReturnType<typeof laneAt>>;

/** Returns a lane by the directory of its identity and its name, a number. Its files need not exist yet. */
export function laneAt(dir: string, name: string) {
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
