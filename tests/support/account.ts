import { removePath, statOf } from "../../lib/os/files.ts";
import { isThere } from "./is_there.ts";
import { isAlive, processesOf, signal } from "./processes.ts";
import { run } from "./programs.ts";

/** The account that tests log in as. As a program, this file removes the accounts of runs that are over. */
export interface Account {
  name: string;
  /** A directory of its own for each test file, which the account can write to. */
  home: string;
  /** Known only for an account that we made, which takes root. */
  password?: string;
}

/** Whether tests can make accounts, and so log in by password: that takes root. */
export const canMakeAccounts: boolean = Deno.uid() === 0;

/** Contains the pid of the run. */
const NAME = /^sshs-test-(\d+)$/;

/** The account of this run, which its test files share. */
const SHARED = `/run/sshs-test-${Deno.pid}`;

let own: Promise<Account> | undefined;

/**
 * Returns, as root, a temporary account with a password and with /bin/sh as its shell (root's own shell
 * may read startup files that print or take time); otherwise the current user.
 */
export function account(): Promise<Account> {
  own ??= canMakeAccounts ? shared() : currentUser();
  return own;
}

async function currentUser(): Promise<Account> {
  const home = await Deno.makeTempDir({ prefix: "sshs-home-" });
  addEventListener("unload", () => Deno.removeSync(home, { recursive: true }));
  return { name: (await run("id", ["-un"])).trim(), home };
}

async function shared(): Promise<Account> {
  using _lock = lock();
  if (!isThere(SHARED)) Deno.writeTextFileSync(SHARED, JSON.stringify(await create()));
  const account: Account = JSON.parse(Deno.readTextFileSync(SHARED));
  const home = await Deno.makeTempDir({ dir: account.home, prefix: "h-" });
  await run("chown", [`${account.name}:`, home]);
  return { ...account, home };
}

async function create(): Promise<Account> {
  removeStale();
  const name = `sshs-test-${Deno.pid}`;
  const password = crypto.randomUUID();
  const home = await Deno.makeTempDir({ prefix: "sshs-home-" });
  await run("useradd", ["--no-log-init", "--home-dir", home, "--shell", "/bin/sh", name]);
  await run("chpasswd", [], `${name}:${password}\n`);
  await run("chown", [`${name}:`, home]);
  return { name, home, password };
}

/** Takes turns. */
function lock(): Deno.FsFile {
  const file = Deno.openSync("/run/sshs-test-accounts.lock", { write: true, create: true });
  file.lockSync(true);
  return file;
}

/** Removes the accounts of runs that are over, with their processes and homes. */
function removeStale(): void {
  for (const line of Deno.readTextFileSync("/etc/passwd").split("\n")) {
    const [name, , uid, , , home] = line.split(":");
    const [, pid] = NAME.exec(name) ?? [];
    if (pid === undefined || isAlive(Number(pid))) continue;
    signal(processesOf(Number(uid)), "SIGKILL");
    // --force: the processes just killed may not be gone yet.
    new Deno.Command("userdel", { args: ["--force", name] }).outputSync();
    // A killed sshd leaves agent sockets, in /tmp whatever TMPDIR is (session.c).
    const sockets = [...Deno.readDirSync("/tmp")].map(({ name }) => `/tmp/${name}`)
      .filter((path) => path.startsWith("/tmp/ssh-") && statOf(path)?.uid === Number(uid));
    for (const path of [home, `/run/${name}`, ...sockets]) removePath(path);
  }
}

if (import.meta.main && canMakeAccounts) {
  using _lock = lock();
  removeStale();
}
