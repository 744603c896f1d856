/**
 * The Kerberos tickets that a login may use (GSSAPIAuthentication) or hand on (GSSAPIDelegateCredentials):
 * whose they are, and until when. What a login adds to the cache (a ticket for the host itself) does not
 * matter: only the ticket from which it gets these (krbtgt).
 */
import { isExecutable, namesIn, readFile, readText } from "../os/files.ts";
import { inPath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import type { SshConfig } from "./config_dump.ts";
import { digestOf } from "./digest.ts";
import { usesTickets } from "./environment.ts";
import { parseWire } from "./wire.ts";

type TicketSystem = Pick<System, "env" | "now" | "run" | "uid">;

const MAX_CACHE = 1024 * 1024;

/** Returns what is known of the tickets that a call may use. */
export async function ticketsOf(config: SshConfig, system: TicketSystem) {
  const none = {
    /** Whose they are, and their times, in a form that only tells others apart; "" if there are none. */
    facts: "",
    /** The files that say so, whether they exist or not. */
    files: [] as string[],
    /** Whether they are, or would be, in a cache that no shell can watch: a daemon's, or the kernel's. */
    areHidden: false,
    /** When they expire, s since the epoch; Infinity: never, or not known. */
    until: Infinity,
  };
  if (!usesTickets(config)) return none;
  const named = system.env("KRB5CCNAME");
  const settings = named ? [] : settingsFiles(system);
  const name = named ?? defaultName(settings, system) ?? `FILE:/tmp/krb5cc_${system.uid()}`;
  const [, type, place] = /^(?:([A-Z]+):)?(.*)$/s.exec(name)!;
  const caches = cacheFiles(type ?? "FILE", place);
  if (!caches) return { ...none, facts: await askKlist(system), files: settings, areHidden: true };
  const files = [...settings, ...caches];
  const content = readFile(caches.at(-1)!, MAX_CACHE);
  return { ...none, files, ...typeof content === "string" ? {} : await ticketIn(content, system) };
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
  const texts = files.map((path) => readText(path) ?? "").join("\n");
  const [, name] = /^\s*default_ccache_name\s*=\s*(\S+)/m.exec(texts) ?? [];
  return name?.replace(/%\{e?uid\}/g, `${system.uid()}`);
}

/** Returns what klist(1) says of a cache that is not in a file. Without klist nobody has asked for tickets. */
async function askKlist(system: TicketSystem): Promise<string> {
  const klist = inPath("klist", system.env("PATH")).find(isExecutable);
  if (klist === undefined) return "";
  const signal = AbortSignal.timeout(1000);
  const { code, stdout } = await system.run(klist, [], { env: { LC_ALL: "C" }, signal });
  const lines = stdout.split("\n").filter((line) => /krbtgt\/|principal:|until/.test(line));
  return code === 0 ? lines.map((line) => line.trim().replace(/\s+/g, " ")).join("; ") : "";
}

/** How the name of the ticket's service begins: a string of 6 bytes. */
const KRBTGT = "\0\0\0\x06krbtgt";

/**
 * Returns what tells the first krbtgt of a cache from others: the bytes up to its times ("Credential cache file
 * format" of MIT's documentation), with the principal and a key that is made for each. Tickets that a login
 * gets are appended.
 */
async function ticketIn(bytes: Uint8Array, system: TicketSystem) {
  const at = new TextDecoder("latin1").decode(bytes).indexOf(KRBTGT) + KRBTGT.length;
  const ticket = at < KRBTGT.length ? undefined : parseWire(bytes.subarray(at), (reader) => {
    reader.bytes(); // its realm
    reader.take(2); // the kind of key, and the key
    reader.bytes();
    reader.take(8); // when the user logged in, and the start
    return { until: reader.uint32(), size: at + reader.count };
  });
  const { until = 0, size = bytes.length } = ticket ?? {};
  return {
    facts: await digestOf(bytes.subarray(0, size)),
    until: until * 1000 > system.now() ? until : Infinity,
  };
}
