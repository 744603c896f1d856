/** `git fetch` of nothing new, ten times, the first without a connection. */
import { run } from "../../tests/support/programs.ts";
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import { HOSTS, type Lab } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

const LOOP = "for i in 1 2 3 4 5 6 7 8 9 10; do git fetch --quiet || exit; done";

export async function gitFetch(lab: Lab, { repeats }: Effort): Promise<Table[]> {
  const clone = await makeClone(lab);
  const tables: Table[] = [];
  for (const host of ["near", "far"] as const) {
    const title = `git fetch of nothing new, 10 times, ${HOSTS[host]}`;
    const measures = measuresOf(["plain", "auto", "sshs"], async (way) => {
      await lab.cold(way);
      const ssh = lab.rsh(way, host).join(" ");
      const env = { ...lab.env(way), GIT_DIR: clone, GIT_SSH_COMMAND: ssh };
      const { ms, success, said } = await call(["sh", "-c", LOOP], env);
      if (!success) throw new Error(`git fetch: ${said}`);
      return ms;
    });
    const found = await takeTurns({ what: title, rounds: repeats }, measures);
    tables.push(tableOf({ id: `git-fetch/${host}`, title, found }));
  }
  return tables;
}

/** A repository at the far end, of the account that serves it, and a clone of it here. */
async function makeClone(lab: Lab): Promise<string> {
  const [origin, clone] = [`${lab.remote}/origin.git`, `${lab.dir}/clone.git`];
  const [, ...args] = lab.argv("plain", "near", ["git", "init", "--bare", "--quiet", origin]);
  await run("ssh", args);
  await run("git", ["init", "--quiet", "--bare", clone]);
  const git = (...words: string[]) =>
    run("git", ["-C", clone, "-c", "user.name=bench", "-c", "user.email=bench@invalid", ...words]);
  const tree = (await git("mktree")).trim();
  const commit = (await git("commit-tree", "-m", "nothing", tree)).trim();
  const ssh = `core.sshCommand=${lab.rsh("plain", "near").join(" ")}`;
  await git("-c", ssh, "push", "--quiet", `host:${origin}`, `${commit}:refs/heads/main`);
  await git("remote", "add", "origin", `host:${origin}`);
  await git("-c", ssh, "fetch", "--quiet");
  return clone;
}
