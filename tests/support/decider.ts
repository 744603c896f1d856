/** Decisions and their plans, without a launcher: a home, a state directory, and what the launcher has settled. */
import assert from "node:assert/strict";
import { answerText } from "../../lib/call/answer_text.ts";
import { conditionsOf } from "../../lib/call/conditions.ts";
import { decide } from "../../lib/call/decide.ts";
import type { Direct, Shared } from "../../lib/call/decision.ts";
import { planText, writePlan } from "../../lib/call/plan.ts";
import type { Given } from "../../lib/os/given.ts";
import { VERSION } from "../../lib/os/program.ts";
import { realSystem, type System } from "../../lib/os/system.ts";
import { needProgram } from "./programs.ts";
import { SHELLS } from "./shells.ts";

/** The name of the plans that are made here, long enough for two directories. */
const KEY = "first!/second";

export class Decider implements Disposable {
  readonly dir: string = Deno.makeTempDirSync();
  given: Given = {
    library: "/nowhere",
    stateDir: `${this.dir}/state`,
    ssh: needProgram("ssh"),
    job: "",
    spaces: "net:[1] pid:[2] mnt:[3] user:[4]",
  };
  env: Record<string, string> = {
    HOME: this.dir,
    PATH: `${this.dir}/bin:${Deno.env.get("PATH")}`,
    LOGNAME: "ann", // zsh exports it by itself
  };
  uid: number = Deno.uid()!;

  constructor(config = "") {
    for (const name of ["state", "bin", ".config"]) {
      Deno.mkdirSync(`${this.dir}/${name}`, { mode: 0o700 });
    }
    this.write("config", config);
  }

  get system(): System {
    return {
      ...realSystem,
      cwd: () => this.dir,
      env: (name) => this.env[name] || undefined,
      environment: () => ({ ...this.env }),
      uid: () => this.uid,
      run: (path, args, options) =>
        realSystem.run(path, args, { ...options, env: { ...this.env, ...options?.env } }),
    };
  }

  /** Writes a file in the home, old enough for a plan. Returns its path. */
  write(name: string, text: string | Uint8Array, mode = 0o600): string {
    const path = `${this.dir}/${name}`;
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    Deno.writeFileSync(path, bytes, { mode });
    Deno.chmodSync(path, mode);
    // Never the same time twice: some shells compare seconds.
    const time = new Date(Date.now() - 3600_000 + 2000 * this.#writes++);
    Deno.utimeSync(path, time, time);
    return path;
  }
  #writes = 0;

  decide(...argv: string[]): Promise<Shared | Direct> {
    return decide(["-F", `${this.dir}/config`, ...argv], this.given, this.system);
  }

  async share(...argv: string[]): Promise<Shared> {
    const decision = await this.decide(...argv);
    assert.ok(decision.kind === "share", (decision as Direct).reason);
    return decision;
  }

  /** Writes the plan of a decision. Returns false if it cannot be kept. */
  async keep(decision: Shared | Direct): Promise<boolean> {
    // What was just written is not yet to be told from a later change.
    const basis = decision.kind === "share" ? decision : decision.basis!;
    const aged = { ...basis, since: basis.since + 5000 };
    const kept = decision.kind === "share"
      ? { ...decision, since: aged.since }
      : { ...decision, basis: aged };
    const conditions = await conditionsOf(kept as Shared | Direct, this.given, this.system);
    const answer = answerText(decision, this.given, this.system);
    const text = conditions && planText(KEY, conditions, answer!);
    if (text) writePlan(this.given.stateDir, KEY, text, aged.since);
    return text !== undefined;
  }

  /** Returns "share" or "direct" if the plan holds in a shell, else "void: " and what has changed. */
  async held(): Promise<string> {
    const answers = new Set<string>();
    for (const [, shell] of SHELLS) answers.add(await this.#heldIn(shell));
    assert.equal(answers.size, 1, `the shells agree: ${[...answers].join(", ")}`);
    return [...answers][0];
  }

  async #heldIn([shell, ...before]: readonly string[]): Promise<string> {
    const { stateDir, job } = this.given;
    const script =
      `sshs_version=$1 sshs_key=$2 sshs_job=$3 sshs_dir=$4 sshs_plan=$4/plans/$2 sshs_kind=
      . "$sshs_plan"; echo "\${sshs_kind:-void: $sshs_void}"`;
    const { stdout, stderr } = await new Deno.Command(shell, {
      args: [...before, "-c", script, "sh", VERSION, KEY, job, stateDir],
      env: this.env,
      clearEnv: true,
    }).output();
    assert.equal(new TextDecoder().decode(stderr), "");
    return new TextDecoder().decode(stdout).trim();
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.dir, { recursive: true });
  }
}
