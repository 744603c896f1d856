/** All cases, in the order of the report. */
import type { Effort } from "../effort.ts";
import type { Lab } from "../lab.ts";
import type { Table } from "../table.ts";
import { firstCall } from "./first_call.ts";
import { gitFetch } from "./git_fetch.ts";
import { idleLanes } from "./idle_lanes.ts";
import { recovery } from "./recovery.ts";
import { rsyncTwice } from "./rsync_twice.ts";
import { simultaneous } from "./simultaneous.ts";
import { warmCall } from "./warm_call.ts";

export interface Case {
  /** The programs it cannot do without. */
  readonly needs: readonly string[];
  run(lab: Lab, effort: Effort): Promise<Table[]>;
}

export const CASES: Readonly<Record<string, Case>> = {
  "warm-call": { needs: ["hyperfine"], run: warmCall },
  "first-call": { needs: ["hyperfine"], run: firstCall },
  "simultaneous": { needs: [], run: simultaneous },
  "git-fetch": { needs: ["hyperfine", "git"], run: gitFetch },
  "rsync-twice": { needs: ["hyperfine", "rsync"], run: rsyncTwice },
  "idle-lanes": { needs: [], run: idleLanes },
  "recovery": { needs: [], run: recovery },
};
