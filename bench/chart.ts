/** The results as an SVG: a panel for each case, a bar for each way. Pure. */
import { number } from "./report.ts";
import { ratio, type Row, type Table } from "./table.ts";

/** The panels, two in a row; those that were not run are left out. */
const PANELS = [
  ["warm/steady", "warm/far"],
  ["first/near", "first/far"],
  ["simultaneous/some/delivered", "simultaneous/some/200"],
  ["first/inner", "warm/inner"],
  ["git-fetch/near", "git-fetch/far"],
  ["recovery/idle/1", "recovery/open/1"],
];

const WIDTH = 940;
const MARGIN = 20;
const PANEL = (WIDTH - 3 * MARGIN) / 2;
/** The widths of the names and the figures beside the bars. */
const NAMES = 172;
const FIGURES = 140;
const BAR = 16;
const STEP = 24;
const HEAD = 34;

const STYLE = `
    text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2328; }
    .title, .head { font-weight: 600; } .head { font-size: 17px; }
    .small { fill: #59636e; font-size: 12px; }
    .page { fill: #ffffff; } .ours { fill: #0969da; } .other { fill: #afb8c1; }
    .spread { stroke: #1f2328; stroke-opacity: 0.55; stroke-width: 1.5; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; } .small { fill: #9198a1; }
      .page { fill: #0d1117; } .ours { fill: #4493f8; } .other { fill: #59636e; } .spread { stroke: #f0f6fc; }
    }`;

/** Returns the chart of a run, with `about` below it. */
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
  const most = Math.max(...table.rows.map(({ cells: [first] }) => first.p90));
  const scale = (PANEL - NAMES - FIGURES) / most;
  return [
    `  <text class="title" x="${left}" y="${top + 18}">${escape(table.title)}</text>`,
    ...table.rows.map((row, i) => bar(table, row, left + NAMES, top + HEAD + i * STEP, scale)),
  ].join("\n");
}

function bar(table: Table, row: Row, x: number, top: number, scale: number): string {
  const [{ median, p10, p90 }] = row.cells;
  const middle = top + BAR / 2;
  const [from, to] = [p10, p90].map((value) => (x + value * scale).toFixed(1));
  const width = Math.max(median * scale, 1).toFixed(1);
  const end = (x + Math.max(median, p90) * scale + 7).toFixed(1);
  return `  <text x="${x - 8}" y="${middle + 4}" text-anchor="end">${escape(row.name)}</text>
  <rect class="${
    row.name.startsWith("sshs") ? "ours" : "other"
  }" x="${x}" y="${top}" width="${width}" height="${BAR}" rx="2"/>
  <line class="spread" x1="${from}" x2="${to}" y1="${middle}" y2="${middle}"/>
  <text class="small" x="${end}" y="${middle + 4}">${time(median)}${factor(table, row)}</text>`;
}

/** Returns the factor, and the calls that failed: a way that loses calls is not fast. */
function factor(table: Table, row: Row): string {
  const column = table.columns.findIndex(({ name }) => /^failed|^without/.test(name));
  const lost = column < 0 ? 0 : row.cells[column].median;
  const times = row === table.rows[0] ? undefined : ratio(table, row);
  return (times === undefined ? "" : `, ${times.toFixed(2)} x`) +
    (lost > 0 ? `, ${number(lost, "")} failed` : "");
}

function time(ms: number): string {
  return ms >= 1000 ? `${number(ms / 1000, "s")} s` : `${number(ms, "ms")} ms`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
