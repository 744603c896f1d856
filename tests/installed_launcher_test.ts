/** The installed launchers against a real sshd: when they do without Deno, and when they must not. */
import assert from "node:assert/strict";
import { assertSameBytes } from "./support/bytes.ts";
import { expect } from "./support/commands.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { signal } from "./support/processes.ts";
import { Pty } from "./support/pty.ts";
import type { RunResult } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";

/** The machine that runs the tests may be slow. */
const PATIENCE = { deadline: 30_000 };

/** What a call cost, apart from its answer: what Deno was started for ("decide", "sleeper"), and logins. */
type Cost = { starts: string[]; logins: number };

/** A user whose ssh_config nobody has touched for years. */
class Desk implements AsyncDisposable {
  /** In a directory of its own. */
  readonly config: string;
  /** The directory whose files the configuration includes. */
  readonly included: string;

  private constructor(readonly scene: Scene) {
    this.config = `${scene.sandbox.dir}/config/ssh_config`;
    this.included = `${scene.sandbox.dir}/config/more`;
  }

  static async create(): Promise<Desk> {
    const scene = await Scene.open({
      config: ["X11Forwarding yes", "XAuthLocation /bin/true"],
      // The linger is set because a master that can forward a display would not linger.
      env: { SSHS_LINGER: "600", SSH_AUTH_SOCK: "/nowhere/agent", SSHS_LOOK: "2" },
    });
    const desk = new Desk(scene);
    await Deno.mkdir(desk.included, { recursive: true });
    const config = ["LogLevel ERROR", `Include ${desk.included}/*.conf`];
    await scene.sshd.writeConfig({ config, knowsHost: true }, desk.config);
    desk.age();
    return desk;
  }

  /** Sets back the time of all that a plan depends on: a recent change makes it void. */
  age(): void {
    for (const path of [this.config, this.included, `${this.scene.sandbox.dir}/config`]) {
      Deno.utimeSync(path, 0, 0);
    }
    this.scene.sshd.ageConfigs();
  }

  /** Runs a command that must print the right answer and nothing else. */
  echo(options: string[] = [], env: Record<string, string> = {}): Promise<Cost> {
    const words = ["ssh", ...options, "-F", this.config, "host", "echo hello; exit 7"];
    return this.#costOf(words, { code: 7, stdout: "hello\n", stderr: "" }, env);
  }

  /** Runs a script that must succeed in silence. */
  sh(script: string): Promise<Cost> {
    return this.#costOf(["sh", "-euc", script], { code: 0, stderr: "" });
  }

  /** Makes calls until one does without Deno; that one must not log in. */
  async settle(call: () => Promise<Cost>): Promise<void> {
    await eventually("a call without Deno", async () => {
      this.age();
      const { starts, logins } = await call();
      if (starts.length === 0) assert.equal(logins, 0);
      return starts.length === 0;
    }, PATIENCE);
  }

  async #costOf(
    words: string[],
    want: Partial<RunResult>,
    env: Record<string, string> = {},
  ): Promise<Cost> {
    const { scene } = this;
    const [starts, logins] = [scene.starts().length, scene.logins()];
    expect(await scene.run(words, { env }), want);
    const kinds = scene.starts().slice(starts).map((start) =>
      / --(decide|sleeper)\b/.exec(start)![1]
    );
    return { starts: kinds, logins: scene.logins() - logins };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.scene[Symbol.asyncDispose]();
  }
}

/** A change that a call with a plan and a lane must notice: how it is made, and what it costs. */
interface Row {
  options?: string[];
  /** The environment of the calls before the change, and of the one after it. */
  before?: Record<string, string>;
  after?: Record<string, string>;
  spoil?: (desk: Desk) => void | Promise<unknown>;
  /** Undoes `spoil`. */
  restore?: (desk: Desk) => void;
  starts: string[];
  /** 0 by default: the open connection is used. */
  logins?: number;
}

