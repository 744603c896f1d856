/** How many programs a call starts, and how many of them are Deno. */
import type { Effort } from "../effort.ts";
import type { Lab, Way } from "../lab.ts";
import { programsOf } from "../programs.ts";
import { type Table, tableOf } from "../table.ts";
import { takeTurns } from "../turns.ts";

export async function programs(lab: Lab, _: Effort): Promise<Table[]> {
  const notes = [
    "The launcher and ssh are among them. The sleeper, which nobody waits for, starts later.",
  ];
  const count = async (what: string, argv: readonly string[], way: Way = "sshs") => {
    const started = (await programsOf(argv, lab.env(way)))?.map((path) => path.replace(/.*\//, ""));
    if (started !== undefined) notes.push(`${what}: ${started.join(", ")}.`);
    return [started?.length ?? NaN, started?.filter((name) => name === "deno").length ?? NaN];
  };
  const [first, warm, fresh, direct] = [
    "first call",
    "warm call",
    "words never seen",
    "direct call",
  ];
  await lab.plan();
  await lab.plan("direct");
  const found = await takeTurns({ what: "programs started", rounds: 1 }, {
    [first]: () => count(first, lab.argv("sshs")),
    [warm]: async () => {
      await lab.warm("sshs");
      return await count(warm, lab.argv("sshs"));
    },
    [fresh]: () => count(fresh, lab.argv("fresh"), "fresh"),
    [direct]: () => count(direct, [...lab.rsh("sshs", "direct"), "host"]),
  });
  for (const way of ["sshs", "fresh"] as const) await lab.cold(way);
  return [tableOf({
    id: "programs",
    title: "Programs started until the call ends, by strace",
    columns: [{ name: "programs", unit: "" }, { name: "Deno", unit: "" }],
    found,
    notes,
  })];
}
