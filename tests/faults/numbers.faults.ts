// Numbers of processes, which the system gives to others when their owners are gone.
import { join } from 'node:path';
import { expect } from 'vitest';
import { userWithRuntime } from '../support/daemons.js';
import { run } from '../support/processes.js';
import { amount, fault } from '../support/rows.js';
import { missing, withOwnNumbers } from '../support/system.js';
import { PACKAGE, suite } from '../support/user.js';

// A session whose process ends by itself, another one whose process gets its number, and the end of
// the first. The spare worker has a number already, so it takes some sessions until one has it.
const PROGRAM = `
  const { writeFileSync } = require('node:fs');
  const { setTimeout: wait } = require('node:timers/promises');
  const { PythonRuntime } = require('${PACKAGE}');
  const ENDS = 'import os, threading; threading.Timer(0.05, os._exit, [0]).start(); os.getpid()';
  void (async () => {
    const python = await (await PythonRuntime.ensure()).connect();
    for (let round = 0; round < Number(process.argv[1]); round += 1) {
      const first = await python.session('first-' + round);
      const { value: number } = await first.execute(ENDS);
      await wait(300);
      let second;
      for (let found; found !== number; found = (await second.execute('import os; os.getpid()')).value) {
        await second?.close();
        writeFileSync('/proc/sys/kernel/ns_last_pid', String(number - 1));
        second = await python.session('second-' + round);
      }
      await first.close();
      await wait(300);
      console.log((await second.execute('6*7')).value);
      await second.close();
    }
    await python.close();
  })();`;

fault(
  {
    area: 'exec',
    name: 'number-of-another',
    fault: 'a session is closed whose process ended by itself and whose number is another session’s by now',
    required: 'the other one lives on',
    missing: missing.numbers,
  },
  async () => {
    const user = await userWithRuntime();
    const times = amount(2, 20);
    const [program = '', ...args] = [...withOwnNumbers, join(suite.path, 'node'), '-e', PROGRAM];
    const done = await run(program, [...args, String(times)], { env: user.env, cwd: suite.project });
    expect(done).toEqual({ code: 0, signal: null, stdout: '42\n'.repeat(times), stderr: '' });
    return { times, seen: `${times} other sessions answered` };
  },
);
