/** Places on lanes and login attempts: the program and the launcher agree. */
import assert from "node:assert/strict";
import { VERSION } from "../lib/os/program.ts";
import { startersOf } from "../lib/lane/starter.ts";
import { realSystem } from "../lib/os/system.ts";
import { eventually } from "./support/eventually.ts";
import { deadPid } from "./support/lanes.ts";
import { outputOf, spawnScript, testInShells } from "./support/launcher_functions.ts";

function namesIn(dir: string): string[] {
  return [...Deno.readDirSync(dir)].map(({ name }) => name).sort();
}

/** The files of an identity's attempts, in order, and the state of the newest. */
const ATTEMPTS: readonly (readonly [texts: readonly string[], state: string])[] = [
  [[], "none"],
  [["LIVE 0\n"], "running"],
  [["LIVE 17\nup\n"], "up"],
  [["LIVE 17\nfailed\n"], "failed"],
  [["DEAD 17\n"], "broken off"],
  [["DEAD 17\nup\n"], "up"],
  [["DEAD 17\nfailed\n"], "failed"],
  [["LIVE 0\n", "DEAD 0\n"], "broken off"],
  [["DEAD 0\n", "LIVE 0\nup\n", "LIVE 0\n"], "running"],
  // Only just created.
  [[""], "running"],
];

/** At a line of input tries until it takes a place, and keeps it until the next line. */
const TAKE = `sshs_lane=$1 sshs_max=$2 sshs_via=$3 sshs_lease=$$$3
  sshs_lingers=yes sshs_waited=0 sshs_looks=0
  read -r sshs_line
  until sshs_take; do sshs_looks=1; sshs_pause 20; done
  echo took
  read -r sshs_line
  rm -f "$sshs_lane.leases/$sshs_lease"`;

/** A process that takes a place and gives it back when told to. */
class Taker implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  hasPlace = false;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #output: Promise<string>;

  constructor(shell: readonly string[], lane: string, max: number, via = "") {
    this.child = spawnScript(shell, TAKE, { args: [lane, `${max}`, via] });
    this.#input = this.child.stdin.getWriter();
    this.#output = this.#read();
  }

  /** Tells it to take a place, or to give it back. */
  async goOn(): Promise<void> {
    await this.#input.write(new TextEncoder().encode("\n"));
  }

  async #read(): Promise<string> {
    let text = "";
    for await (const part of this.child.stdout.pipeThrough(new TextDecoderStream())) {
      text += part;
      this.hasPlace = true;
    }
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close();
    const [output, errors] = await Promise.all([this.#output, this.child.stderr.text()]);
    assert.deepEqual([output, errors], ["took\n", ""]);
  }
}

