/** Random calls: what the launcher says that it would do (--why) is what it does. */
import assert from "node:assert/strict";
import { needProgram } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

const SEED = 20261201;
/** 300 have been run; fewer are enough for a gate. */
const COUNT = Number(Deno.env.get("SSHS_WHY_COUNT") ?? 40);

const OPTIONS = [
  "-4 -C -a -k -n -q -T -t -tt -x -v -y -N -f -M -G -V -z -s -qn4 --",
  "-e_none -E_/dev/null -O_check -O_exit -W_host:22 -W_nope -S_none -S_/tmp/own -P_tag -w_0:0",
  "-L_1:a:2 -D_1080 -R_0:a:2 -oCompression=yes -o_ControlMaster=no -o_ControlMaster=auto",
  "-oControlPath=/tmp/own -o_ServerAliveInterval=7 -oSessionType=none -o_PermitLocalCommand=yes",
  "-oTunnel=yes -o_LogLevel=QUIET -o_BatchMode=yes -o_RequestTTY=force -oForwardAgent=yes",
].join(" ").split(" ").map((option) => option.split("_"));
const COMMANDS = "||true|echo a b|-v|sftp|rsync --server|git-upload-pack 'x'".split("|");

/** Returns a number from 0 to below `end`, the same ones in each run. */
function makeRandom(seed: number): (end: number) => number {
  return (end) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor(seed / 2 ** 32 * end);
  };
}

Deno.test(`--why and the call agree on ${COUNT} lists of arguments`, async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  const { sandbox } = scene;
  // Only the decision and the login are real.
  await sandbox.fakeSsh(
    `case "$*" in *' -M -N -f '*) exec ${needProgram("ssh")} "$@" ;; esac
    case "\${1-}" in -G | -V) exec ${needProgram("ssh")} "$@" ;; esac`,
  );
  const random = makeRandom(SEED);
  const some = () =>
    Array.from({ length: random(4) }, () => OPTIONS[random(OPTIONS.length)]).flat();
  let shared = 0;
  for (let i = 0; i < COUNT; i++) {
    const command = COMMANDS[random(COMMANDS.length)].split(" ").filter(Boolean);
    const argv = ["-F", scene.config, ...some(), "host", ...some(), ...command];
    const why = await scene.run(["ssh", ...argv], { env: { SSHS_TASK: "why" } });
    const told = Object.fromEntries(why.stdout.trim().split("\n").map((line) => line.split("=")));
    await scene.run(["ssh", ...argv]);
    const [done] = sandbox.recorded().slice(-1);
    const ours = done.slice(0, done.length - argv.length);
    const say = `${argv.slice(2).join(" ")}: ${why.stdout}${why.stderr}; ${done.join(" ")}`;
    if (told.kind === "share") {
      shared++;
      assert.deepEqual([ours[0], ...ours.slice(2)], ["-S", "-o", "ControlMaster=no"], say);
      if (told.place.startsWith("/")) assert.equal(ours[1], `${told.place}.sock`, say);
      else assert.ok(ours[1].startsWith(`${told.home}/`), say);
    } else {
      assert.equal(told.kind, "direct", say);
      assert.deepEqual(ours, told.socket ? ["-S", told.socket] : [], say);
    }
    assert.deepEqual(done.slice(-argv.length), argv, say);
  }
  assert.ok(shared > COUNT / 10 && shared < COUNT * 0.9, `${shared} shared`);
});
