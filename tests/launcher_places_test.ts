/** Places on lanes, login attempts and waiting: the launcher's functions, and processes that run them. */
import assert from "node:assert/strict";
import { VERSION } from "../lib/os/program.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { deadPid } from "./support/lanes.ts";
import { outputOf, spawnScript, testInShells, textWith } from "./support/launcher_functions.ts";
import { needProgram } from "./support/programs.ts";
import { SHELLS } from "./support/shells.ts";
import { walk } from "./support/walk.ts";

/** What sshs_begin() has set by the time that a call looks for a place. */
const BEGUN = {
  task: "",
  only: "",
  quiet: "",
  batch: "",
  timeout: "",
  awake: "",
  pipe: "",
  queued: "",
  awaited: "",
  full: "",
  doubted: "",
  via: "",
  max: 3,
  lingers: "yes",
  claim: "",
  mine: "",
  child: "",
  birth: "",
};

/** For a lane of three sessions: its leases (a, b, c: who lives), what the call is, and whether it has a place. */
const ROOM: readonly (readonly [leases: string, call: Record<string, string>, room: boolean])[] = [
  ["", {}, true],
  ["a b", {}, true],
  ["a b c", {}, false],
  ["a b c.via", {}, true],
  ["a b dead", {}, true],
  ["a b c", { via: ".via" }, true],
  ["", { lingers: "" }, false],
  ["dead", { lingers: "" }, false],
  ["a", { lingers: "" }, true],
  ["a.via", { lingers: "" }, true],
];

testInShells(
  "a call finds a place on a lane with room, and leaves a lease only there",
  async (shell, dir) => {
    const dead = await deadPid();
    for (const [names, call, room] of ROOM) {
      await Deno.mkdir(`${dir}/1.leases`);
      const live = [Deno.pid, Deno.ppid, 1].map(String);
      const leases = names.split(" ").filter(Boolean).map((name) => {
        const pid = name === "dead" ? dead : live["abc".indexOf(name[0])];
        return `${pid}${/\..*/.exec(name)?.[0] ?? ""}`;
      });
      for (const lease of leases) await Deno.writeTextFile(`${dir}/1.leases/${lease}`, "");
      const script = 'sshs_lease=$$$sshs_via; sshs_take && echo "$sshs_lease" || echo none';
      const settings = { ...BEGUN, lane: `${dir}/1`, ...call };
      const own = (await outputOf(shell, script, { settings })).trim();
      assert.equal(own !== "none", room, `[${names}] ${JSON.stringify(call)}`);
      assert.deepEqual(walk(`${dir}/1.leases`).sort(), [...leases, ...room ? [own] : []].sort());
      await Deno.remove(`${dir}/1.leases`, { recursive: true });
    }
    const settings = { ...BEGUN, lane: `${dir}/1`, lease: "5" };
    const closed = await outputOf(shell, "sshs_take 2>/dev/null || echo none", { settings });
    assert.equal(closed, "none\n", "a lane that was closed meanwhile");
  },
);

testInShells(
  "of 30 calls that race for three places, at most three have one, and each gets its turn",
  async (shell, dir) => {
    await Deno.mkdir(`${dir}/1.leases`);
    const take = `sshs_lease=$$; read -r go; until sshs_take; do sleep 0.05; done; echo took
    read -r go; rm -f "$sshs_lane.leases/$sshs_lease"`;
    const settings = { ...BEGUN, lane: `${dir}/1` };
    const calls = Array.from({ length: 30 }, () => {
      const child = spawnScript(shell, take, { settings });
      const call = { child, input: child.stdin.getWriter(), hasPlace: false, output: "" };
      const goOn = () => call.input.write(new TextEncoder().encode("\n"));
      const read = (async () => {
        for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
          call.output += part;
          call.hasPlace = true;
        }
      })();
      return { call, goOn, read };
    });
    await Promise.all(calls.map(({ goOn }) => goOn()));
    for (let left = [...calls]; left.length > 0;) {
      const [first] = await eventually("those who can have a place", () => {
        const holders = left.filter(({ call }) => call.hasPlace);
        assert.ok(holders.length <= 3, `${holders.length} have a place`);
        return holders.length === Math.min(3, left.length) && holders;
      });
      left = left.filter((other) => other !== first);
      await first.goOn();
    }
    for (const { call, read } of calls) {
      await Promise.all([read, call.input.close(), call.child.status]);
      assert.deepEqual([call.output, await call.child.stderr.text()], ["took\n", ""]);
    }
    assert.deepEqual(walk(`${dir}/1.leases`), []);
  },
);

