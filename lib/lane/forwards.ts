/**
 * The forwards that a call asks for (-L, -R, -D), in its arguments or in the configuration; and those that
 * the sessions of a lane asked for: `<n>.forwards/<pid>`, a {@linkcode Forward} in JSON on each line. A
 * master keeps a forward until it is cancelled, and reports success for one that it already has. So each
 * forward stays until the last session that asked for it has ended.
 *
 * The launcher creates the lease first, then the file, and only then asks the master.
 */
import { namesIn, readText, removePath } from "../os/files.ts";
import type { SshConfig } from "../ssh/config_dump.ts";
import type { Lane } from "./layout.ts";
import { MuxConnection } from "./mux_client.ts";
import {
  type Forward,
  isMuxTrouble,
  MUX_C_CLOSE_FWD,
  MUX_C_OPEN_FWD,
  MUX_FWD_DYNAMIC,
  MUX_FWD_LOCAL,
  MUX_FWD_REMOTE,
  PORT_STREAMLOCAL,
} from "./mux_protocol.ts";

/** Whether the lane has forwards that have not been cancelled yet. */
export function hasForwards(lane: Lane): boolean {
  return namesIn(lane.forwards).length > 0;
}

/** Returns the forwards that the sessions on a lane asked for, each once. */
export function forwardsOn(lane: Lane): Forward[] {
  return [...linesOf(lane, leasesOn(lane))].map(readForward)
    .filter((forward) => forward !== undefined);
}

/** Cancels the forwards that only sessions asked for whose leases are gone. */
export async function takeBackForwards(lane: Lane, connection: MuxConnection): Promise<void> {
  const leases = leasesOn(lane);
  const over = namesIn(lane.forwards).filter((pid) => !leases.has(pid));
  if (over.length === 0) return;
  const closed = linesOf(lane, over).difference(linesOf(lane, leases));
  for (const line of closed) await ask(connection, MUX_C_CLOSE_FWD, line);
  for (const pid of over) removePath(`${lane.forwards}/${pid}`);
  // A session that started meanwhile was told that its forward exists.
  const late = linesOf(lane, leasesOn(lane)).intersection(closed);
  for (const line of late) await ask(connection, MUX_C_OPEN_FWD, line);
}

/**
 * Does at once, for the launcher (`--take-back`), what the sleeper would do within a second. Returns the
 * exit status 0.
 */
export async function takeBackAtOnce(lane: Lane): Promise<number> {
  using connection = await MuxConnection.connect(lane.socket);
  await takeBackForwards(lane, connection);
  return 0;
}

/** Returns the names of the leases, open or retired; those of dead processes too, until they are removed. */
function leasesOn({ leases, retired }: Lane): ReadonlySet<string> {
  // In this order, as a lane may be retired in between.
  return new Set([...namesIn(leases), ...namesIn(retired)]);
}

function linesOf({ forwards }: Lane, pids: Iterable<string>): Set<string> {
  const texts = Array.from(pids, (pid) => readText(`${forwards}/${pid}`) ?? "");
  return new Set(texts.flatMap((text) => text.split("\n")).filter(Boolean));
}

/** Asks the master. It does no harm if the master does not have the forward, or cannot get it. */
async function ask(connection: MuxConnection, request: number, line: string): Promise<void> {
  const forward = readForward(line);
  try {
    if (forward) await connection.forward(request, forward);
  } catch (error) {
    if (!isMuxTrouble(error, "refused")) throw error;
  }
}

function readForward(line: string): Forward | undefined {
  try {
    const forward = JSON.parse(line);
    return Array.isArray(forward) ? forward as unknown as Forward : undefined; // 0.2.0 has objects.
  } catch (error) {
    if (error instanceof SyntaxError) return undefined; // The file is being written.
    throw error;
  }
}

/** What stands for a destination that means a SOCKS proxy (parse_forward() in readconf.c). */
const SOCKS = ["socks", 0] as const;

/** Returns the forwards in the output of `ssh -G`; `undefined` if one of them cannot be parsed. */
export function forwardsOf(config: SshConfig): Forward[] | undefined {
  if (config.get("clearallforwardings") === "yes") return [];
  const all = (key: string, type: number) =>
    config.all(key).map((line) => parseForward(type, line.split(" ")));
  const locals = all("localforward", MUX_FWD_LOCAL);
  // ssh -G prints a forward to a path as a dynamic one too (dump_cfg_forwards() in readconf.c).
  const paths = locals.filter((forward) => forward?.[4] === PORT_STREAMLOCAL)
    .map((forward) => `${forward?.slice(1, 3)}`);
  const dynamics = all("dynamicforward", MUX_FWD_DYNAMIC)
    .filter((forward) => !paths.includes(`${forward?.slice(1, 3)}`));
  const found = [...locals, ...all("remoteforward", MUX_FWD_REMOTE), ...dynamics];
  return found.includes(undefined) ? undefined : found as Forward[];
}

/** Parses one: a path with a blank in it makes too many words. */
function parseForward(type: number, [from, to, ...more]: readonly string[]): Forward | undefined {
  const listen = parseEnd(from);
  const connect = type === MUX_FWD_DYNAMIC ? SOCKS : parseEnd(to ?? "");
  if (!listen || !connect || more.length > 0 || (type === MUX_FWD_DYNAMIC && to)) return undefined;
  const [host, port] = listen;
  return [type, from.startsWith("[]") ? "*" : host, port, ...connect]; // As the client sends it.
}

/** Parses `8080`, `[host]:8080`, or a path. A relative path would be a different one for the master. */
function parseEnd(word: string): readonly [host: string, port: number] | undefined {
  if (word.startsWith("/")) return [word, PORT_STREAMLOCAL];
  const [, host = "", port] = /^(?:\[([^\]]*)\]:)?(\d+)$/.exec(word) ?? [];
  return port === undefined ? undefined : [host, Number(port)];
}

/** Returns the forward as an ssh option: `-L 8080:localhost:80`. */
export function forwardOption([type, host, port, toHost, toPort]: Forward): string {
  const listen = host === "" ? `${port}` : endText(host, port);
  const isSocks = toHost === SOCKS[0] && toPort === SOCKS[1];
  const ends = isSocks ? [listen] : [listen, endText(toHost, toPort)];
  return `-${" LRD"[type]} ${ends.join(":")}`;
}

function endText(host: string, port: number): string {
  if (port === PORT_STREAMLOCAL) return host;
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
