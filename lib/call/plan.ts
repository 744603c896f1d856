/**
 * A plan: what the launcher does with the same arguments from now on, without the program. It is sh text that
 * the launcher sources: tests of everything that the decision depends on, and then what to do.
 */
import { plansDir } from "../lane/layout.ts";
import { isSystemError, makeDir, removePath, writeWhole } from "../os/files.ts";
import { quote, VERSION } from "../os/program.ts";
import { OF_SESSION } from "../ssh/environment.ts";
import { SMALL_ENVIRONMENT } from "../ssh/request_size.ts";
import type { Watches } from "../ssh/watches.ts";
import { checksumOf, type Conditions } from "./conditions.ts";

/**
 * How far a plan is backdated from when its configuration was read, in ms. Some shells compare whole
 * seconds, so a file that changes in the second after the read must count as newer.
 */
const BACKDATE = 2000;

/**
 * Builds the plan for a key: tests joined by `&&`, and the answer. Before each test sshs_void gets the name of
 * what is tested, so a test that fails leaves it there. The launcher sources the text, so everything in it
 * that is not ours is quoted. Returns `undefined` if something cannot be quoted, a path is not absolute, or a
 * name is not a variable's. Without watches the plan holds only for calls that waited for this answer, which
 * `asker` (a pid) requested.
 */
export function planText(
  key: string,
  conditions: Conditions,
  answer: string,
  asker?: number,
): string | undefined {
  const { environment, job, lapses, sent, watches } = conditions;
  const place = quote([VERSION, key, job].join("/"));
  const files = watches
    ? watchTests(watches)
    : asker && ["sshs_void=now", `[ "$sshs_asked" = ${asker} ]`];
  const names = [...Object.keys(environment), ...(sent === "all" ? [] : sent)];
  const variables = environmentTests(conditions);
  if (!place || !files || !variables || environment.PATH === undefined) return undefined;
  if (!names.every((name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name))) return undefined;
  const lengths = sent === "all" ? [] : sent.map((name) => `\${#${name}}`);
  const time = `"$sshs_dir/${lapses}"`;
  const tests = [
    "sshs_void=sshs",
    `[ "$sshs_version/$sshs_key/$sshs_job" = ${place} ]`,
    ...variables,
    ...(lengths.length > 0
      ? ["sshs_void=SendEnv", `[ $((${lengths.join(" + ")})) -le ${SMALL_ENVIRONMENT} ]`]
      : []),
    ...(conditions.isWhole || sent === "all" ? exportTests(conditions) : []),
    ...(lapses
      ? [
        "sshs_void=time",
        `[ -e ${time} ]`,
        'true >"$sshs_dir/used"',
        `[ ${time} -nt "$sshs_dir/used" ]`,
      ]
      : []),
    ...files,
    "sshs_void=",
  ];
  // In braces, so that nothing runs unless the whole plan is there.
  return `{\n${tests.join(" &&\n")} ||\nreturn\n${answer}}\n`;
}

/** Returns the tests of variables; `undefined` if a value cannot be quoted. */
function environmentTests({ environment, hidden }: Conditions): string[] | undefined {
  const all = Object.entries(environment);
  const unset = all.filter(([, value]) => value === undefined).map(([name]) => name);
  const set = all.flatMap(([name, value]) =>
    value === undefined ? [] : [{ name, value: quote(value) }]
  );
  if (set.some(({ value }) => value === undefined)) return undefined;
  return [
    // ssh treats an empty variable as unset, if it reads any of these.
    `sshs_void="${unset.map((name) => `\${${name}:+${name} }`).join("")}"`,
    '[ -z "$sshs_void" ]',
    ...set.flatMap(({ name, value }) => [`sshs_void=${name}`, `[ "\${${name}-}" = ${value} ]`]),
    ...(hidden
      ? [
        `sshs_void='${hidden.names.join(" ")}'`,
        `[ "$(${checksumOf(hidden.names)})" = '${hidden.sum}' ]`,
      ]
      : []),
  ];
}

/**
 * Returns the tests that need the whole environment: that it is small enough to be sent, and that it has no
 * variable which the plan does not know. They fork once.
 */
function exportTests({ environment, hidden, isWhole, sent }: Conditions): string[] {
  const known = [...Object.keys(environment), ...hidden?.names ?? [], ...OF_SESSION].join(" | ");
  return [
    "sshs_void=environment",
    "sshs_line=$(export -p)",
    ...(sent === "all" ? [`[ \${#sshs_line} -le ${SMALL_ENVIRONMENT} ]`] : []),
    ...(isWhole
      ? [
        "sshs_void= sshs_word=$IFS IFS='\n'",
        `{ set -f
for sshs_line in $sshs_line; do
  case $sshs_line in
  export\\ * | declare\\ -*\\ * | typeset\\ -*\\ *) sshs_line=\${sshs_line%%=*} ;;
  *) continue ;; # of a value
  esac
  case \${sshs_line##* } in
  ${known} | *%%*) ;;
  *) sshs_void="$sshs_void\${sshs_line##* } " ;;
  esac
done
IFS=$sshs_word
set +f
[ -z "$sshs_void" ]; }`,
      ]
      : []),
  ];
}

/**
 * Returns the watches as sh tests, all of which must be true for the plan to hold; `$sshs_plan` is the plan's
 * file. Returns `undefined` if a path is not absolute or cannot be quoted. Each test checks with `-e` the
 * files that it compares: if one is missing, -nt and -ot are true in one shell and false in another.
 */
export function watchTests(watches: Watches): string[] | undefined {
  let isWritable = true;
  const q = (path: string) => {
    const word = path.startsWith("/") ? quote(path) : undefined;
    isWritable &&= word !== undefined;
    return word;
  };
  const it = '"$sshs_void"';
  const tests = [
    ...watches.same.flatMap(({ path, stamp }) => {
      const time = q(stamp);
      return [
        `sshs_void=${q(path)}`,
        `[ -e ${it} ] && [ -e ${time} ] && [ ! ${it} -nt ${time} ] && [ ! ${it} -ot ${time} ]`,
      ];
    }),
    ...watches.absent.flatMap((path) => [`sshs_void=${q(path)}`, `[ ! -e ${it} ]`]),
    ...watches.newer.flatMap((path) => [
      `sshs_void=${q(path)}`,
      `[ -e ${it} ] && [ ! ${it} -nt "$sshs_plan" ]`,
    ]),
    ...watches.pins.flatMap(({ link, target }) => [
      `sshs_void=${q(link)}`,
      `[ ${it} -ef ${q(target)} ]`,
    ]),
  ];
  return isWritable ? tests : undefined;
}

/**
 * Writes the plan to `<stateDir>/plans`, all or nothing, readable only by its owner. `key` is a path of one or
 * several names. `since` is when the configuration was read (ms since the epoch, taken before `ssh -G`
 * starts): any later change makes the plan void. Does without a plan that the system refuses to write.
 */
export function writePlan(stateDir: string, key: string, text: string, since: number): void {
  const names = key.split("/");
  if (names.some((name) => ["", ".", ".."].includes(name))) return;
  const path = `${plansDir(stateDir)}/${key}`;
  try {
    for (let i = 0; i < names.length; i++) {
      makeDir([plansDir(stateDir), ...names.slice(0, i)].join("/"));
    }
    writeWhole(path, text, { mtime: since - BACKDATE });
  } catch (error) {
    if (!isSystemError(error)) throw error;
    removePath(path);
  }
}
