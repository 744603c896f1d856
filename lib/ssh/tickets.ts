/**
 * The Kerberos tickets that a login may use (GSSAPIAuthentication) or hand on (GSSAPIDelegateCredentials):
 * whose they are, and until when. What a login adds to the cache (a ticket for the host itself) does not
 * matter: only the tickets from which it gets these (krbtgt).
 */
import { isExecutable, namesIn, readFile, readText } from "../os/files.ts";
import { inPath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import type { SshConfig } from "./config_dump.ts";
import { digestOf } from "./digest.ts";
import { usesTickets } from "./environment.ts";
import { parseWire, type WireReader } from "./wire.ts";

/** What is known of the tickets. */
export interface Tickets {
  /** Whose they are, and their times; "" if there are none. */
  readonly facts: string;
  /** The files that say so, whether they exist or not. */
  readonly files: readonly string[];
  /** Whether they are in a cache that no shell can watch: a daemon's, or the kernel's. */
  readonly isHidden: boolean;
  /** When the first of them expires, s since the epoch. */
  readonly until?: number;
}

type TicketSystem = Pick<System, "env" | "now" | "run" | "uid">;

const MAX_CACHE = 1024 * 1024;

/** Returns the tickets that a call may use. */
export async function ticketsOf(config: SshConfig, system: TicketSystem): Promise<Tickets> {
  if (!usesTickets(config)) return { facts: "", files: [], isHidden: false };
  const named = system.env("KRB5CCNAME");
  const settings = named ? [] : settingsFiles(system);
  const name = named ?? defaultName(settings, system) ?? `FILE:/tmp/krb5cc_${system.uid()}`;
  const [, type, place] = /^(?:([A-Z]+):)?(.*)$/s.exec(name)!;
  const files = cacheFiles(type ?? "FILE", place);
  if (!files) return { ...await askKlist(system), files: settings, isHidden: true };
  const content = readFile(files.at(-1)!, MAX_CACHE);
  const known = typeof content === "string"
    ? { facts: "" }
    : parseCache(content, system.now()) ?? { facts: await digestOf(content) };
  return { ...known, files: [...settings, ...files], isHidden: false };
}

/** Returns the files of a cache, the one with the tickets last; `undefined` if it is not in a file. */
function cacheFiles(type: string, place: string): string[] | undefined {
  if (type === "FILE" || type === "WRFILE") return [place];
  if (type !== "DIR") return undefined;
  // DIR::path names one cache of a collection; DIR:path the one that its file "primary" names.
  if (place.startsWith(":")) return [place.slice(1)];
  const primary = readText(`${place}/primary`)?.trim() || "tkt";
  return [`${place}/primary`, `${place}/${primary}`];
}

/** Returns krb5.conf(5), and the files of a directory that it may include. */
function settingsFiles(system: Pick<System, "env">): string[] {
  const paths = (system.env("KRB5_CONFIG") ?? "/etc/krb5.conf").split(":");
  const included = paths.flatMap((path) =>
    Array.from((readText(path) ?? "").matchAll(/^includedir\s+(\/\S+)/gm), ([, dir]) => dir)
  );
  return [...paths, ...included.flatMap((dir) => namesIn(dir).map((name) => `${dir}/${name}`))];
}

function defaultName(files: readonly string[], system: Pick<System, "uid">): string | undefined {
  const names = files.map((path) =>
    /^\s*default_ccache_name\s*=\s*(\S+)/m.exec(readText(path) ?? "")?.[1]
  );
  return names.find((name) => name !== undefined)?.replace(/%\{e?uid\}/g, `${system.uid()}`);
}

/** Asks klist(1) about a cache that is not in a file. Without klist nobody has asked for tickets. */
async function askKlist(system: TicketSystem): Promise<{ facts: string }> {
  const klist = inPath("klist", system.env("PATH")).find(isExecutable);
  if (klist === undefined) return { facts: "" };
  const signal = AbortSignal.timeout(1000);
  const { code, stdout } = await system.run(klist, [], { env: { LC_ALL: "C" }, signal });
  if (code !== 0) return { facts: "" };
  const lines = stdout.split("\n").filter((line) => /krbtgt\/|principal:|until/.test(line));
  return { facts: lines.map((line) => line.trim().replace(/\s+/g, " ")).join("; ") };
}

/**
 * Parses a cache of MIT's or Heimdal's ("Credential cache file format" of MIT's documentation); `undefined` if
 * it is of another version, or being written.
 */
function parseCache(bytes: Uint8Array, now: number): { facts: string; until?: number } | undefined {
  return parseWire(bytes, (reader) => {
    if (reader.uint16() !== 0x0504) return undefined; // Nothing has written another since 2003.
    reader.take(reader.uint16());
    const facts = [readPrincipal(reader)];
    const ends: number[] = [];
    while (reader.left > 0) {
      readPrincipal(reader);
      const server = readPrincipal(reader);
      const { flags, times } = readTicket(reader);
      // Others are settings of the cache itself, or a host's.
      if (!server.startsWith("krbtgt/")) continue;
      facts.push(`${server} ${times.join(" ")} ${flags}`);
      ends.push(times[2]);
    }
    const until = Math.min(...ends.filter((end) => end * 1000 > now));
    return { facts: facts.join("; "), until: isFinite(until) ? until : undefined };
  });
}

function readPrincipal(reader: WireReader): string {
  reader.uint32(); // its type
  const count = reader.uint32();
  const realm = reader.text();
  const parts: string[] = [];
  for (let i = 0; i < count; i++) parts.push(reader.text());
  return `${parts.join("/")}@${realm}`;
}

/** Reads what follows the names. The times are those of the login, the start, the end and the renewal. */
function readTicket(reader: WireReader): { flags: number; times: number[] } {
  reader.uint16(); // the kind of key, and the key
  reader.bytes();
  const times = Array.from({ length: 4 }, () => reader.uint32());
  reader.byte();
  const flags = reader.uint32();
  // Addresses, and data of the authorization: each with a type.
  for (let list = 0; list < 2; list++) {
    for (let count = reader.uint32(); count > 0; count--) {
      reader.uint16();
      reader.bytes();
    }
  }
  reader.bytes(); // the ticket, and a second one
  reader.bytes();
  return { flags, times };
}
