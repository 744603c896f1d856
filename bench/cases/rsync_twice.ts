/** rsync of a tree of 1,000 small files, without a connection, and again when nothing is new. */
import type { Effort } from "../effort.ts";
import { times } from "../hyperfine.ts";
import type { Lab } from "../lab.ts";
import { row, type Table } from "../table.ts";
import { takeTurns } from "../turns.ts";
import { EVERY_LINK, type Link, LINKS, WAYS } from "../way.ts";

const FILES = 1000;

export async function rsyncTwice(lab: Lab, effort: Effort): Promise<Table[]> {
  const tree = `${lab.dir}/tree`;
  await makeTree(tree);
  const tables: Table[] = [];
  for (const link of EVERY_LINK) tables.push(await onLink(lab, tree, link, effort.repeats));
  return tables;
}

async function onLink(lab: Lab, tree: string, link: Link, repeats: number): Promise<Table> {
  const turns = { what: `rsync twice, ${LINKS[link]}`, repeats };
  const taken = await takeTurns(lab, turns, async (way) => {
    const copy = `${lab.remote}/copy.${crypto.randomUUID()}`;
    const rsync = ["rsync", "-a", "-e", lab.rsh(way, link).join(" "), `${tree}/`, `host:${copy}`];
    const [first, again] = await times(rsync, { runs: 2, env: lab.env(way) });
    await Deno.remove(copy, { recursive: true });
    return { both: first + again, again };
  });
  return {
    id: `rsync-twice/${link}`,
    title: `rsync of ${FILES} small files, twice, ${LINKS[link]}`,
    columns: [{ name: "both", unit: "ms" }, { name: "the second", unit: "ms" }],
    rows: Array.from(
      taken,
      ([way, runs]) => row(WAYS[way], runs.map(({ both }) => both), runs.map(({ again }) => again)),
    ),
    baseline: WAYS.plain,
  };
}

/** Files of 0 to 4 kB, 20 in a directory. */
async function makeTree(root: string): Promise<void> {
  for (let file = 0; file < FILES; file++) {
    const dir = `${root}/${Math.floor(file / 20)}`;
    if (file % 20 === 0) await Deno.mkdir(dir, { recursive: true });
    await Deno.writeTextFile(`${dir}/${file}`, `${file}\n`.repeat((file * 37) % 1000));
  }
}
