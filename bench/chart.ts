/** The results as an SVG: a panel for each case, a bar for each way. Pure. */
import { number } from "./report.ts";
import { ratio, type Row, type Table } from "./table.ts";
import { WAYS } from "./way.ts";

/** The panels, row by row; those that were not run are left out. */
const PANELS = [
  ["warm-call/loopback", "warm-call/far"],
  ["first-call/loopback", "first-call/far"],
  ["simultaneous/default", "simultaneous/200"],
  ["git-fetch/loopback", "git-fetch/far"],
  ["rsync-twice/loopback", "rsync-twice/far"],
];

const WIDTH = 940;
const MARGIN = 20;
const PANEL = (WIDTH - 3 * MARGIN) / 2;
/** What the names and the figures beside the bars take. */
const NAMES = 158;
const FIGURES = 148;
const BAR = 16;
const STEP = 24;
const HEAD = 34;

const OURS: readonly string[] = [WAYS.launcher, WAYS.slow];

const STYLE = `
    text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2328; }
    .title { font-weight: 600; }
    .head { font-size: 17px; font-weight: 600; }
    .figure, .small { fill: #59636e; font-size: 12px; }
    .page { fill: #ffffff; }
    .ours { fill: #0969da; }
    .other { fill: #afb8c1; }
    .spread { stroke: #1f2328; stroke-opacity: 0.55; stroke-width: 1.5; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .figure, .small { fill: #9198a1; }
      .page { fill: #0d1117; }
      .ours { fill: #4493f8; }
      .other { fill: #59636e; }
      .spread { stroke: #f0f6fc; }
    }`;

/** The chart of a run. `about` stands below it. */
export function chart(tables: readonly Table[], about: string): string {
  const parts: string[] = [];
  let top = 62;
  for (const ids of PANELS) {
    const panels = ids.flatMap((id) => tables.find((table) => table.id === id) ?? []);
    if (panels.length === 0) continue;
    panels.forEach((table, i) => parts.push(panel(table, MARGIN + i * (PANEL + MARGIN), top)));
    top += HEAD + STEP * Math.max(...panels.map(({ rows }) => rows.length)) + 16;
  }
  const height = top + 22;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Benchmarks of sshs against its peers">
  <style>${STYLE}
  </style>
  <rect class="page" width="${WIDTH}" height="${height}" rx="8"/>
  <text class="head" x="${MARGIN}" y="32">Wall time, median of all runs: shorter is better</text>
  <text class="small" x="${MARGIN}" y="50">The line on a bar spans p10 to p90. The factor is to the first way of the panel.</text>
${parts.join("\n")}
  <text class="small" x="${MARGIN}" y="${height - 14}">${escape(about)}</text>
</svg>
`;
}

function panel(table: Table, left: number, top: number): string {
  const rows = table.rows.toSorted((a, b) => order(table, a) - order(table, b));
  const most = Math.max(...rows.map(({ cells: [first] }) => first.p90));
  const scale = (PANEL - NAMES - FIGURES) / most;
  return [
    `  <text class="title" x="${left}" y="${top + 18}">${escape(table.title)}</text>`,
    ...rows.map((row, i) => bar(table, row, left, top + HEAD + i * STEP, scale)),
  ].join("\n");
}

/** The way that the others are measured by comes first. */
function order(table: Table, row: Row): number {
  return row.name === table.baseline ? -1 : table.rows.indexOf(row);
}

function bar(table: Table, row: Row, left: number, top: number, scale: number): string {
  const [{ median, p10, p90 }] = row.cells;
  const x = left + NAMES;
  const middle = top + BAR / 2;
  const [from, to] = [p10, p90].map((value) => (x + value * scale).toFixed(1));
  const figure = `${time(median)}${factor(table, row)}`;
  const width = Math.max(median * scale, 1);
  const end = x + Math.max(median, p90) * scale + 7;
  return `  <text x="${x - 8}" y="${middle + 4}" text-anchor="end">${escape(row.name)}</text>
  <rect class="${OURS.includes(row.name) ? "ours" : "other"}" x="${x}" y="${top}" width="${
    width.toFixed(1)
  }" height="${BAR}" rx="2"/>
  <line class="spread" x1="${from}" x2="${to}" y1="${middle}" y2="${middle}"/>
  <text class="figure" x="${end.toFixed(1)}" y="${middle + 4}">${figure}</text>`;
}

/** Beside the factor the calls that failed: a way that loses calls is not fast. */
function factor(table: Table, row: Row): string {
  const failed = table.columns.findIndex(({ name }) => name === "failed calls");
  const lost = failed < 0 ? 0 : row.cells[failed].median;
  const times = row.name === table.baseline ? undefined : ratio(table, row);
  return (times === undefined ? "" : `, ${times.toFixed(2)} x`) +
    (lost > 0 ? `, ${number(lost, "")} failed` : "");
}

function time(ms: number): string {
  return ms >= 1000 ? `${number(ms / 1000, "s")} s` : `${number(ms, "ms")} ms`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
