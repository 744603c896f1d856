/** Completion of `sshs`, in each shell that is installed. */
import assert from "node:assert/strict";
import { USAGE } from "../lib/commands/help.ts";
import { findProgram, REPOSITORY, run as output } from "./support/programs.ts";
import { Pty } from "./support/pty.ts";
import { Sandbox } from "./support/sandbox.ts";

const DEADLINE = { deadline: 20_000 };

Deno.test("completions offer the commands of sshs", async () => {
  const directory = `${REPOSITORY}lib/launcher/completions`;
  const commands = [...USAGE.keys()].map((name) => `--${name}`).sort();
  assert.ok(findProgram("bash") ?? findProgram("fish"), "neither bash nor fish is here");
  if (findProgram("bash")) {
    const script =
      `. "$1"; COMP_WORDS=(sshs --) COMP_CWORD=1; _sshs; printf '%s\\n' "\${COMPREPLY[@]}"
      COMP_WORDS=(sshs --stop --n) COMP_CWORD=2; _sshs; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const offered = await output("bash", ["-c", script, "bash", `${directory}/sshs.bash`]);
    assert.deepEqual(offered.trim().split("\n").sort(), [...commands, "--now"].sort());
  }
  if (findProgram("fish")) {
    const script = `source $argv[1]; complete -C 'sshs --'; complete -C 'sshs --stop --n'`;
    const offered = await output("fish", ["--no-config", "-c", script, `${directory}/sshs.fish`]);
    const words = offered.trim().split("\n").map((line) => line.split("\t")[0]);
    assert.deepEqual(
      words.filter((word) => word.startsWith("--")).sort(),
      [...commands, "--now"].sort(),
    );
  }
});

Deno.test({
  name: "in fish hosts are completed after sshs as after ssh",
  ignore: !findProgram("fish"),
  async fn() {
    await using sandbox = await withHost();
    const file = `${REPOSITORY}lib/launcher/completions/sshs.fish`;
    const script = "source $argv[1]; complete -C 'sshs exampleh'";
    // With --no-config fish would not find its own completion of ssh; the sandbox has no configuration.
    const { stdout } = await sandbox.run(["fish", "-c", script, file]);
    assert.match(stdout, /^examplehost\b/m);
  },
});

Deno.test({
  name: "in zsh Tab completes the commands of sshs, and hosts as after ssh",
  ignore: !findProgram("zsh"),
  async fn() {
    await using sandbox = await withHost();
    await Deno.copyFile(`${REPOSITORY}lib/launcher/completions/sshs.zsh`, `${sandbox.home}/_sshs`);
    await using pty = await Pty.spawn(["zsh", "-f", "-i"], {
      env: { ...sandbox.env, PS1: "$ ", PROMPT: "$ " },
      cwd: sandbox.home,
      columns: 200,
    });
    await pty.waitFor("$ ", DEADLINE);
    pty.write(
      "fpath=(~ $fpath); autoload -Uz compinit; compinit -u -D; bindkey -e; echo re''ady\r",
    );
    await pty.waitFor("ready", DEADLINE);
    const rows = [
      ["sshs --st", "--stop"],
      ["sshs --stop --n", "--now"],
      ["sshs exampleh", "examplehost"],
      ["sshs --hold 5m exampleh", "examplehost"],
    ];
    for (const [typed, completed] of rows) {
      // Turned into arguments of echo, which shows the completed line.
      pty.write(`${typed}\t\x01echo '<' \x05'>'\r`);
      await pty.waitFor(new RegExp(`^< sshs .*${completed} ?>`, "m"), DEADLINE);
    }
    pty.write("sshs --\t");
    for (const command of ["--doctor", "--fresh", "--warm", "--why"]) {
      assert.ok(await pty.waitFor(command, DEADLINE));
    }
  },
});

Deno.test("--completions prints the file that is installed, for each shell", async () => {
  await using sandbox = await Sandbox.create();
  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, stdout } = await sandbox.sshs(["--completions", shell]);
    const file = `${REPOSITORY}lib/launcher/completions/sshs.${shell}`;
    assert.deepEqual([code, stdout], [0, Deno.readTextFileSync(file)]);
  }
  assert.equal((await sandbox.sshs(["--completions", "csh"])).code, 2);
});

/** Creates a sandbox whose user's ssh_config names a host. */
async function withHost(): Promise<Sandbox> {
  const sandbox = await Sandbox.create();
  await Deno.mkdir(`${sandbox.home}/.ssh`, { mode: 0o700 });
  await Deno.writeTextFile(`${sandbox.home}/.ssh/config`, "Host examplehost\n");
  return sandbox;
}