testInShells(
  "a call passes over a full lane, and one in doubt, to the next",
  async (shell, dir) => {
    using stack = new DisposableStack();
    for (const name of ["1", "2", "3"]) {
      await Deno.mkdir(`${dir}/${name}.leases`);
      await Deno.writeTextFile(`${dir}/${name}.lane`, "{}");
      stack.use(Deno.listen({ transport: "unix", path: `${dir}/${name}.sock` }));
    }
    await Deno.writeTextFile(`${dir}/1.leases/${Deno.pid}`, "");
    await Deno.writeTextFile(`${dir}/2.master`, `${Deno.pid} \n`); // without a mark
    const settings = { ...BEGUN, home: dir, dir, max: 1, lease: Deno.ppid };
    const script = 'sshs_find_place && echo "${sshs_lane##*/} $sshs_full $sshs_doubted"';
    assert.equal(await outputOf(shell, script, { settings }), "3 yes yes\n");
    assert.deepEqual(walk(`${dir}/2.leases`), [], "it leaves no lease");
  },
);

/** The files of an identity's attempts, in order, and the state of the newest. */
const ATTEMPTS: readonly (readonly [texts: readonly string[], state: string])[] = [
  [[], "none"],
  [["LIVE\n"], "running"],
  [["LIVE BORN\n"], "running"],
  [["LIVE 1\n"], "broken"], // another process has its pid
  [["LIVE\nup\n"], "up"],
  [["LIVE\nfailed\n"], "failed"],
  [["DEAD 17\n"], "broken"],
  [["DEAD 17\nup\n"], "up"],
  [["DEAD 17\nfailed\n"], "failed"],
  [["LIVE\n", "DEAD\n"], "broken"],
  [["DEAD\n", "LIVE\nup\n", "LIVE\n"], "running"],
  [[""], "running"], // only just created
];

testInShells(
  "an attempt is told from one that is over, or whose process is gone",
  async (shell, dir) => {
    const born = Deno.readTextFileSync("/proc/self/stat").replace(/.*\) /, "").split(" ")[19];
    const dead = `${await deadPid()}`;
    const script = 'sshs_look; echo "$sshs_last $sshs_attempt"';
    const settings = { ...BEGUN, home: dir, empty: "", ticks: 0 };
    for (const [texts, state] of ATTEMPTS) {
      for (const name of walk(dir)) await Deno.remove(`${dir}/${name}`);
      for (const [i, text] of texts.entries()) {
        const pids = text.replace("LIVE", `${Deno.pid}`).replace("DEAD", dead).replace(
          "BORN",
          born,
        );
        // Numbers that sort differently as text.
        await Deno.writeTextFile(`${dir}/starter.${9 + i}`, pids);
      }
      const last = texts.length === 0 ? 0 : 8 + texts.length;
      assert.equal(await outputOf(shell, script, { settings }), `${last} ${state}\n`, `${texts}`);
    }
    // It was killed after it had opened the lane, and before it could say so.
    await Deno.writeTextFile(`${dir}/starter.9`, `${dead} 17\n`);
    await Deno.writeTextFile(`${dir}/9.lane`, "{}");
    assert.equal(await outputOf(shell, script, { settings }), "9 up\n");
    await Deno.writeTextFile(`${dir}/starter.10`, "");
    const empty =
      `look() { sshs_ticks=$1; sshs_look; echo "$sshs_attempt"; }; look 0; look 4; look 5`;
    assert.equal(await outputOf(shell, empty, { settings }), "running\nrunning\nbroken\n");
  },
);

/** What was seen, and whether a call may log in now. */
const MAY_START: readonly (readonly [what: string, seen: Record<string, string>, may: boolean])[] =
  [
    ["no lane and nobody logs in", { news: "login" }, true],
    ["another logs in", { attempt: "running", news: "login" }, false],
    ["another's login was broken off", { attempt: "broken", news: "login" }, true],
    ["a login failed that was waited for", { attempt: "failed", seen: "1", news: "login" }, true],
    ["a second one failed", { attempt: "failed", seen: "1", last: "2", news: "login" }, false],
    ["a lane is full, the sleeper says to look", { full: "yes", news: "place" }, false],
    ["a lane is full, the sleeper says to log in", { full: "yes", news: "login" }, true],
    [
      "a lane is full, and no sleeper says anything",
      { full: "yes", news: "tick", ticks: "1" },
      true,
    ],
    ["a lane is in doubt", { doubted: "yes", news: "tick", ticks: "1" }, false],
    ["a lane is in doubt for long", { doubted: "yes", news: "tick", ticks: "5" }, true],
  ];

