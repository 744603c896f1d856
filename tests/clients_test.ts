/** Real programs that run ssh, with the installed launchers. */
import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { canUseFuse } from "./support/mounts.ts";
import { findProgram, needProgram } from "./support/programs.ts";
import type { RunOptions, RunResult } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";

/** A scene, and a directory on each side. */
class Client implements AsyncDisposable {
  readonly scene: Scene;
  /** `ssh` with the scene's configuration, as a user would type it. */
  readonly ssh: string;
  /** A directory on the server. */
  readonly remote: string;

  private constructor(scene: Scene) {
    this.scene = scene;
    this.ssh = `ssh -F ${scene.config}`;
    this.remote = `${scene.user.home}/clients`;
    scene.sandbox.env.GIT_CONFIG_GLOBAL = `${scene.sandbox.home}/gitconfig`;
    scene.sandbox.env.GIT_CONFIG_SYSTEM = "/dev/null";
  }

  static async open(): Promise<Client> {
    const client = new Client(await Scene.open({ env: { SSHS_LINGER: "60" } }));
    await client.sh(`git config --file "$GIT_CONFIG_GLOBAL" user.email a@example.com
      git config --file "$GIT_CONFIG_GLOBAL" user.name a`);
    await client.sh(`${client.ssh} host 'rm -rf ${client.remote}; mkdir ${client.remote}'`);
    return client;
  }

  /** How many logins there have been. */
  get logins(): number {
    return this.scene.logins();
  }

  /** Runs a script that must succeed and, unless `noisy`, print nothing on stderr. */
  async sh(script: string, options: RunOptions & { noisy?: boolean } = {}): Promise<RunResult> {
    const result = await this.scene.run(["sh", "-euc", script], options);
    assert.equal(result.code, 0, `${script}\n${result.stdout}${result.stderr}`);
    if (!options.noisy) assert.equal(result.stderr, "", script);
    return result;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.scene[Symbol.asyncDispose]();
  }
}

Deno.test("git clones, fetches and pushes by PATH, GIT_SSH and core.sshCommand over one login", async () => {
  await using client = await Client.open();
  const { remote, ssh } = client;
  const { sandbox, sshd } = client.scene;
  await client.sh(`${ssh} host 'git init -q --bare ${remote}/repo.git'`);
  // Unqualified, so that git looks for it in PATH.
  await client.sh(
    `git -c core.sshCommand='${ssh}' clone -q host:${remote}/repo.git one
    cd one
    git config core.sshCommand '${ssh}'
    echo a >a; git add a; git commit -qm a; git push -q origin HEAD`,
    { noisy: true },
  );
  await client.sh(`GIT_SSH_COMMAND='${ssh}' git clone -q ssh://host${remote}/repo.git two
    cmp one/a two/a`);
  const wrapper = await sandbox.addProgram("ssh-of-mine", `exec ${ssh} "$@"`);
  // git does not know the wrapper's name, so it asks with -G first.
  await client.sh(`cd two; GIT_SSH=${wrapper} git fetch -q; GIT_SSH=${wrapper} git ls-remote -q`);
  // With an empty GIT_SSH_VARIANT git takes it for ssh without asking.
  await client.sh(`cd two; GIT_SSH=${wrapper} GIT_SSH_VARIANT= git pull -q`);
  assert.equal(client.logins, 1);
  // As in the manual, by a name that git does not know either. Without -F it needs another ssh.
  const configured = await sandbox.addProgram(
    "configured",
    `exec ${needProgram("ssh")} -F ${sshd.config} "$@"`,
  );
  await client.sh(`cd two; export GIT_SSH=sshs SSHS_SSH=${configured}
    git ls-remote -q; git fetch -q`);
  assert.equal(client.logins, 2);
});

Deno.test({
  name: "rsync copies both ways",
  ignore: !findProgram("rsync"),
  async fn() {
    await using client = await Client.open();
    const { remote, ssh } = client;
    await client.sh(`mkdir -p tree/sub; echo a >tree/a; head -c 1000000 /dev/urandom >tree/sub/b
      rsync -a -e '${ssh}' tree/ host:${remote}/tree/
      RSYNC_RSH='${ssh}' rsync -a host:${remote}/tree/ back/
      diff -r tree back`);
    assert.equal(client.logins, 1);
  },
});

Deno.test("scp and sftp share through their launchers and with -S", async () => {
  await using client = await Client.open();
  const { remote } = client;
  const { sshd } = client.scene;
  const file = `-F ${sshd.config}`;
  await client.sh(`head -c 3000000 /dev/urandom >big
    scp -q ${file} big host:${remote}/one
    scp -q ${file} host:${remote}/one back; cmp big back
    scp -q -S "$(command -v ssh)" ${file} big host:${remote}/two
    echo 'get ${remote}/two three' >batch
    sftp -q ${file} -b batch host >/dev/null; cmp big three
    sftp -q -S "$(command -v ssh)" ${file} -b batch host >/dev/null`);
  assert.equal(client.logins, 1);
  await using pty = await client.scene.pty(["sftp", "-F", sshd.config, "host"]);
  await pty.waitFor("sftp> ");
  pty.write(`ls ${remote}\r`);
  await pty.waitFor("one");
  pty.write("bye\r");
  assert.equal((await pty.status).code, 0);
  assert.equal(client.logins, 1);
});

