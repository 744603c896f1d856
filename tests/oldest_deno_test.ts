/** The oldest Deno that sshs supports. tests/run.sh gets it and says where it is. */
import { dirname } from "@std/path/posix/dirname";
import assert from "node:assert/strict";
import { OLDEST_DENO } from "../lib/os/program.ts";
import { install } from "./support/installed.ts";
import { isThere } from "./support/is_there.ts";
import { findProgram, INSTALLER } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const oldest = Deno.env.get("SSHS_OLDEST_DENO");

Deno.test({
  name: `Deno ${OLDEST_DENO} ($SSHS_OLDEST_DENO) installs sshs, shares a login, and removes it all`,
  ignore: oldest === undefined || !findProgram("sshd"),
  fn: async () => {
    await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
    await using sandbox = await Sandbox.create();
    sandbox.env.PATH = `${dirname(oldest!)}:${sandbox.env.PATH}`;
    await install(sandbox);
    const version = await sandbox.run(["sshs", "--version"]);
    assert.match(version.stdout, new RegExp(`^sshs .*, Deno ${OLDEST_DENO},`), version.stderr);
    for (const status of [7, 8]) {
      const call = await sandbox.run(["ssh", "-F", sshd.config, "host", `exit ${status}`]);
      assert.deepEqual([call.code, call.stderr], [status, ""]);
    }
    assert.equal(sshd.logins(), 1);
    const prefix = `${sandbox.dir}/prefix`;
    const gone = await sandbox.run(["sh", INSTALLER, "--uninstall", "--prefix", prefix]);
    assert.deepEqual([gone.code, gone.stderr], [0, ""]);
    assert.equal(isThere(prefix), false);
    await sandbox.assertClean({ deadline: 30_000 });
  },
});
