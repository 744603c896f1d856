/** `git fetch` of nothing new, 20 times, the first without a connection. */
import { run } from "../../tests/support/programs.ts";
import type { Effort } from "../effort.ts";
import { times } from "../hyperfine.ts";
import type { Lab } from "../lab.ts";
import { row, type Table } from "../table.ts";
import { takeTurns } from "../turns.ts";
import { EVERY_LINK, type Link, LINKS, WAYS } from "../way.ts";

const FETCHES = 20;

const LOOP = `i=0
while [ $i -lt ${FETCHES} ]; do
  git fetch --quiet || exit
  i=$((i + 1))
done`;

export async function gitFetch(lab: Lab, effort: Effort): Promise<Table[]> {
  const clone = await makeClone(lab);
  const tables: Table[] = [];
  for (const link of EVERY_LINK) tables.push(await onLink(lab, clone, link, effort.repeats));
  return tables;
}

async function onLink(lab: Lab, clone: string, link: Link, repeats: number): Promise<Table> {
  const turns = { what: `${FETCHES} x git fetch, ${LINKS[link]}`, repeats };
  const taken = await takeTurns(lab, turns, (way) => {
    const ssh = lab.rsh(way, link).join(" ");
    const env = { ...lab.env(way), GIT_DIR: clone, GIT_SSH_COMMAND: ssh };
    return times(["sh", "-c", LOOP], { runs: 1, env });
  });
  return {
    id: `git-fetch/${link}`,
    title: `git fetch of nothing new, ${FETCHES} times, ${LINKS[link]}`,
    columns: [{ name: "wall time", unit: "ms" }],
    rows: Array.from(taken, ([way, times]) => row(WAYS[way], times.flat())),
    baseline: WAYS.plain,
  };
}

/** A repository at the far end, of the account that serves it, and a clone of it here. */
async function makeClone(lab: Lab): Promise<string> {
  const [origin, clone] = [`${lab.remote}/origin.git`, `${lab.dir}/clone.git`];
  const [, ...args] = lab.call("plain", "loopback", ["git", "init", "--bare", "--quiet", origin]);
  await run("ssh", args);
  await run("git", ["init", "--quiet", "--bare", clone]);
  const git = (...words: string[]) =>
    run("git", ["-C", clone, "-c", "user.name=bench", "-c", "user.email=bench@invalid", ...words]);
  const tree = (await git("mktree")).trim();
  const commit = (await git("commit-tree", "-m", "nothing", tree)).trim();
  const ssh = `core.sshCommand=${lab.rsh("plain", "loopback").join(" ")}`;
  await git("-c", ssh, "push", "--quiet", `host:${origin}`, `${commit}:refs/heads/main`);
  await git("remote", "add", "origin", `host:${origin}`);
  await git("-c", ssh, "fetch", "--quiet");
  return clone;
}
