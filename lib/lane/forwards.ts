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
import { MuxConnection, MuxRefused } from "./mux_client.ts";
import type { Forward } from "./mux_protocol.ts";

/** Whether the lane has forwards that have not been cancelled yet. */
export function hasForwards(lane: Lane): boolean {
  return namesIn(lane.forwards).length > 0;
}

/** Returns the forwards that the sessions on a lane asked for, each once. */
export function forwardsOn(lane: Lane): Forward[] {
  return [...linesOf(lane, leasesOn(lane))].flatMap((line) => readForward(line) ?? []);
}

/** Cancels the forwards that only sessions asked for whose leases are gone. */
export async function takeBackForwards(lane: Lane, connection: MuxConnection): Promise<void> {
  const leases = leasesOn(lane);
  const over = namesIn(lane.forwards).filter((pid) => !leases.has(pid));
  if (over.length === 0) return;
  const closed = linesOf(lane, over).difference(linesOf(lane, leases));
  for (const line of closed) await ask(line, (forward) => connection.closeForward(forward));
  for (const pid of over) removePath(`${lane.forwards}/${pid}`);
  // A session that started meanwhile was told that its forward exists.
  const late = linesOf(lane, leasesOn(lane)).intersection(closed);
  for (const line of late) await ask(line, (forward) => connection.openForward(forward));
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
async function ask(line: string, question: (forward: Forward) => Promise<void>): Promise<void> {
  const forward = readForward(line);
  try {
    if (forward) await question(forward);
  } catch (error) {
    if (!(error instanceof MuxRefused)) throw error;
  }
}

function readForward(line: string): Forward | undefined {
  try {
    return JSON.parse(line);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined; // The file is being written.
    throw error;
  }
}

/** The destination that means a SOCKS proxy (parse_forward() in readconf.c). */
const SOCKS = { host: "socks", port: 0 };

const LETTERS = { local: "L", remote: "R", dynamic: "D" } as const;

/** Returns the forwards in the output of `ssh -G`; `undefined` if one of them cannot be parsed. */
export function forwardsOf(config: SshConfig): Forward[] | undefined {
  if (config.get("clearallforwardings") === "yes") return [];
  const locals = config.all("localforward").map((line) => parseForward("local", line));
  const remotes = config.all("remoteforward").map((line) => parseForward("remote", line));
  const paths = locals.filter((forward) => forward?.connectPort === null);
  // ssh -G prints a forward to a path as a dynamic one too (dump_cfg_forwards() in readconf.c).
  const dynamics = config.all("dynamicforward").map((line) => parseForward("dynamic", line))
    .filter((forward) => !paths.some((other) => forward && other && listensAlike(forward, other)));
  const all = [...locals, ...remotes, ...dynamics];
  return all.includes(undefined) ? undefined : all as Forward[];
}

function listensAlike(one: Forward, other: Forward): boolean {
  return one.listenHost === other.listenHost && one.listenPort === other.listenPort;
}

function parseForward(type: Forward["type"], line: string): Forward | undefined {
  const words = line.split(" ");
  if (words.length !== (type === "dynamic" ? 1 : 2)) return undefined; // A path with a blank in it.
  const listen = parseEnd(words[0]);
  const connect = type === "dynamic" ? SOCKS : parseEnd(words[1]);
  if (!listen || !connect) return undefined;
  return {
    type,
    // As the client sends it.
    listenHost: words[0].startsWith("[]") ? "*" : listen.host,
    listenPort: listen.port,
    connectHost: connect.host,
    connectPort: connect.port,
  };
}

/** Parses `8080`, `[host]:8080`, or a path. A relative path would be a different one for the master. */
function parseEnd(word: string): { host: string; port: number | null } | undefined {
  if (word.startsWith("/")) return { host: word, port: null };
  const [, host = "", port] = /^(?:\[([^\]]*)\]:)?(\d+)$/.exec(word) ?? [];
  return port === undefined ? undefined : { host, port: Number(port) };
}

/** Returns the forward as an ssh option: `-L 8080:localhost:80`. */
export function forwardOption(forward: Forward): string {
  const { type, listenHost, listenPort, connectHost, connectPort } = forward;
  const listen = listenHost === "" ? `${listenPort}` : endText(listenHost, listenPort);
  const isSocks = connectHost === SOCKS.host && connectPort === SOCKS.port;
  const ends = isSocks ? [listen] : [listen, endText(connectHost, connectPort)];
  return `-${LETTERS[type]} ${ends.join(":")}`;
}

function endText(host: string, port: number | null): string {
  return port === null ? host : `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
