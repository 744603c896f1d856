/** Which system service a call belongs to: the program and the launcher agree. */
import assert from "node:assert/strict";
import { serviceOf } from "../lib/os/processes.ts";
import { outputOf, testInShells } from "./support/launcher_functions.ts";

/** The text of /proc/PID/cgroup, and the service that it names. */
const CGROUPS: readonly (readonly [text: string, service: string | undefined])[] = [
  ["0::/system.slice/cron.service\n", "cron.service"],
  ["0::/system.slice/system-backup.slice/backup@home.service\n", "backup@home.service"],
  ["0::/system.slice/containerd.service/kubepods/pod1\n", "containerd.service"],
  ["0::/system.slice/a.service/b.service\n", "a.service"],
  ["0::/machine.slice/x/system.slice/in.service\n", "in.service"],
  // A hybrid of both versions.
  [
    "12:cpu:/\n1:name=systemd:/system.slice/cron.service\n0::/system.slice/cron.service\n",
    "cron.service",
  ],
  ["0::/\n", undefined],
  ["", undefined],
  ["0::/user.slice/user-1000.slice/session-2.scope\n", undefined],
  ["0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.service\n", undefined],
  ["0::/user.slice/user-1000.slice/user@1000.service/app-x@1.service/a.service\n", undefined],
  ["0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x-1.scope\n", undefined],
  ["0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", undefined],
  [
    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/git-maintenance@hourly.service\n",
    "git-maintenance@hourly.service",
  ],
  ["0::/user.slice/user-1000.slice/user@1000.service/backup.service/x\n", "backup.service"],
  ["0::/system.slice/docker-0123.scope\n", undefined],
  ["0::/system.slice/run-my.service.d.mount\n", undefined],
  ["0::/xsystem.slice/cron.service\n", undefined],
  ["0::/system.slice/a b\\x2dc.service\n", "a b\\x2dc.service"],
];

testInShells("the service is the one that serviceOf returns", async (shell) => {
  const file = await Deno.makeTempFile();
  try {
    for (const [text, service] of CGROUPS) {
      await Deno.writeTextFile(file, text);
      assert.equal(serviceOf(text), service, text);
      const output = await outputOf(shell, 'sshs_service; printf %s "$sshs_service"', {
        replace: [["/proc/self/cgroup", file]],
      });
      assert.equal(output, service ?? "", text);
    }
  } finally {
    await Deno.remove(file);
  }
});
