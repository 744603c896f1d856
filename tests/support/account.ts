import { removePath, statOf } from "../../lib/os/files.ts";
import { exists } from "./exists.ts";
import { processesOf, signal } from "./processes.ts";
import { run } from "./programs.ts";

/** Whom the tests log in as. As a program this file removes the accounts that killed runs have left. */
export interface Account {
  name: string;
  home: string;
  /** Known for an account of our own only, which takes root to make. */
  password?: string;
}

/** Accounts, and with them logins by password, need root. */
export const canMakeAccounts: boolean = Deno.uid() === 0;

/** Names the test process too: a run that was killed leaves its account, and the next removes it. */
const NAME = /^sshs-test-(\d+)-\w+$/;

let own: Promise<Account> | undefined;

/**
 * As root a temporary account, with a password and with /bin/sh as its shell (root's own shell may
 * read start-up files that print or take time); else the current user. One for each test file,
 * gone when the file is done.
 */
export function account(): Promise<Account> {
  own ??= canMakeAccounts ? create() : currentUser();
  return own;
}

async function currentUser(): Promise<Account> {
  const name = (await run("id", ["-un"])).trim();
  return { name, home: Deno.env.get("HOME") ?? "/" };
}

async function create(): Promise<Account> {
  const name = `sshs-test-${Deno.pid}-${crypto.randomUUID().slice(0, 6)}`;
  const password = crypto.randomUUID();
  const home = await Deno.makeTempDir({ prefix: "sshs-home-" });
  using _lock = lock();
  remove(isStale);
  const user = ["--no-log-init", "--home-dir", home, "--shell", "/bin/sh", name];
  await run("useradd", user);
  // The test file's end. A signal skips it, hence isStale().
  addEventListener("unload", () => {
    using _lock = lock();
    remove((other) => other === name);
  });
  await run("chpasswd", [], `${name}:${password}\n`);
  await run("chown", [`${name}:`, home]);
  return { name, home, password };
}

/** useradd(8) waits a whole second and tries again when another one runs: take turns instead. */
function lock(): Deno.FsFile {
  const file = Deno.openSync("/run/sshs-test-accounts.lock", { write: true, create: true });
  file.lockSync(true);
  return file;
}

/** Removes those of our accounts whose name is `wanted`, with their processes and homes. */
function remove(wanted: (name: string) => boolean): void {
  for (const line of Deno.readTextFileSync("/etc/passwd").split("\n")) {
    const [name, , uid, , , home] = line.split(":");
    if (!NAME.test(name) || !wanted(name)) continue;
    signal(processesOf(Number(uid)), "SIGKILL");
    // --force: the processes just killed may not be gone yet.
    new Deno.Command("userdel", { args: ["--force", name] }).outputSync();
    if (exists(home)) Deno.removeSync(home, { recursive: true });
    removeAgentSockets(Number(uid));
  }
}

/** An sshd that was killed leaves the directory of its agent socket, in /tmp whatever TMPDIR is (session.c). */
function removeAgentSockets(uid: number): void {
  for (const { name } of Deno.readDirSync("/tmp")) {
    // Those of other test files may go at this very moment.
    if (!name.startsWith("ssh-") || statOf(`/tmp/${name}`)?.uid !== uid) continue;
    removePath(`/tmp/${name}`);
  }
}

/** Whether the test process that made the account is gone without having removed it. */
function isStale(name: string): boolean {
  return !exists(`/proc/${NAME.exec(name)![1]}`);
}

if (import.meta.main && canMakeAccounts) {
  using _lock = lock();
  remove(isStale);
}