testInShells(
  "who waits logs in when nobody else does, and not after two failures",
  async (shell) => {
    for (const [what, seen, may] of MAY_START) {
      const before = { attempt: "none", last: "1", seen: "", failures: "0", ticks: "0", news: "" };
      const settings = { ...BEGUN, ...before, ...seen };
      const found = await outputOf(shell, "sshs_may_start && echo yes || echo no", { settings });
      assert.equal(found, may ? "yes\n" : "no\n", what);
    }
  },
);

testInShells("a lane that opens between two looks is used", async (shell, dir) => {
  // As if another call's login ended between the look for a place and the one for attempts.
  const script = `sshs_look() { sshs_last=3 sshs_attempt=up; }
    sshs_ride() { echo "ride $1" && exit; }
    sshs_start() { echo "start $1" && exit; }
    sshs_find_place() { [ -z "$none" ]; }
    (none=''; sshs_share call); none=yes; sshs_share call`;
  const settings = { ...BEGUN, home: dir };
  assert.equal(await outputOf(shell, script, { settings }), "ride call\nstart call\n");
});

/** Closes what the tests were started with, which the launcher takes for the caller's. */
const CLOSING = [
  needProgram("bash"),
  "-c",
  'for fd in /proc/self/fd/??*; do eval "exec ${fd##*/}>&-"; done 2>/dev/null; exec "$@"',
  "bash",
];

/** The shells that mark their own files as such. Under the others nobody ticks. */
const MARKING = SHELLS.filter(([name]) => name !== "zsh");

testInShells("who waits sleeps until it is woken, or for its patience", async (shell, dir) => {
  const waits = 'sshs_queue who; sshs_doze && echo "$sshs_news"; sshs_leave';
  const settings = { ...BEGUN, dir, limit: 60, ticks: 0 };
  const waiters = Array.from({ length: 3 }, () => {
    return spawnScript([...CLOSING, ...shell], waits, { settings });
  });
  const pipes = () => walk(`${dir}/waiting`).filter((name) => name.startsWith("who."));
  await eventually("three wait", () => pipes().length === 3);
  await outputOf(shell, "sshs_wake_all who place 2; sshs_wake_all nobody place", { settings });
  // Two are woken, and all by the second that passes.
  const words = await Promise.all(waiters.map((child) => child.stdout.text()));
  assert.ok(words.filter((word) => word === "place\n").length <= 2, `${words}`);
  assert.ok(words.every((word) => /^(place|tick)\n$/.test(word)), `${words}`);
  for (const child of waiters) {
    await child.stdin.close();
    assert.equal(await child.stderr.text(), "");
    await child.status;
  }
  assert.deepEqual(pipes(), []);
  await eventually("nobody ticks any more", () => !isThere(`${dir}/waiting/ticker`));
  const over = "sshs_queue who; while sshs_doze; do :; done; echo over; sshs_leave";
  for (const bare of ["", "mkfifo() { return 1; };"]) { // then it looks once a second
    const short = { settings: { ...settings, limit: 1 } };
    assert.equal(await outputOf(shell, bare + over, short), "over\n");
  }
}, MARKING);

testInShells("a shell's own files are not taken for the caller's", async (shell, dir) => {
  const script = "sshs_has_high && echo high || echo none";
  const path = `${dir}/script`;
  await Deno.writeTextFile(path, textWith(script));
  const run = async (...argv: string[]) => {
    const { stdout } = await new Deno.Command(argv[0], { args: argv.slice(1) }).output();
    return new TextDecoder().decode(stdout);
  };
  assert.equal(await run(...CLOSING, ...shell, path), "none\n");
  const open = [needProgram("bash"), "-c", 'exec 200>/dev/null; exec "$@"', "bash"];
  assert.equal(await run(...CLOSING, ...open, ...shell, path), "high\n");
}, MARKING);

/** What a call that waits for an answer sees in the claim, look by look, and whether the answer is its own. */
const CLAIMS: readonly (readonly [name: string, looks: readonly string[], held: boolean])[] = [
  ["who came in time", ["LIVE\n"], true],
  ["who came in time, and sees it read", ["LIVE\n", "LIVE\nreading\n"], true],
  ["who came late", ["LIVE\nreading\n"], false],
  ["who saw it empty first", ["", "LIVE\n"], true],
  ["who sees another's claim next", ["OTHER\n", "LIVE\n"], false],
  ["whom a dead call keeps waiting", ["DEAD 17\n"], false],
  ["who finds no answer", ["LIVE\n", "failed"], false],
];

