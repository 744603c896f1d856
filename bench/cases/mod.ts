/** All cases, in the order of the report. */
import type { Effort } from "../effort.ts";
import type { Lab } from "../lab.ts";
import type { Table } from "../table.ts";
import { direct } from "./direct.ts";
import { first } from "./first.ts";
import { gitFetch } from "./git_fetch.ts";
import { idleLanes } from "./idle_lanes.ts";
import { recovery } from "./recovery.ts";
import { rsyncTwice } from "./rsync_twice.ts";
import { simultaneous } from "./simultaneous.ts";
import { starts } from "./starts.ts";
import { warm } from "./warm.ts";

export const CASES: Readonly<
  Record<string, (lab: Lab, effort: Effort) => Promise<Table[]>>
> = {
  warm,
  first,
  direct,
  starts,
  simultaneous,
  "git-fetch": gitFetch,
  "rsync-twice": rsyncTwice,
  recovery,
  "idle-lanes": idleLanes,
};
