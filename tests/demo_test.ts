/** `sh install.sh --demo`. */
import assert from "node:assert/strict";
import { fillBin, Home } from "./support/home.ts";
import { findProgram, INSTALLER, REPOSITORY, run as output } from "./support/programs.ts";

Deno.test({
  name:
    "install.sh --demo shows one login for four calls, and leaves nothing, in Deno's cache neither",
  ignore: !findProgram("sshd"),
  fn: async () => {
    using home = new Home();
    const env = { TMPDIR: home.path, DENO_DIR: `${home.path}/cache` };
    const result = await home.run("sh", [INSTALLER, "--demo"], { env });
    assert.equal(result.code, 0, result.stderr);
    const [summary] = /^The server counted 1 login for .*$/m.exec(result.stdout)!;
    assert.ok(Deno.readTextFileSync(`${REPOSITORY}README.md`).includes(summary), summary);
    assert.match(result.stdout, /^demo +open .* (9m5\ds|10m) /m);
    // What finds Deno itself has Deno's cache in the user's place.
    assert.deepEqual(home.contents(home.path), {});
    const left = await output("ps", ["-eo", "args"]);
    assert.doesNotMatch(left, new RegExp(`${home.path}|sshs-demo\\.`));
  },
});

Deno.test("the demo says what to install if there is no sshd", async () => {
  using home = new Home();
  const bin = `${home.path}/bin`;
  fillBin(bin, "sh mktemp rm ssh sleep", {});
  const demo = Deno.readTextFileSync(`${REPOSITORY}packaging/demo.sh`)
    .replace("/usr/sbin:/usr/local/sbin", "/nowhere"); // it looks outside of PATH too
  Deno.writeTextFileSync(`${home.path}/demo.sh`, demo);
  const args = [`${home.path}/demo.sh`, home.prefix, `${bin}/deno`];
  const result = await home.run("sh", args, { env: { PATH: bin } });
  assert.equal(result.code, 1);
  assert.match(result.stderr, /^demo: there is no sshd here: install .*openssh-server\)\n$/);
});
