/** A plan and an open lane, and programs that only report how they were called. */
import type { Conditions } from "../../lib/call/conditions.ts";
import { planText } from "../../lib/call/plan.ts";
import { type Lane, laneAt } from "../../lib/lane/layout.ts";
import { libraryFiles } from "../../lib/launcher/launcher.ts";
import { putInPlace } from "../../lib/launcher/new_files.ts";
import { quote, VERSION } from "../../lib/os/program.ts";
import { isThere } from "./is_there.ts";

/** What the answer of a plan sets, but for what differs from box to box: answerText(). */
const SETTINGS = Object.fromEntries(
  [
    ...["notice", "spaces", "batch", "quiet", "forced", "timeout", "proxy", "listens", "marks"],
    ...["warnings", "logged", "expects", "agent", "copies", "setpriv", "setsid", "perl", "lister"],
  ].map((name) => [name, ""]).concat([["record", "{}"], ["max", "3"], ["lingers", "yes"]]),
);

/** The name of a plan for a few plain words, as the launcher makes it. */
function keyOf(words: readonly string[]): string {
  return words.join("!").replaceAll("/", "^");
}

/** How a call ended. */
export interface Called {
  /** The program that the launcher became, and its arguments. */
  program: string;
  args: string[];
  pid: number;
  /** Whether the launcher asked the program first, as it does if no plan holds. */
  asked: boolean;
  code: number;
  stderr: string;
}

export interface CallOptions {
  /** The launcher's name; `ssh` by default. */
  name?: string;
  env?: Readonly<Record<string, string | undefined>>;
  cwd?: string;
}

/**
 * A machine in a directory: its ssh, scp and sftp only print their arguments, its Deno gives no answer,
 * and there is an open lane. {@linkcode plan} adds a plan, by default for `ssh host`.
 *
 *     using box = new Box();
 *     box.plan();
 *     assert.equal(box.call(shell, ["host", "true"]).asked, false);
 */
export class Box implements Disposable {
  readonly #root: string;
  /** Where the programs are, in `ours` and `real`. */
  readonly dir: string;
  readonly state: string;
  readonly lane: Lane;
  /** The whole environment of a call. */
  readonly env: Record<string, string>;
  readonly #listener: Deno.Listener;

  /** @param name may be hostile: it is part of every path but the lane's. */
  constructor(name = "box") {
    this.#root = Deno.makeTempDirSync({ prefix: "b-" });
    this.dir = `${this.#root}/${name}`;
    this.state = `${this.#root}/s`;
    this.lane = laneAt(`${this.state}/0123456789abcdef`, "1");
    for (const dir of [this.dir, `${this.dir}/real`, `${this.dir}/ours`]) Deno.mkdirSync(dir);
    for (const dir of [this.state, `${this.state}/plans`, this.lane.dir, this.lane.leases]) {
      Deno.mkdirSync(dir, { mode: 0o700 });
    }
    for (const program of ["ssh", "scp", "sftp"]) {
      this.#program(`real/${program}`, `printf '%s\\0' ${program} "$$" "$@"`);
    }
    this.#program("deno", `echo "$*" >>"$0.asked"; exit 1`);
    putInPlace(libraryFiles(`${this.dir}/lib`, "/nowhere/sshs.js", `${this.dir}/deno`));
    for (const program of ["ssh", "scp", "sftp", "sshs"]) {
      Deno.symlinkSync(`${this.dir}/lib/bin/${program}`, `${this.dir}/ours/${program}`);
    }
    this.#listener = Deno.listen({ transport: "unix", path: this.lane.socket });
    Deno.writeTextFileSync(this.lane.record, "{}");
    Deno.writeTextFileSync(this.lane.master, `${Deno.pid} \n`);
    Deno.writeTextFileSync(this.lane.verified, "1\n");
    Deno.utimeSync(this.lane.verified, Date.now() / 1000, Date.now() / 1000 + 600);
    const sleeper = [Deno.pid, VERSION, "", "", ""];
    Deno.writeTextFileSync(`${this.state}/sleeper`, sleeper.join("\n"));
    this.env = {
      PATH: `${this.dir}/ours:${this.dir}/real:/usr/bin:/bin`,
      HOME: this.dir,
      SSHS_DIR: this.state,
      SSH_AUTH_SOCK: "/nowhere/agent",
    };
  }

  /** Returns the path of the plan for these words. */
  planPath(words: readonly string[] = ["host"]): string {
    return `${this.state}/plans/${keyOf(words)}`;
  }

  /** Writes a plan to share the open lane. */
  plan(
    words: readonly string[] = ["host"],
    conditions: Partial<Conditions> = {},
    { host = "user@host", asker }: { host?: string; asker?: number } = {},
  ): void {
    const { PATH, SSH_AUTH_SOCK } = this.env;
    const all: Conditions = {
      environment: { PATH, SSH_AUTH_SOCK, DISPLAY: undefined },
      job: "",
      sent: [],
      watches: [],
      ...conditions,
    };
    const ssh = `${this.dir}/real/ssh`;
    const settings = { ...SETTINGS, ssh, home: this.lane.dir, host };
    const answer = Object.entries(settings).map(([name, value]) =>
      `sshs_${name}=${quote(`${value}`)}\n`
    ).join("");
    const text = planText(keyOf(words), all, `${answer}sshs_kind=share\n`, asker);
    Deno.writeTextFileSync(this.planPath(words), text!);
  }

  /** Writes a file in the box. */
  write(path: string, text: string, mode = 0o644): void {
    Deno.writeTextFileSync(`${this.dir}/${path}`, text);
    Deno.chmodSync(`${this.dir}/${path}`, mode);
  }

  /** Sets the time of a file in the box to `seconds` from now; creates the file if needed. */
  date(path: string, seconds: number): void {
    if (!isThere(`${this.dir}/${path}`)) this.write(path, "");
    const time = Date.now() / 1000 + seconds;
    Deno.utimeSync(`${this.dir}/${path}`, time, time);
  }

  /** Calls a launcher in a shell. */
  call(shell: readonly string[], args: readonly string[], options: CallOptions = {}): Called {
    const { name = "ssh", env = {}, cwd = this.dir } = options;
    const set = Object.entries({ ...this.env, ...env })
      .filter((entry): entry is [string, string] => entry[1] !== undefined);
    const asked = `${this.dir}/deno.asked`;
    if (isThere(asked)) Deno.removeSync(asked);
    const output = new Deno.Command(shell[0], {
      args: [...shell.slice(1), `${this.dir}/ours/${name}`, ...args],
      clearEnv: true,
      env: Object.fromEntries(set),
      cwd,
      stdin: "null",
    }).outputSync();
    const [program = "", pid, ...words] = new TextDecoder().decode(output.stdout).split("\0")
      .slice(0, -1);
    return {
      program,
      args: words,
      pid: Number(pid),
      asked: isThere(asked),
      code: output.code,
      stderr: new TextDecoder().decode(output.stderr),
    };
  }

  /** Returns the arguments that ssh gets for a call that shares. */
  shared(args: readonly string[]): string[] {
    return ["-S", this.lane.socket, "-o", "ControlMaster=no", ...args];
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    Deno.removeSync(this.#root, { recursive: true });
  }

  #program(path: string, script: string): void {
    this.write(path, `#!/bin/sh\n${script}\n`, 0o755);
  }
}
