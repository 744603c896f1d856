import { removePath, statOf } from "../../lib/os/files.ts";
import { isThere } from "./is_there.ts";
import { processesOf, signal } from "./processes.ts";
import { run } from "./programs.ts";

/** The account that tests log in as. As a program, this file removes the accounts that killed runs left. */
export interface Account {
  name: string;
  home: string;
  /** Known only for an account that we made, which takes root. */
  password?: string;
}

/** Whether tests can make accounts, and so log in by password: that takes root. */
export const canMakeAccounts: boolean = Deno.uid() === 0;

/** Contains the pid of the test process: a killed run leaves its account, and the next run removes it. */
const NAME = /^sshs-test-(\d+)-\w+$/;

let own: Promise<Account> | undefined;

/**
 * Returns, as root, a temporary account with a password and with /bin/sh as its shell (root's own shell
 * may read startup files that print or take time); otherwise the current user. There is one account for
 * each test file, removed when the file is done.
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
  // At the end of the test file. A signal skips this, hence isStale().
  addEventListener("unload", () => {
    using _lock = lock();
    remove((other) => other === name);
  });
  await run("chpasswd", [], `${name}:${password}\n`);
  await run("chown", [`${name}:`, home]);
  return { name, home, password };
}

/** Takes turns: useradd(8) waits a whole second before it tries again if another one runs. */
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
    if (isThere(home)) Deno.removeSync(home, { recursive: true });
    removeAgentSockets(Number(uid));
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

/** Whether the test process that made the account is gone without having removed it. */
function isStale(name: string): boolean {
  return !isThere(`/proc/${NAME.exec(name)![1]}`);
}

if (import.meta.main && canMakeAccounts) {
  using _lock = lock();
  remove(isStale);
}
