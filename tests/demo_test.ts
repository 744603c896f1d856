/** `sh install.sh --demo`. */
import assert from "node:assert/strict";
import { fillBin, Home } from "./support/home.ts";
import { findProgram, INSTALLER, REPOSITORY, run as output } from "./support/programs.ts";

Deno.test({
  name: "install.sh --demo shows one login for four calls, and cleans up",
  ignore: !findProgram("sshd"),
  fn: async () => {
    using home = new Home();
    const result = await home.run("sh", [INSTALLER, "--demo"], { env: { TMPDIR: home.path } });
    assert.equal(result.code, 0, result.stderr);
    const [summary] = /^The server counted 1 login for .*$/m.exec(result.stdout)!;
    assert.ok(Deno.readTextFileSync(`${REPOSITORY}README.md`).includes(summary), summary);
    assert.match(result.stdout, /^demo +open .* (9m5\ds|10m) /m);
    assert.deepEqual(home.contents(home.path), {});
    const left = await output("ps", ["-eo", "args"]);
    assert.doesNotMatch(left, new RegExp(`${home.path}|sshs-demo\\.`));
  },
});

Deno.test("the demo installs sshd as root if there is none, and says why if it cannot", async () => {
  const update = "-q update\n";
  // It asks no questions, and starts no public server.
  const both = `${update}1 noninteractive -qy install --no-install-recommends openssh-server\n`;
  const byHand = /^demo: there is no sshd here: install OpenSSH's server \(openssh-server\)/;
  const rows: [
    name: string,
    uid: number,
    aptGet: string | undefined,
    calls: string,
    says: RegExp,
  ][] = [
    [
      "a package that is not available",
      0,
      '[ "$2" = update ] || { echo "E: no such thing" >&2; exit 100; }',
      both,
      /^demo: cannot install openssh-server: E: no such thing\n$/,
    ],
    [
      "no network",
      0,
      'echo "E: no network" >&2; exit 100',
      update,
      /^demo: cannot install openssh-server: E: no network\n$/,
    ],
    ["an ordinary user", 1000, "exit 0", "", byHand],
    ["another system", 0, undefined, "", byHand],
  ];
  for (const [name, uid, aptGet, calls, says] of rows) {
    using home = new Home();
    const bin = `${home.path}/bin`;
    const record = `echo $RUNLEVEL $DEBIAN_FRONTEND "$*" >>'${home.path}/calls'`;
    fillBin(bin, "sh mktemp rm rmdir tail ssh", {
      id: `echo ${uid}`,
      ...aptGet !== undefined && { "apt-get": `${record}\n${aptGet}` },
    });
    Deno.writeTextFileSync(`${home.path}/calls`, "");
    // demo.sh looks for sshd outside of PATH too.
    const demo = Deno.readTextFileSync(`${REPOSITORY}lib/launcher/demo.sh`)
      .replace(/\/usr(\/local)?\/sbin\/sshd/g, "/nowhere/sshd");
    Deno.writeTextFileSync(`${home.path}/demo.sh`, demo);
    const result = await home.run("sh", [`${home.path}/demo.sh`, home.prefix, `${bin}/deno`], {
      env: { PATH: bin, RUNLEVEL: "", DEBIAN_FRONTEND: "" },
    });
    assert.equal(result.code, 1, name);
    assert.match(result.stderr, says, name);
    assert.equal(Deno.readTextFileSync(`${home.path}/calls`), calls, name);
  }
});
