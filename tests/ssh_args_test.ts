import assert from "node:assert/strict";
import { hostOf, parseSshArgs, type SshOption, withoutOptions } from "../lib/ssh/arguments.ts";
import { parseConfigOption } from "../lib/ssh/config_text.ts";

/** Formats a command line as below: options, the destination in <>, options after it, `:` command. */
function show(argv: readonly string[]): string {
  const args = parseSshArgs(argv);
  if (args.kind === "invalid") return args.reason;
  if (args.kind === "no-destination") return [...args.options.map(showOption), "nowhere"].join(" ");
  const { options, leading, destination, command } = args;
  return [
    ...options.filter(({ at }) => at < leading).map(showOption),
    `<${destination}>`,
    ...options.filter(({ at }) => at >= leading).map(showOption),
    ...(command.length > 0 ? [":", ...command.map((word) => word || '""')] : []),
  ].join(" ");
}

function showOption({ letter, value }: SshOption): string {
  return value === undefined ? letter : `${letter}=${value}`;
}

type Row = [words: string | string[], expected: string];

/** Splits words that contain no blank, which are written as one string. */
function argvOf(words: string | string[]): string[] {
  return typeof words === "string" ? words.split(" ").filter((word) => word !== "") : words;
}

const TABLE: Record<string, Row[]> = {
  "a destination and a command": [
    ["host", "<host>"],
    ["user@host", "<user@host>"],
    ["ssh://user@host:22", "<ssh://user@host:22>"],
    ["host ls", "<host> : ls"],
    ["host ls -la /tmp", "<host> : ls -la /tmp"],
    [["host", "ls -la"], "<host> : ls -la"],
    [["host", "echo", ""], '<host> : echo ""'],
    [["host", ""], '<host> : ""'],
    ["host cmd host2", "<host> : cmd host2"],
    ["host cmd -- -x", "<host> : cmd -- -x"],
    ["host 22", "<host> : 22"],
    ["host =", "<host> : ="],
    [["host", "-x y"], 'Cannot parse option "- "'],
    [["ho st"], "<ho st>"],
    [[""], "<>"],
    [["", "cmd"], "<> : cmd"],
    ["-", "<->"],
    ["- ls", "<-> : ls"],
    ["host - -l", "<host> : - -l"],
    ["-4 - -p 22", "4 <-> p=22"],
  ],
  "flags, grouped and not": [
    ["-4 host", "4 <host>"],
    ["-4 -t host", "4 t <host>"],
    ["-4t host", "4 t <host>"],
    ["-tt host", "t t <host>"],
    ["-t -t host top", "t t <host> : top"],
    ["-vvv host", "v v v <host>"],
    ["-1246AC host", "1 2 4 6 A C <host>"],
    ["-GKMNTVXYZ host", "G K M N T V X Y Z <host>"],
    ["-afgknqstvxy host", "a f g k n q s t v x y <host>"],
    ["-46 -aA host", "4 6 a A <host>"],
    ["-Tn host true", "T n <host> : true"],
  ],
  "values, attached and separate": [
    ["-p 22 host", "p=22 <host>"],
    ["-p22 host", "p=22 <host>"],
    ["-p 022 host", "p=022 <host>"],
    ["-p 1e3 host", "p=1e3 <host>"],
    ["-p=22 host", "p==22 <host>"],
    ["-p ssh host", "p=ssh <host>"],
    [["-p", "", "host"], "p= <host>"],
    [["-p", " 22 ", "host"], "p= 22  <host>"],
    ["-l root host", "l=root <host>"],
    ["-lroot host", "l=root <host>"],
    ["-l -x host", "l=-x <host>"],
    ["-l-x host", "l=-x <host>"],
    ["-lpx host", "l=px <host>"],
    ["-i ~/.ssh/id -F none host", "i=~/.ssh/id F=none <host>"],
    ["-i - host", "i=- <host>"],
    ["-e ^] -e none host", "e=^] e=none <host>"],
    ["-J a,b@c:22 host", "J=a,b@c:22 <host>"],
    ["-B eth0 -b 10.0.0.1 host", "B=eth0 b=10.0.0.1 <host>"],
    ["-c aes128-ctr -m hmac-sha2-256 host", "c=aes128-ctr m=hmac-sha2-256 <host>"],
    ["-D 1080 -L 1:a:2 -R2:b:3 host", "D=1080 L=1:a:2 R=2:b:3 <host>"],
    ["-E log -I lib.so host", "E=log I=lib.so <host>"],
    ["-S none -O check host", "S=none O=check <host>"],
    ["-W a:22 host", "W=a:22 <host>"],
    ["-W[::1]:22 host", "W=[::1]:22 <host>"],
    ["-w 0:1 host", "w=0:1 <host>"],
    ["-Q cipher", "Q=cipher nowhere"],
    ["-P tag host", "P <tag> : host"],
  ],
  "groups that end in a value": [
    ["-4tp 22 host", "4 t p=22 <host>"],
    ["-4tp22 host", "4 t p=22 <host>"],
    ["-tl root host", "t l=root <host>"],
    ["-vlroot host", "v l=root <host>"],
    ["-NL 1:a:2 host", "N L=1:a:2 <host>"],
    ["-fNTMS sock host", "f N T M S=sock <host>"],
    ["-qoBatchMode=yes host", "q o=BatchMode=yes <host>"],
    ["-pv host", "p=v <host>"],
    ["-oo host", "o=o <host>"],
    ["-tp -4 host", "t p=-4 <host>"],
  ],
  "-o in its spellings": [
    ["-o Port=22 host", "o=Port=22 <host>"],
    ["-oPort=22 host", "o=Port=22 <host>"],
    [["-o", "Port 22", "host"], "o=Port 22 <host>"],
    [["-oPort 22", "host"], "o=Port 22 <host>"],
    [["-o", "Port = 22", "host"], "o=Port = 22 <host>"],
    ["-o Port 22 host", "o=Port <22> : host"],
    ["-oA=b -oC=d host", "o=A=b o=C=d <host>"],
    ["-o -oX=y host", "o=-oX=y <host>"],
  ],
  "options after the destination": [
    ["host -p 22", "<host> p=22"],
    ["host -p22 ls", "<host> p=22 : ls"],
    ["host -t top -d 1", "<host> t : top -d 1"],
    ["-p 22 host -t cmd -l x", "p=22 <host> t : cmd -l x"],
    ["host -4 -6 -l a ls -l b", "<host> 4 6 l=a : ls -l b"],
    ["host -l a user@other -l b", "<host> l=a : user@other -l b"],
    ["host -oA=b -- ls", "<host> o=A=b : ls"],
    ["host -v", "<host> v"],
    ["-A u@h -A", "A <u@h> A"],
  ],
  "-- before and after the destination": [
    ["-- host", "<host>"],
    ["-- host -x", "<host> : -x"],
    ["-- host -- x", "<host> : -- x"],
    ["-4 -- host -p 22", "4 <host> : -p 22"],
    ["-- -host", "<-host>"],
    ["-- -- x", "<--> : x"],
    ["host --", "<host>"],
    ["host -- -x", "<host> : -x"],
    ["host -- -- -x", "<host> : -- -x"],
    ["host -t -- -x", "<host> t : -x"],
    ["host cmd -- x", "<host> : cmd -- x"],
    // ssh.c looks at the word before the destination, whatever it was for.
    ["-l -- host -p 22", 'Cannot parse option "-l" with the value "--"'],
    ["host -l --", 'Cannot parse option "-l" with the value "--"'],
    ["-l-- host -p 22", "l=-- <host> p=22"],
  ],
  "calls by other programs": [
    [
      "-x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none -oRequestTTY=no " +
      "-l u -s -- host sftp",
      "x o=PermitLocalCommand=no o=ClearAllForwardings=yes o=RemoteCommand=none o=RequestTTY=no " +
      "l=u s <host> : sftp",
    ],
    [["-oForwardX11 no", "-s", "host", "sftp"], "o=ForwardX11 no s <host> : sftp"],
    [
      ["-o", "SendEnv=GIT_PROTOCOL", "git@host", "git-upload-pack 'a/b'"],
      "o=SendEnv=GIT_PROTOCOL <git@host> : git-upload-pack 'a/b'",
    ],
    ["-l u host rsync --server -e.LsfxCIvu . /x", "l=u <host> : rsync --server -e.LsfxCIvu . /x"],
    ["-G git@host", "G <git@host>"],
    ["-o ControlPersist", "o=ControlPersist nowhere"],
    ["-n -S none -tt h -- mosh-server new", "n S=none t t <h> : mosh-server new"],
    ["-W [h]:22 jump", "W=[h]:22 <jump>"],
  ],
  "no destination": [
    ["", "nowhere"],
    ["-V", "V nowhere"],
    ["-v -4", "v 4 nowhere"],
    ["-p 22", "p=22 nowhere"],
    ["--", "nowhere"],
    ["-4 --", "4 nowhere"],
  ],
  "what ssh refuses": [
    ["-z host", 'Cannot parse option "-z"'],
    ["-4z host", 'Cannot parse option "-z"'],
    ["-9 host", 'Cannot parse option "-9"'],
    ["-: host", 'Cannot parse option "-:"'],
    ["-é host", 'Cannot parse option "-é"'],
    ["--help", 'Cannot parse option "--"'],
    ["host --help", 'Cannot parse option "--"'],
    ["-4- host", 'Cannot parse option "--"'],
    ["host -z", 'Cannot parse option "-z"'],
    ["-p", 'Cannot parse option "-p" without a value'],
    ["-4p", 'Cannot parse option "-p" without a value'],
    ["host -l", 'Cannot parse option "-l" without a value'],
    // A flag and more flags until 9.3, a value since 9.4.
    ["-Prag host", 'Cannot parse option "-r"'],
    ["-4: host", 'Cannot parse option "-:"'],
  ],
};

