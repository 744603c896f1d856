/** All cases, in the order of the report. */
import type { Effort } from "../effort.ts";
import type { Lab } from "../lab.ts";
import type { Table } from "../table.ts";
import { burst } from "./burst.ts";
import { direct } from "./direct.ts";
import { first } from "./first.ts";
import { idleLanes } from "./idle_lanes.ts";
import { programs } from "./programs.ts";
import { recovery } from "./recovery.ts";
import { slow } from "./slow.ts";
import { stuck } from "./stuck.ts";
import { warm } from "./warm.ts";

export const CASES: Readonly<
  Record<string, (lab: Lab, effort: Effort) => Promise<Table[]>>
> = { warm, first, direct, programs, burst, slow, stuck, recovery, "idle-lanes": idleLanes };