Deno.test("ssh-copy-id installs a key", async () => {
  await using client = await Client.open();
  const { ssh } = client;
  const { sshd } = client.scene;
  await client.sh(
    `mkdir -m 700 .ssh
    ssh-keygen -q -t ed25519 -N '' -C copied -f new
    ssh-copy-id -f -F ${sshd.config} -i new.pub host`,
    { noisy: true },
  );
  const { stdout } = await client.sh(`${ssh} host 'cat .ssh/authorized_keys; rm -r .ssh'`);
  assert.match(stdout, /^ssh-ed25519 .* copied$/m);
});

Deno.test({
  name: "sshfs mounts a directory",
  ignore: !findProgram("sshfs") || !findProgram("fusermount3") || !canUseFuse,
  async fn() {
    await using client = await Client.open();
    const { remote, ssh } = client;
    await client.sh(`${ssh} host 'echo hello >${remote}/file'
      mkdir mount
      sshfs -o ssh_command='${ssh}' host:${remote} mount
      cat mount/file
      fusermount3 -u mount`);
  },
});

Deno.test({
  name: "borg makes a backup and lists it",
  ignore: !findProgram("borg"),
  async fn() {
    await using client = await Client.open();
    const { remote, ssh } = client;
    await client.sh(
      `export BORG_RSH='${ssh}' BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
      export BORG_BASE_DIR="$HOME/borg"
      mkdir tree; echo a >tree/a
      borg init -e none ssh://host${remote}/backup
      borg create ssh://host${remote}/backup::one tree
      borg list --short ssh://host${remote}/backup | grep -x one`,
      { noisy: true, timeout: 90_000 },
    );
    // borg has its ssh ignore SIGINT, so that Ctrl-C ends borg alone: the client of a master would not.
    assert.equal(client.logins, 1 + 3);
  },
});

Deno.test("shell idioms read and write the same as with plain ssh", async () => {
  await using client = await Client.open();
  const { remote, ssh } = client;
  await client.sh(`mkdir tree; head -c 2000000 /dev/urandom >tree/a
    tar c tree | ${ssh} host 'cd ${remote} && tar x'
    ${ssh} host 'cd ${remote} && tar c tree' | tar xO >a; cmp a tree/a
    ${ssh} host 'cat >${remote}/in' <tree/a
    ${ssh} host "cksum <${remote}/in" >there; cksum <tree/a >here; cmp here there`);
  const heredoc = await client.sh(`${ssh} host 'sh -s one two' <<'END'
echo "$1 $2"; cat <<INNER
nested
INNER
END`);
  assert.equal(heredoc.stdout, "one two\nnested\n");
  // Without -n the session reads the lines that were meant for the loop, as with any ssh: at its start, which
  // a busy machine may delay.
  const loop = (flag: string) =>
    client.sh(
      `printf 'a\\nb\\nc\\n' | while read -r x; do ${ssh} ${flag} host "echo $x; sleep 0.5"; done`,
    );
  assert.equal((await loop("-n")).stdout, "a\nb\nc\n");
  assert.equal((await loop("")).stdout, "a\n");
  const many = await client.sh(`seq 40 | xargs -P 20 -I{} ${ssh} host 'echo {}' | sort -n`);
  assert.equal(many.stdout, Array.from({ length: 40 }, (_, i) => `${i + 1}\n`).join(""));
  // 20 at once fill two lanes of ten; a slow machine frees places later, and may open a third.
  assert.ok(client.logins <= 4, `${client.logins} logins`);
});

Deno.test("ssh-keyscan is not replaced", async () => {
  await using client = await Client.open();
  const { stdout } = await client.sh(
    `ssh-keyscan -p ${client.scene.sshd.port} 127.0.0.1 2>/dev/null; command -v ssh-keyscan`,
  );
  assert.match(stdout, /ssh-ed25519/);
  assert.doesNotMatch(stdout, new RegExp(client.scene.sandbox.dir));
});

Deno.test({
  name: "mosh runs a program",
  ignore: !findProgram("mosh") || !canMakeAccounts,
  async fn() {
    await using client = await Client.open();
    const { ssh } = client;
    await using pty = await client.scene.pty(
      ["mosh", `--ssh=${ssh}`, "host", "--", "sh", "-c", "echo mosh-$((40 + 2)); sleep 1"],
      { env: { LC_ALL: "C.UTF-8" } },
    );
    await pty.waitFor("mosh-42");
    await pty.status;
    // It passes -S none, so its call goes direct.
    assert.equal(client.logins, 2);
  },
});
