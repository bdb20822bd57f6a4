// Faults as data: what is done to ktx, what must hold then, and what was seen.
import { test } from 'vitest';

/** A line of the table of faults. */
export interface Fault {
  /** What the fault strikes, as in the table. */
  area: 'install' | 'asset' | 'uv' | 'status' | 'prune' | 'daemon' | 'exec' | 'cli';
  /** What `cargo xtask faults --only` calls it: words with dashes. */
  name: string;
  fault: string;
  required: string;
  /** Why it cannot be done here; `undefined` if it can. */
  missing?: string | undefined;
}

/** What came of a fault for which everything held that must. */
export interface Seen {
  /** How often it was done. */
  times: number;
  /** A sentence with the figures. */
  seen: string;
}

declare module 'vitest' {
  interface TaskMeta {
    fault?: Fault & Partial<Seen>;
  }
}

/** Whether everything is tried, or what fits into the tests that always run. */
export const isFull = process.env['KTX_FAULTS'] === 'full';

/** The one of two numbers that this run is to use. */
export function amount(quick: number, full: number): number {
  return isFull ? full : quick;
}

/** Declares a row; what `inject` throws is what did not hold. */
export function fault(row: Fault, inject: () => Promise<Seen>): void {
  test(row.name, async ({ task, skip }) => {
    task.meta.fault = row;
    skip(row.missing !== undefined, row.missing);
    task.meta.fault = { ...row, ...(await inject()) };
  });
}
