/** A master is independent of how the call that started it ends. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { Scene, type SceneOptions } from "./support/scene.ts";

/** How the server is reached. */
const WAYS: Readonly<Record<string, { options: SceneOptions; words: string[]; masters: number }>> =
  {
    "directly": { options: {}, words: [], masters: 1 },
    "through a ProxyCommand": { options: { proxy: true }, words: [], masters: 1 },
    "through a jump host": {
      options: { client: { aliases: ["jump"] } },
      words: ["-J", "jump"],
      masters: 2,
    },
  };

for (const [way, { options, words, masters }] of Object.entries(WAYS)) {
  Deno.test(`${way}, neither Ctrl-C nor a closed terminal reaches the master or other sessions`, async () => {
    await using scene = await Scene.open(options);
    const call = (command: string) => [...words, "host", command];
    const argv = (command: string) => ["ssh", "-F", scene.config, ...call(command)];
    await using first = await scene.pty(argv("echo one; cat"));
    await first.waitFor("one");
    await using second = await scene.pty(argv("echo two; cat"));
    await second.waitFor("two");
    const sessions = scene.sshd.sessions();
    const third = scene.spawnSsh(call("cat"));
    await eventually("the third runs", () => scene.sshd.sessions() > sessions);
    const kept = scene.sandbox.masters().map(({ pid }) => pid);
    assert.equal(kept.length, masters);
    first.write("\x03");
    await first.status;
    second.hangup();
    await second.status;
    const writer = third.stdin.getWriter();
    await writer.write(new TextEncoder().encode("still here\n"));
    await writer.close();
    const { code, stdout, stderr } = await third.output();
    assert.deepEqual([code, new TextDecoder().decode(stdout)], [0, "still here\n"]);
    assert.equal(new TextDecoder().decode(stderr), "");
    assert.deepEqual(kept.filter(isAlive), kept);
    const after = await scene.ssh(call("echo after"));
    assert.deepEqual([after.code, after.stdout, after.stderr], [0, "after\n", ""]);
    assert.equal(scene.logins(), masters);
    await scene.assertClean();
  });
}
