/** rsync of a tree of 1,000 small files, without a connection, and again when nothing is new. */
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import { HOSTS, type Lab } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

const FILES = 1000;

export async function rsyncTwice(lab: Lab, { repeats }: Effort): Promise<Table[]> {
  const tree = `${lab.dir}/tree`;
  await makeTree(tree);
  const tables: Table[] = [];
  for (const host of ["near", "far"] as const) {
    const title = `rsync of ${FILES} small files, twice, ${HOSTS[host]}`;
    const measures = measuresOf(["plain", "auto", "sshs"], async (way) => {
      await lab.cold(way);
      const copy = `${lab.remote}/copy.${crypto.randomUUID()}`;
      const rsync = [
        "rsync",
        "-a",
        "-e",
        lab.rsh(way, host).join(" "),
        `${tree}/`,
        `host:${copy}`,
      ];
      const first = await call(rsync, lab.env(way));
      const again = await call(rsync, lab.env(way));
      if (!first.success || !again.success) throw new Error(`rsync: ${first.said}${again.said}`);
      await Deno.remove(copy, { recursive: true });
      return [first.ms + again.ms, again.ms];
    });
    tables.push(tableOf({
      id: `rsync-twice/${host}`,
      title,
      columns: [{ name: "both", unit: "ms" }, { name: "the second", unit: "ms" }],
      found: await takeTurns({ what: title, rounds: repeats }, measures),
    }));
  }
  return tables;
}

/** Files of 0 to 4 kB, 20 in a directory. */
async function makeTree(root: string): Promise<void> {
  for (let file = 0; file < FILES; file++) {
    const dir = `${root}/${Math.floor(file / 20)}`;
    if (file % 20 === 0) await Deno.mkdir(dir, { recursive: true });
    await Deno.writeTextFile(`${dir}/${file}`, `${file}\n`.repeat((file * 37) % 1000));
  }
}
