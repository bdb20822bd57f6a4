// Shows an installation on a terminal: one line per step with what is being done, the bytes where
// they are known and the time. A terminal that cannot redraw gets each line when its step is over.
import { stripVTControlCharacters } from 'node:util';
import picocolors from 'picocolors';
import { type KtxOutput, columnsOf, hasColors, isInteractive } from './io.js';
import type { OnProgress, ProgressEvent } from './types.js';

/** Progress on a terminal. */
export interface InstallProgress {
  onProgress: OnProgress;
  /** Ends the line that is being drawn. */
  close(outcome: 'done' | 'failed'): void;
}

interface Step {
  preset: string;
  startedAt: number;
  detail: string;
  bytes: string;
}

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const REDRAW_MS = 100;
const NAME_COLUMNS = 8;
const ERASE_LINE = '\r\x1b[2K';

/** Starts showing progress; nothing is drawn before the first event. */
export function createInstallProgress(output: KtxOutput): InstallProgress {
  const colors = picocolors.createColors(hasColors(output));
  const live = isInteractive(output);
  let step: Step | undefined;
  let timer: NodeJS.Timeout | undefined;
  let frame = 0;

  const draw = (): void => {
    if (step === undefined) return;
    const mark = colors.cyan(FRAMES[frame++ % FRAMES.length] ?? '');
    output.write(`${ERASE_LINE}${mark} ${line(step, columnsOf(output))}`);
  };
  const finish = (mark: string): void => {
    clearInterval(timer);
    timer = undefined;
    if (step === undefined) return;
    output.write(`${live ? ERASE_LINE : ''}${mark} ${line(step, columnsOf(output))}\n`);
    step = undefined;
  };

  return {
    onProgress(event) {
      if (step?.preset !== event.preset) {
        finish(colors.green('✓'));
        step = { preset: event.preset, startedAt: Date.now(), detail: '', bytes: '' };
      }
      update(step, event);
      if (event.state === 'finished') return finish(colors.green('✓'));
      if (!live) return;
      timer ??= setInterval(draw, REDRAW_MS).unref();
      draw();
    },
    close(outcome) {
      finish(outcome === 'done' ? colors.green('✓') : colors.red('✗'));
    },
  };
}

function update(step: Step, { detail, bytes, totalBytes }: ProgressEvent): void {
  if (detail !== undefined) step.detail = oneLine(detail);
  if (bytes === undefined) return;
  const done = formatBytes(bytes);
  step.bytes = totalBytes === undefined ? done : `${done} of ${formatBytes(totalBytes)}`;
}

// The mark, a space, and the last column, which makes some terminals wrap.
const RESERVED_COLUMNS = 3;

function line(step: Step, columns: number): string {
  const elapsed = `${((Date.now() - step.startedAt) / 1000).toFixed(1)} s`;
  const join = (detail: string): string =>
    [step.preset.padEnd(NAME_COLUMNS), detail, step.bytes, elapsed]
      .filter((part) => part !== '')
      .join('  ');
  const excess = join(step.detail).length - (columns - RESERVED_COLUMNS);
  return excess > 0 ? join(clip(step.detail, step.detail.length - excess)) : join(step.detail);
}

function clip(text: string, length: number): string {
  return length > 1 ? `${text.slice(0, length - 1)}…` : '';
}

// What other programs say must not move the cursor.
function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return stripVTControlCharacters(text).replace(/[\u0000-\u001f\u007f]+/g, ' ').trim();
}

function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1_000_000) return `${(bytes / 1000).toFixed(0)} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}
