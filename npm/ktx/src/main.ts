// The `ktx` file: gives `runKtxCli` the process's streams and signals, and takes its exit code.
import { runKtxCli } from './index.js';
import { processIo } from './process-io.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
type EndingSignal = (typeof SIGNALS)[number];

// How long the clean-up after a signal may take before the process ends regardless.
const CLEAN_UP_MS = 10_000;
const SIGNALLED = 128;

let endedBy: EndingSignal | undefined;

async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let deadline: NodeJS.Timeout | undefined;
  const onSignal = (name: EndingSignal): void => {
    if (endedBy !== undefined) return endNow(name);
    endedBy = name;
    deadline = setTimeout(() => endNow(name), CLEAN_UP_MS);
    controller.abort(new Error(`Received ${name}`));
  };
  const endNow = (name: EndingSignal): void => {
    for (const signal of SIGNALS) process.off(signal, onSignal);
    process.kill(process.pid, name);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(deadline);
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

async function main(): Promise<void> {
  const exitCode = await runKtxCli(process.argv.slice(2), processIo(), { interruptible });
  if (endedBy === undefined || exitCode === 0) {
    process.exitCode = exitCode;
    return;
  }
  const { constants } = await import('node:os');
  process.exitCode = SIGNALLED + constants.signals[endedBy];
}

void main();
