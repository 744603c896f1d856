/** What the doctor has found, and how it is shown. */
import { cell, colour } from "./table.ts";

export interface Finding {
  readonly ok: boolean;
  readonly text: string;
  /** The next thing to type or to do, where something is wrong. */
  readonly next?: string;
}

export function ok(text: string): Finding {
  return { ok: true, text };
}

export function warn(text: string, next: string): Finding {
  return { ok: false, text, next };
}

/** A finding as lines. */
export function findingLines({ ok, text, next }: Finding): string[] {
  const mark = ok ? colour("ok  ", "green") : colour("warn", "yellow");
  const lines = [`${mark}  ${cell(text)}`];
  return next === undefined ? lines : [...lines, `        ${cell(next)}`];
}