const ROWS: Record<string, Row> = {
  "the configuration is touched": {
    spoil: ({ config }) => Deno.utimeSync(config, new Date(), new Date()),
    starts: ["decide"],
  },
  "an included file appears, older than the plan": {
    spoil: ({ included }) => {
      Deno.writeTextFileSync(`${included}/new.conf`, "ServerAliveCountMax 7\n");
      Deno.utimeSync(`${included}/new.conf`, 0, 0);
    },
    restore: ({ included }) => Deno.removeSync(`${included}/new.conf`),
    starts: ["decide"],
    logins: 1,
  },
  "the agent changes": {
    after: { SSH_AUTH_SOCK: "/nowhere/another" },
    starts: ["decide"],
    logins: 1,
  },
  "the display changes, with X11": {
    options: ["-Y"],
    before: { DISPLAY: ":77" },
    after: { DISPLAY: ":78" },
    starts: ["decide"],
    logins: 1,
  },
  "the sleeper is killed": {
    spoil: ({ scene }) => {
      const pids = scene.sandbox.sleepers().map(({ pid }) => pid);
      signal(pids, "SIGKILL");
      // Many an init is slow to reap zombies, and a shell's `kill -0` finds them until then.
      return eventually(
        "the sleeper is buried",
        () => !pids.some((pid) => isThere(`/proc/${pid}`)),
        PATIENCE,
      );
    },
    starts: ["sleeper"],
  },
  "the mark is withdrawn: then the sleeper asks, and the call waits for its answer": {
    spoil: ({ scene: { sandbox } }) => {
      for (const file of sandbox.files().filter((file) => file.endsWith(".verified"))) {
        Deno.removeSync(`${sandbox.stateDir}/${file}`);
      }
    },
    starts: [],
  },
};

for (const [name, row] of Object.entries(ROWS)) {
  Deno.test(`an installed ssh needs no Deno and no login until ${name}`, async () => {
    await using desk = await Desk.create();
    const { options, before, after = before, spoil, restore, starts, logins = 0 } = row;
    await desk.settle(() => desk.echo(options, before));
    await desk.scene.held();
    await spoil?.(desk);
    const cost = await desk.echo(options, after);
    if (starts[0] === "sleeper") {
      await eventually("it is started", () => desk.scene.sandbox.sleepers().length === 1, PATIENCE);
      assert.deepEqual(cost.starts.filter((start) => start !== "sleeper"), []);
    } else assert.deepEqual(cost.starts, starts);
    assert.equal(cost.logins, logins);
    restore?.(desk);
  });
}

Deno.test("a first call with a plan starts no Deno but the sleeper", async () => {
  await using desk = await Desk.create();
  await desk.settle(() => desk.echo());
  const { sandbox } = desk.scene;
  assert.equal((await sandbox.sshs(["--stop", "--all", "--now"])).code, 0);
  await eventually("no lane is left", () => sandbox.masters().length === 0, PATIENCE);
  await eventually("no sleeper is left", () => sandbox.sleepers().length === 0, PATIENCE);
  const { starts, logins } = await desk.echo();
  assert.equal(logins, 1);
  assert.deepEqual(starts.filter((start) => start !== "sleeper"), []);
});

Deno.test("a call that goes direct by its configuration has a plan too, which holds until that changes", async () => {
  await using desk = await Desk.create();
  const words = ["-oTunnel=no", "-oLocalCommand=true", "-oPermitLocalCommand=yes"];
  await eventually("a direct call without Deno", async () => {
    desk.age();
    const { starts, logins } = await desk.echo(words);
    assert.equal(logins, 1);
    return starts.length === 0;
  }, PATIENCE);
  assert.equal(desk.scene.sandbox.masters().length, 0);
  Deno.utimeSync(desk.config, new Date(), new Date());
  assert.deepEqual((await desk.echo(words)).starts, ["decide"]);
});

Deno.test("an installed scp and sftp need no Deno and no login", async () => {
  await using desk = await Desk.create();
  await desk.settle(() => desk.echo());
  const { config, scene: { sandbox, sshd } } = desk;
  const there = `${sshd.user.home}/there`;
  await desk.sh(`head -c 100000 /dev/urandom >here; echo 'get ${there} back' >batch`);
  await desk.settle(() => desk.sh(`scp -q -F ${config} here host:${there}`));
  await desk.settle(() => desk.sh(`sftp -q -F ${config} -b batch host`));
  await assertSameBytes(
    Deno.readFileSync(`${sandbox.home}/back`),
    Deno.readFileSync(`${sandbox.home}/here`),
  );
  assert.equal(sshd.logins(), 1);
});

Deno.test("Ctrl-C ends a transfer of sftp and not its session, as under plain ssh", async () => {
  await using desk = await Desk.create();
  await desk.settle(() => desk.echo());
  const { config, scene: { sandbox, sshd } } = desk;
  const sftp = ["sftp", "-q", "-F", config, "-l", "800", "host"];
  await using pty = await Pty.spawn(sftp, { env: sandbox.env, cwd: sandbox.home });
  await pty.waitFor("sftp> ");
  pty.write(`get ${Deno.execPath()} part\r`);
  await eventually("it has begun", () => isThere(`${sandbox.home}/part`), PATIENCE);
  pty.write("\x03");
  await pty.waitFor("Interrupt");
  pty.write("pwd\rbye\r");
  await pty.waitFor("Remote working directory");
  assert.equal((await pty.status).code, 0);
  assert.equal(sshd.logins(), 1);
});