for (const [name, rows] of Object.entries(TABLE)) {
  Deno.test(`parseSshArgs reads ${name}`, () => {
    for (const [words, expected] of rows) {
      assert.equal(show(argvOf(words)), expected, `ssh ${words}`);
    }
  });
}

Deno.test("parseSshArgs counts the words up to the destination and leaves argv alone", () => {
  for (const [words] of Object.values(TABLE).flat()) {
    const argv = Object.freeze(argvOf(words));
    const args = parseSshArgs(argv);
    if (args.kind !== "call") continue;
    assert.equal(argv[args.leading - 1], args.destination, `ssh ${words}`);
    const all = withoutOptions(args, () => false);
    assert.deepEqual([...all, ...args.command], argv, `ssh ${words}`);
    assert.deepEqual(args.command, argv.slice(argv.length - args.command.length), `ssh ${words}`);
  }
});

Deno.test("parseConfigOption reads every spelling that readconf.c does", () => {
  const rows: [text: string, key: string, value: string][] = [
    ["Port=22", "port", "22"],
    ["port 22", "port", "22"],
    ["PORT\t22", "port", "22"],
    ["Port = 22", "port", "22"],
    ["Port =22", "port", "22"],
    ["Port= 22 ", "port", "22"],
    ["  Port=22", "port", "22"],
    ["=Port 22", "port", "22"],
    ['Port "22"', "port", "22"],
    ['Port = "22"', "port", "22"],
    ["Port='22'", "port", "22"],
    ['"Port" 22', "port", "22"],
    ["Port==22", "port", "=22"],
    ["Port", "port", ""],
    ["", "", ""],
    ["# Port 22", "", ""],
    ["Port 22 # the usual", "port", "22"],
    ["Port 22#1", "port", "22#1"],
    ["SendEnv LANG  LC_*", "sendenv", "LANG LC_*"],
    ['IdentityFile "a b"', "identityfile", "a b"],
    ["IdentityFile a\\ b", "identityfile", "a b"],
    ['IdentityFile "a\\"b"', "identityfile", 'a"b'],
    ["IdentityFile a\\b", "identityfile", "a\\b"],
    ['ProxyCommand=nc "%h"  %p # x', "proxycommand", 'nc "%h"  %p # x'],
    ["RemoteCommand == a  b", "remotecommand", "a  b"],
    ["ControlMaster=no", "controlmaster", "no"],
  ];
  for (const [text, key, value] of rows) {
    assert.deepEqual(parseConfigOption(text), { key, value }, `-o ${text}`);
  }
});

Deno.test("hostOf reads user@host and ssh://, and returns what ssh refuses unchanged", () => {
  const rows: [text: string, host: string][] = [
    ["host", "host"],
    ["user@host", "host"],
    ["a@b@host", "host"],
    ["user@", ""],
    ["@host", "@host"],
    ["host:22", "host:22"],
    ["::1", "::1"],
    ["u@fe80::1%eth0", "fe80::1%eth0"],
    ["-", "-"],
    ["ssh://host", "host"],
    ["ssh://host/", "host"],
    ["ssh://host:2200", "host"],
    ["ssh://host:ssh/", "host"],
    ["ssh://ann;x=y@host:", "host"],
    ["ssh://a%40b@[::1]:22/", "::1"],
    ["ssh://", "ssh://"],
  ];
  for (const [text, host] of rows) assert.equal(hostOf(text), host, text);
});
