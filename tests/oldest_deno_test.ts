/** The oldest Deno that sshs supports. tests/run.sh gets it and says where it is. */
import assert from "node:assert/strict";
import { OLDEST_DENO } from "../lib/os/program.ts";
import { serve } from "./support/home.ts";
import { isThere } from "./support/is_there.ts";
import { findProgram } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const oldest = Deno.env.get("SSHS_OLDEST_DENO");

Deno.test({
  name:
    `Deno ${OLDEST_DENO} ($SSHS_OLDEST_DENO) installs sshs from a URL, shares, and removes it all`,
  ignore: oldest === undefined || !findProgram("sshd"),
  fn: async () => {
    await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
    await using sandbox = await Sandbox.create();
    await using server = serve();
    const run = (words: string[]) =>
      sandbox.run(words, { env: { DENO_DIR: `${sandbox.home}/deno` } });
    const flags = ["--global", "--allow-all", "--name", "sshs", `${server.base}/sshs.js`];
    const got = await run([oldest!, "install", ...flags]);
    assert.equal(got.code, 0, got.stderr);
    const bin = `${sandbox.home}/.local/bin`;
    sandbox.env.PATH = `${bin}:${oldest!.replace(/\/[^/]*$/, "")}:${sandbox.env.PATH}`;
    const installed = await run([`${sandbox.home}/.deno/bin/sshs`, "--install"]);
    assert.deepEqual([installed.code, installed.stderr], [0, ""]);
    assert.match((await run(["sshs", "--version"])).stdout, new RegExp(`, Deno ${OLDEST_DENO},`));
    for (const status of [7, 8]) {
      const call = await run(["ssh", "-F", sshd.config, "host", `exit ${status}`]);
      assert.deepEqual([call.code, call.stderr], [status, ""]);
    }
    assert.equal(sshd.logins(), 1);
    const gone = await run(["sshs", "--uninstall"]);
    assert.deepEqual([gone.code, gone.stderr], [0, ""]);
    assert.equal(isThere(bin), false);
    await sandbox.assertClean({ deadline: 30_000 });
  },
});
