/** The installed launchers against a real sshd: when they do without Deno, and when they must not. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { install, watchStarts } from "./support/installed.ts";
import { signal } from "./support/processes.ts";
import { type RunResult, Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

/** The machine that runs the tests may be slow. */
const PATIENCE = { deadline: 30_000 };

/** What a call has cost, beside what it answered. */
interface Cost {
  /** Starts of Deno: none on the fast way. */
  starts: number;
  logins: number;
}

/** A user who has sshs installed and an ssh_config that nobody has touched for years. */
class Desk implements AsyncDisposable {
  readonly sshd: Sshd;
  readonly sandbox: Sandbox;
  readonly #starts: () => number;

  private constructor(sshd: Sshd, sandbox: Sandbox, starts: () => number) {
    this.sshd = sshd;
    this.sandbox = sandbox;
    this.#starts = starts;
  }

  static async create(): Promise<Desk> {
    const sandbox = await Sandbox.create();
    const sshd = await Sshd.start({ config: ["X11Forwarding yes", "XAuthLocation /bin/true"] });
    // Told, since a master that can forward a display would not linger.
    Object.assign(sandbox.env, { SSHS_LINGER: "600", SSH_AUTH_SOCK: "/nowhere/agent" });
    await install(sandbox);
    const desk = new Desk(sshd, sandbox, await watchStarts(sandbox));
    await Deno.mkdir(desk.included, { recursive: true });
    const config = ["LogLevel ERROR", `Include ${desk.included}/*.conf`];
    await sshd.writeConfig({ config }, desk.config);
    return desk;
  }

  /** In a directory of its own: a new file beside it makes a plan void. */
  get config(): string {
    return `${this.sandbox.dir}/config/ssh_config`;
  }

  /** The directory whose files the configuration includes. */
  get included(): string {
    return `${this.sandbox.dir}/config/more`;
  }

  /** Sets back the time of all that a plan depends on: what was changed just now makes it void. */
  age(): void {
    for (const path of [this.config, this.included, `${this.sandbox.dir}/config`]) {
      Deno.utimeSync(path, 0, 0);
    }
  }

  /** Runs a command, which must give the right answer and not another word. */
  async echo(options: string[] = [], env: Record<string, string> = {}): Promise<Cost> {
    const words = ["ssh", ...options, "-F", this.config, "host", "echo hello; exit 7"];
    const { cost, result } = await this.#costOf(() => this.sandbox.run(words, { env }));
    const { code, stdout, stderr } = result;
    assert.deepEqual({ code, stdout, stderr }, { code: 7, stdout: "hello\n", stderr: "" });
    return cost;
  }

  /** Runs a program that must succeed. */
  async sh(script: string): Promise<Cost> {
    const { cost, result } = await this.#costOf(() => this.sandbox.run(["sh", "-euc", script]));
    assert.equal(result.code, 0, `${script}\n${result.stderr}`);
    return cost;
  }

  /** Makes calls until one does without Deno, and for that without a login. */
  async settle(call: () => Promise<Cost>): Promise<void> {
    await eventually("a call without Deno", async () => {
      const { starts, logins } = await call();
      this.age();
      if (starts === 0) assert.equal(logins, 0);
      return starts === 0;
    }, PATIENCE);
  }

  async #costOf(call: () => Promise<RunResult>): Promise<{ cost: Cost; result: RunResult }> {
    const [starts, logins] = [this.#starts(), this.sshd.logins()];
    const result = await call();
    const cost = { starts: this.#starts() - starts, logins: this.sshd.logins() - logins };
    return { cost, result };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandbox[Symbol.asyncDispose]();
    await this.sshd[Symbol.asyncDispose]();
  }
}

/** What makes a plan void: how it is done, with which words, and what has to be done anew. */
interface Row {
  options?: string[];
  /** Of all calls, and of the one that must take the slow way. */
  before?: Record<string, string>;
  after?: Record<string, string>;
  spoil?: (desk: Desk) => void | Promise<unknown>;
  /** For what comes after. */
  restore?: (desk: Desk) => void;
  /** 0 unless told: the connection that there is will do. */
  logins?: number;
}

const ROWS: Record<string, Row> = {
  "the configuration is touched": {
    spoil: ({ config }) => Deno.utimeSync(config, new Date(), new Date()),
  },
  "a file that is included appears, older than the plan": {
    spoil: ({ included }) => {
      Deno.writeTextFileSync(`${included}/new.conf`, "ServerAliveCountMax 7\n");
      Deno.utimeSync(`${included}/new.conf`, 0, 0);
    },
    restore: ({ included }) => Deno.removeSync(`${included}/new.conf`),
    logins: 1,
  },
  "another agent": { after: { SSH_AUTH_SOCK: "/nowhere/another" }, logins: 1 },
  "another display, with X11": {
    options: ["-Y"],
    before: { DISPLAY: ":77" },
    after: { DISPLAY: ":78" },
    logins: 1,
  },
  "the sleeper is killed": {
    spoil: ({ sandbox }) => {
      const pids = sandbox.sleepers().map(({ pid }) => pid);
      signal(pids, "SIGKILL");
      // Many an init takes its time to bury the dead, and a shell's `kill -0` finds them until then.
      return eventually("the sleeper is buried", () => !pids.some(isKnown), PATIENCE);
    },
  },
  "the mark is withdrawn": {
    spoil: ({ sandbox }) => {
      // Stopped, else it might renew the mark at this moment.
      signal(sandbox.sleepers().map(({ pid }) => pid), "SIGSTOP");
      for (const file of sandbox.files().filter((file) => file.endsWith(".verified"))) {
        Deno.removeSync(`${sandbox.stateDir}/${file}`);
      }
    },
    restore: ({ sandbox }) => signal(sandbox.sleepers().map(({ pid }) => pid), "SIGCONT"),
  },
};

/** Whether a process is there, be it as a zombie. */
function isKnown(pid: number): boolean {
  return [...Deno.readDirSync("/proc")].some(({ name }) => name === `${pid}`);
}

Deno.test("an installed ssh does without Deno and without a login, until a point of its plan fails", async () => {
  await using desk = await Desk.create();
  for (const [name, row] of Object.entries(ROWS)) {
    const { options, before, after = before, spoil, restore, logins = 0 } = row;
    await desk.settle(() => desk.echo(options, before));
    await spoil?.(desk);
    assert.deepEqual(await desk.echo(options, after), { starts: 1, logins }, name);
    restore?.(desk);
  }
});

Deno.test("an installed scp and sftp do without Deno and without a login", async () => {
  await using desk = await Desk.create();
  await desk.settle(() => desk.echo());
  const { sandbox, sshd, config } = desk;
  const there = `${sshd.user.home}/there`;
  await desk.sh(`head -c 100000 /dev/urandom >here; echo 'get ${there} back' >batch`);
  await desk.settle(() => desk.sh(`scp -q -F ${config} here host:${there}`));
  await desk.settle(() => desk.sh(`sftp -q -F ${config} -b batch host`));
  assert.deepEqual(
    Deno.readFileSync(`${sandbox.home}/back`),
    Deno.readFileSync(`${sandbox.home}/here`),
  );
  assert.equal(sshd.logins(), 1);
});
