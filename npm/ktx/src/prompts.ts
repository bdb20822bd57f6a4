// Every question that the commands ask. They go to stderr, so that stdout stays data.
import { Writable } from 'node:stream';
import { confirm, isCancel } from '@clack/prompts';
import { KtxError } from './errors.js';
import { type KtxIo, type KtxOutput, columnsOf } from './io.js';

/** Says what the matter with the runtime is, and asks whether to install it now. */
export async function confirmInstall(problem: string, io: KtxIo): Promise<boolean> {
  const answer = await confirm({
    message: `${problem}. Install it now?`,
    input: io.stdin as NonNullable<Parameters<typeof confirm>[0]['input']>,
    output: writableOf(io.stderr),
  });
  if (isCancel(answer)) throw new KtxError('KTX_ABORTED', 'Cancelled');
  return answer;
}

function writableOf(output: KtxOutput): Writable {
  const writable = new Writable({
    decodeStrings: false,
    write(chunk, _encoding, done) {
      output.write(String(chunk));
      done();
    },
  });
  return Object.assign(writable, { isTTY: true, columns: columnsOf(output) });
}
