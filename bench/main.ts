/**
 * Measures sshs against its peers and writes results.json, results.md and results.svg.
 *
 *     deno task bench                         all of it, some eight minutes
 *     deno task bench --quick                 few runs, to see that it works, in two minutes
 *     deno task bench --only CASE             one case; can be repeated
 *     deno task bench --busy N                beside N busy loops
 *     deno task bench --output DIRECTORY      writes there (bench/ for a whole run)
 *
 * With --quick, --only or --busy the report is only printed, unless --output is given. As root it logs in to an
 * account of its own, which is removed afterwards; the report says what could not be run.
 */
import { parseArgs } from "@std/cli/parse-args";
import { canMakeAccounts } from "../tests/support/account.ts";
import { startBusy } from "./busy.ts";
import { burst } from "./cases/burst.ts";
import { idleLanes } from "./cases/idle_lanes.ts";
import { programs } from "./cases/programs.ts";
import { recovery } from "./cases/recovery.ts";
import { direct, first, warm } from "./cases/single.ts";
import { slow } from "./cases/slow.ts";
import { stuck } from "./cases/stuck.ts";
import { chart } from "./chart.ts";
import { type Effort, FULL, QUICK } from "./effort.ts";
import { Lab } from "./lab.ts";
import { describeMachine } from "./machine.ts";
import { progress } from "./turns.ts";
import { markdown, type Results, type Skipped } from "./report.ts";
import type { Table } from "./table.ts";
import { targets } from "./targets.ts";

/** All cases, in the order of the report. */
const CASES: Readonly<Record<string, (lab: Lab, effort: Effort) => Promise<Table[]>>> = {
  ...{ warm, first, direct, programs, burst, slow, stuck, recovery },
  "idle-lanes": idleLanes,
};

interface Options {
  readonly quick: boolean;
  readonly only: readonly string[];
  readonly busy: number;
  readonly output?: string;
}

async function main(options: Options): Promise<void> {
  const machine = await describeMachine(options.quick, options.busy);
  const { tables, skipped } = await measure(options);
  const results: Results = { machine, targets: targets(tables, options), tables, skipped };
  const partly = options.quick || options.only.length > 0 || options.busy > 0;
  const directory = options.output ?? (partly ? undefined : import.meta.dirname);
  if (directory === undefined) console.log(markdown(results));
  else await write(directory, results);
}

async function measure(options: Options) {
  const names = options.only.length > 0 ? options.only : Object.keys(CASES);
  const tables: Table[] = [];
  const skipped: Skipped[] = canMakeAccounts ? [] : [{
    case: "an account of its own",
    reason: "that takes root; the calls log in as the current user, whose shell may take its time",
  }];
  const interrupted = Promise.withResolvers<never>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => interrupted.reject(new Error(`Ended by ${signal}`)));
  }
  await using _busy = startBusy(options.busy);
  await using lab = await Lab.open();
  for (const name of names) {
    try {
      const run = CASES[name](lab, options.quick ? QUICK : FULL);
      tables.push(...await Promise.race([run, interrupted.promise]));
    } catch (error) {
      // A failed case is no reason to lose the others; an interruption is.
      if (/^Ended by/.test((error as Error).message)) throw error;
      progress(`${name}: ${(error as Error).stack}`);
      skipped.push({ case: name, reason: `it failed: ${(error as Error).message}` });
    }
  }
  return { tables, skipped };
}

async function write(directory: string, results: Results): Promise<void> {
  const { machine, tables } = results;
  const about = `${machine.cpu}; ${machine.openssh.split(",")[0]}; Deno ${machine.deno}; ` +
    `sshs ${machine.sshs}; ${machine.date}`;
  await Deno.writeTextFile(`${directory}/results.json`, JSON.stringify(results, null, 2) + "\n");
  await Deno.writeTextFile(`${directory}/results.md`, markdown(results));
  await Deno.writeTextFile(`${directory}/results.svg`, chart(tables, about));
  progress(`written: results.json, results.md and results.svg in ${directory}`);
}

function readOptions(argv: readonly string[]): Options {
  const flags = parseArgs([...argv], {
    boolean: ["quick"],
    string: ["only", "output", "busy"],
    collect: ["only"],
    unknown: (option: string) => refuse(`cannot understand ${option}`),
  });
  for (const name of flags.only) {
    if (!(name in CASES)) {
      refuse(`there is no case ${name}; there are ${Object.keys(CASES).join(", ")}`);
    }
  }
  const busy = flags.busy ?? "0";
  if (!/^\d{1,3}$/.test(busy)) refuse(`--busy takes a number, not ${busy}`);
  return { ...flags, busy: Number(busy) };
}

function refuse(why: string): never {
  console.error(`bench: ${why}`);
  Deno.exit(2);
}

if (import.meta.main) await main(readOptions(Deno.args));