testInShells(
  "of 30 calls that race for three places, at most three have one, and each gets its turn",
  async (shell) => {
    const dir = await Deno.makeTempDir();
    const max = 3;
    try {
      const leases = `${dir}/1.leases`;
      await Deno.mkdir(leases);
      // Dead leases hold no place, and this many are removed.
      const dead = await deadPid();
      for (let i = 0; i < 30; i++) await Deno.writeTextFile(`${leases}/${dead}.${i}`, "");
      await using stack = new AsyncDisposableStack();
      const takers = Array.from({ length: 30 }, () => stack.use(new Taker(shell, `${dir}/1`, max)));
      await Promise.all(takers.map((taker) => taker.goOn()));
      for (let left = takers.length; left > 0; left--) {
        const holders = await eventually(`those who have a place, ${left} left`, () => {
          const holders = takers.filter((taker) => taker.hasPlace);
          assert.ok(holders.length <= max, `${holders.length} have a place`);
          return holders.length === Math.min(max, left) && holders;
        }, { deadline: 60_000 });
        const [first] = holders;
        first.hasPlace = false;
        takers.splice(takers.indexOf(first), 1);
        await first.goOn();
      }
      await eventually("no lease is left", () => namesIn(leases).length === 0);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

testInShells("a -W channel takes no place", async (shell) => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${dir}/1.leases`);
    await Deno.writeTextFile(`${dir}/1.leases/${Deno.pid}`, "");
    await using taker = new Taker(shell, `${dir}/1`, 1, ".via");
    await taker.goOn();
    await eventually("it is on the full lane", () => taker.hasPlace, { deadline: 20_000 });
    assert.ok(namesIn(`${dir}/1.leases`).includes(`${taker.child.pid}.via`));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

testInShells("a lane that was closed meanwhile gives no place", async (shell) => {
  const dir = await Deno.makeTempDir();
  try {
    for (const looks of [0, 1]) {
      const script = `sshs_lane=$1/1 sshs_max=3 sshs_via='' sshs_lease=$$ sshs_lingers=yes
        sshs_looks=${looks} sshs_full='' sshs_crowded=''
        sshs_take 2>/dev/null || echo "none $sshs_full$sshs_crowded"`;
      assert.equal(await outputOf(shell, script, { args: [dir] }), "none \n");
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

testInShells("a call passes over a full lane to the next one", async (shell) => {
  const dir = await Deno.makeTempDir();
  const listeners: Deno.Listener[] = [];
  try {
    for (const name of ["1", "2"]) {
      await Deno.mkdir(`${dir}/${name}.leases`);
      await Deno.writeTextFile(`${dir}/${name}.lane`, "{}");
      listeners.push(Deno.listen({ transport: "unix", path: `${dir}/${name}.sock` }));
    }
    await Deno.writeTextFile(`${dir}/1.leases/${Deno.pid}`, "");
    for (const looks of [0, 1]) {
      const script = `sshs_home=$1 sshs_dir=$1 sshs_max=1 sshs_via='' sshs_lease=$$ sshs_lingers=yes
        sshs_looks=${looks}; sshs_find_place && echo "\${sshs_lane##*/}"`;
      assert.equal(await outputOf(shell, script, { args: [dir] }), "2\n");
    }
  } finally {
    for (const listener of listeners) listener.close();
    await Deno.remove(dir, { recursive: true });
  }
});

testInShells("an attempt has the state that startersOf returns", async (shell) => {
  const dir = await Deno.makeTempDir();
  const dead = await deadPid();
  try {
    for (const [texts, state] of ATTEMPTS) {
      for (const name of namesIn(dir)) await Deno.remove(`${dir}/${name}`);
      for (const [i, text] of texts.entries()) {
        const pids = text.replace("LIVE", `${Deno.pid}`).replace("DEAD", `${dead}`);
        // Numbers that sort differently as text.
        await Deno.writeTextFile(`${dir}/starter.${9 + i}`, pids);
      }
      const latest = startersOf(dir, realSystem).at(-1);
      assert.equal(latest?.state ?? "none", state);
      const script = 'sshs_home=$1 sshs_empty=""; sshs_look; echo "$sshs_last $sshs_attempt"';
      const output = await outputOf(shell, script, { args: [dir] });
      const found = `${latest?.number ?? 0} ${state === "broken off" ? "broken" : state}\n`;
      assert.equal(output, found, `${texts}`);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

testInShells("an attempt whose file stays empty is broken off", async (shell) => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/starter.3`, "");
    const script = `sshs_home=$1 sshs_empty='' sshs_waited=0
      look() { sshs_waited=$1; sshs_look; echo "$sshs_attempt"; }
      look 0; look 4900
      echo "$$ 0" >"$sshs_home/starter.3"; look 4950; : >"$sshs_home/starter.3"
      look 5000; look 9900; look 10000`;
    const output = await outputOf(shell, script, { args: [dir] });
    assert.equal(output, "running\n".repeat(5) + "broken\n");
    const later = { ...realSystem, now: () => Date.now() + 60_000 };
    assert.equal(startersOf(dir, later).at(-1)?.state, "broken off");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

testInShells("a lane that opens between two looks is used", async (shell) => {
  const dir = await Deno.makeTempDir();
  try {
    // As if another call's login ended between the look for a place and the one for attempts.
    const script = `sshs_home=$1 sshs_via='' sshs_batch='' sshs_timeout=''
      sshs_look() { sshs_last=3 sshs_attempt=up; [ -n "$gone" ] || : >"$sshs_home/3.lane"; }
      sshs_ride() { echo "ride $1" && exit; }
      sshs_start() { echo "start $1" && exit; }
      sshs_find_place() {
        sshs_full='' sshs_crowded='' sshs_tried=:
        [ -e "$sshs_home/3.lane" ] && sshs_tried=:3: && [ -z "$bad" ]
      }
      (bad='' gone=''; sshs_share call); rm -f "$sshs_home/3.lane"
      (bad=yes gone=''; sshs_share call); rm -f "$sshs_home/3.lane"
      (bad='' gone=yes; sshs_share call)`;
    assert.equal(
      await outputOf(shell, script, { args: [dir] }),
      "ride call\nstart call\nstart call\n",
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

testInShells(
  "a sleeper is told by its program from another process with its pid",
  async (shell) => {
    const dir = await Deno.makeTempDir();
    try {
      const script = "sshs_dir=$1; sshs_is_awake && echo awake || echo gone";
      for (
        const [program, expected] of [
          [[Deno.execPath()], "awake"],
          [["/bin/sh"], "gone"],
          [[], "awake"], // It is waking.
        ] as const
      ) {
        const lines = [Deno.pid, VERSION, "awake", ...program, ""];
        await Deno.writeTextFile(`${dir}/sleeper`, lines.join("\n"));
        assert.equal(await outputOf(shell, script, { args: [dir] }), `${expected}\n`);
      }
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);