testInShells(
  "an answer for the moment is for those who came before it was read",
  async (shell, dir) => {
    const dead = `${await deadPid()}`;
    for (const [name, looks, held] of CLAIMS) {
      const texts = looks.map((text) =>
        text.replace("LIVE", `${Deno.pid}`).replace("OTHER", `${Deno.ppid}`).replace("DEAD", dead)
      );
      const script = `sshs_queue() { return 1; }
      sshs_doze() { shift_on; sshs_ticks=$((sshs_ticks + 1)); }
      shift_on() {
        look=$((look + 1))
        case $look,$count in
        1,* | 2,2) eval "text=\\$text$look" ;;
        *) text=gone ;;
        esac
        case $text in
        gone) rm -f "$sshs_claim" ;;
        failed) rm -f "$sshs_claim"; sshs_news=failed ;;
        *) printf %s "$text" >"$sshs_claim" ;;
        esac
      }
      sshs_read() { [ "$text" != failed ] && [ "$sshs_asked" = ${Deno.pid} ]; }
      sshs_leave() { :; }
      look=0 text1=$1 text2=\${2-} count=$#; shift_on
      sshs_wait_for_plan && echo held || echo void`;
      const settings = { ...BEGUN, claim: `${dir}/claim`, limit: 10 };
      const found = await outputOf(shell, script, { settings, args: texts });
      assert.equal(found, held ? "held\n" : "void\n", name);
      // Another's claim stays, for that one's answer.
      assert.equal(isThere(`${dir}/claim`), name.includes("another's"), name);
      await Deno.remove(`${dir}/claim`).catch(() => {});
    }
  },
);

testInShells("a sleeper is told from another process with its pid", async (shell, dir) => {
  using held = Deno.openSync(`${dir}/sleeper`, { write: true, create: true });
  const { ino } = held.statSync();
  const [open] = Array.from(Deno.readDirSync("/proc/self/fd"), ({ name }) => name).filter(
    (name) => {
      try {
        return Deno.statSync(`/proc/self/fd/${name}`).ino === ino;
      } catch {
        return false; // the directory's own
      }
    },
  );
  const script = "sshs_is_awake && echo awake || echo gone";
  for (const [file, expected] of [[open, "awake"], ["0", "gone"], ["", "awake"]] as const) {
    const lines = [Deno.pid, VERSION, file, "", ""];
    await Deno.writeTextFile(`${dir}/sleeper`, lines.join("\n"));
    const settings = { ...BEGUN, dir };
    assert.equal(await outputOf(shell, script, { settings }), `${expected}\n`, file);
  }
});

const PLAIN = `sshs_plain() { trap - EXIT; echo "plain $*"; exit 0; }`;

testInShells("a call becomes plain ssh where the shell would exit", async (shell) => {
  // Other shells go on, or end in another way.
  const expected = /dash|busybox/.test(shell[0]) ? "plain a b  c\n" : "";
  for (
    const fault of [
      "set -- other; . /nowhere", // an error of the shell itself, like a fork that fails
      "sshs_status=$((1 /* 2))",
    ]
  ) {
    const script = `exec 2>/dev/null; ${PLAIN}; call() { { eval "$fault"; } 2>/dev/null; exit 3; }
      fault='${fault}'; trap 'case $? in 2 | 254) sshs_rescue "$@" ;; esac' EXIT; call`;
    const args = ["a", "b  c"];
    assert.equal(await outputOf(shell, script, { settings: BEGUN, args }), expected, fault);
  }
});

testInShells("a rescued call ends its own login, and records the failure", async (shell, dir) => {
  const script = `${PLAIN}; sleep 60 >/dev/null 2>&1 & sshs_child=$!
    (sshs_rescue x); wait "$sshs_child" 2>/dev/null; echo "$?"; cat "$sshs_home/starter.1"`;
  const settings = { ...BEGUN, home: dir, mine: 1 };
  assert.equal(await outputOf(shell, script, { settings }), "plain x\n143\nfailed\n");
});

testInShells("a shell that ends still finds ssh", async (shell) => {
  const script = `trap 'sshs_find ssh && echo "$sshs_found"' EXIT; exit 254`;
  const env = { SSHS_SSH: needProgram("ssh") };
  assert.equal(await outputOf(shell, script, { env }), `${needProgram("ssh")}\n`);
});
