/** What a lane's end with its first session says about the server. */
import assert from "node:assert/strict";
import { FirstSession } from "../lib/lane/direct.ts";
import { laneAt } from "../lib/lane/layout.ts";
import { isThere } from "./support/is_there.ts";

Deno.test("FirstSession does not blame the server for a master that its own ControlPersist ended", async () => {
  // In a master's life the sleeper may come too late: with a linger of 0 the grace is 2 s.
  for (
    const [age, isBlamed] of [[500, true], [1200, false], [1900, false], [2500, false]] as const
  ) {
    const dir = await Deno.makeTempDir();
    const lane = laneAt(dir, "1");
    await Deno.writeTextFile(lane.record, "{}");
    await Deno.utime(lane.record, 1000, 1000);
    const first = new FirstSession(lane, { now: () => 1_000_000 + age, steady: () => 0 });
    first.note({ live: [], begun: 1, ended: [], isOpen: true });
    first.noteEnd(2);
    assert.equal(isThere(`${dir}/ended-early`), isBlamed, `${age} ms`);
    await Deno.remove(dir, { recursive: true });
  }
});
