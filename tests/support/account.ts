import { removePath, statOf } from "../../lib/os/files.ts";
import { isThere } from "./is_there.ts";
import { processesOf, signal } from "./processes.ts";
import { run } from "./programs.ts";

/** The account that tests log in as. As a program, this file removes the accounts that killed runs left. */
export interface Account {
  name: string;
  /** A directory of its own for each test file, which the account can write to. */
  home: string;
  /** Known only for an account that we made, which takes root. */
  password?: string;
}

/** Whether tests can make accounts, and so log in by password: that takes root. */
export const canMakeAccounts: boolean = Deno.uid() === 0;

/** Contains the pid of the run: a killed one leaves its account, and the next run removes it. */
const NAME = /^sshs-test-(\d+)-\w+$/;

/** The account of this run, and how many test files use it now; for root alone. */
const SHARED = `/run/sshs-test-${Deno.pid}`;

interface Shared {
  name: string;
  home: string;
  password: string;
  users: number;
}

let own: Promise<Account> | undefined;

/**
 * Returns, as root, a temporary account with a password and with /bin/sh as its shell (root's own shell
 * may read startup files that print or take time); otherwise the current user. The test files of a run
 * share it, and the last one removes it.
 */
export function account(): Promise<Account> {
  own ??= canMakeAccounts ? join() : currentUser();
  return own;
}

async function currentUser(): Promise<Account> {
  const home = await Deno.makeTempDir({ prefix: "sshs-home-" });
  addEventListener("unload", () => Deno.removeSync(home, { recursive: true }));
  return { name: (await run("id", ["-un"])).trim(), home };
}

async function join(): Promise<Account> {
  using _lock = lock();
  const { users, ...shared } = isThere(SHARED) ? readShared() : await create();
  writeShared({ ...shared, users: users + 1 });
  // A signal skips this, hence isStale().
  addEventListener("unload", leave);
  const home = await Deno.makeTempDir({ dir: shared.home, prefix: "h-" });
  await run("chown", [`${shared.name}:`, home]);
  return { ...shared, home };
}

function leave(): void {
  using _lock = lock();
  const shared = readShared();
  if (shared.users > 1) writeShared({ ...shared, users: shared.users - 1 });
  else remove((name) => name === shared.name);
}

async function create(): Promise<Shared> {
  remove(isStale);
  const name = `sshs-test-${Deno.pid}-${crypto.randomUUID().slice(0, 6)}`;
  const password = crypto.randomUUID();
  const home = await Deno.makeTempDir({ prefix: "sshs-home-" });
  await run("useradd", ["--no-log-init", "--home-dir", home, "--shell", "/bin/sh", name]);
  await run("chpasswd", [], `${name}:${password}\n`);
  await run("chown", [`${name}:`, home]);
  return { name, home, password, users: 0 };
}

function readShared(): Shared {
  return JSON.parse(Deno.readTextFileSync(SHARED));
}

function writeShared(shared: Shared): void {
  Deno.writeTextFileSync(SHARED, JSON.stringify(shared), { mode: 0o600 });
}

/** Takes turns. */
function lock(): Deno.FsFile {
  const file = Deno.openSync("/run/sshs-test-accounts.lock", { write: true, create: true });
  file.lockSync(true);
  return file;
}

/** Removes those of our accounts whose name is `wanted`, with their processes and homes. */
function remove(wanted: (name: string) => boolean): void {
  for (const line of Deno.readTextFileSync("/etc/passwd").split("\n")) {
    const [name, , uid, , , home] = line.split(":");
    const [, pid] = NAME.exec(name) ?? [];
    if (pid === undefined || !wanted(name)) continue;
    signal(processesOf(Number(uid)), "SIGKILL");
    // --force: the processes just killed may not be gone yet.
    new Deno.Command("userdel", { args: ["--force", name] }).outputSync();
    if (isThere(home)) Deno.removeSync(home, { recursive: true });
    removeAgentSockets(Number(uid));
    removePath(`/run/sshs-test-${pid}`);
  }
}

/** Removes agent socket directories that a killed sshd leaves, in /tmp whatever TMPDIR is (session.c). */
function removeAgentSockets(uid: number): void {
  for (const { name } of Deno.readDirSync("/tmp")) {
    // Those of other test files may disappear meanwhile.
    if (!name.startsWith("ssh-") || statOf(`/tmp/${name}`)?.uid !== uid) continue;
    removePath(`/tmp/${name}`);
  }
}

/** Whether the run that made the account is gone without having removed it. */
function isStale(name: string): boolean {
  return !isThere(`/proc/${NAME.exec(name)![1]}`);
}

if (import.meta.main && canMakeAccounts) {
  using _lock = lock();
  remove(isStale);
}
