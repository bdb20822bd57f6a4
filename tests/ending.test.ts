// Installations that are ended from outside, at any moment.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { uvThatStopsBefore } from './support/fakes.js';
import { eventually } from './support/processes.js';
import { injected, missing, mostFrequent, tracedAlone } from './support/system.js';
import { User, temporaryDirectory } from './support/user.js';

const MOMENTS = 8;

/** Moments spread over the time that an installation takes, none of them exact. */
async function moments(user: User): Promise<number[]> {
  const begun = performance.now();
  await user.install(['--force']);
  const took = performance.now() - begun;
  return Array.from({ length: MOMENTS }, (_, k) => ((k + Math.random()) / MOMENTS) * took);
}

async function expectHealthy(user: User, note: string): Promise<void> {
  expect((await user.status()).kind, note).toBe('ready');
  await user.expectRuns();
}

const settled = [expect.stringMatching(/^\.venv/), 'install.log', 'manifest.json'];

describe('kill -9', () => {
  test('of everything in a forced reinstallation leaves the old runtime ready', async () => {
    const user = new User();
    for (const moment of await moments(user)) {
      const running = user.start(['runtime', 'install', '--force', '--yes']);
      await new Promise((resolve) => setTimeout(resolve, moment));
      user.killProcesses();
      await running.finished;
      await expectHealthy(user, `killed after ${moment} ms`);
      expect(await user.install()).toMatch(/^Using existing/);
    }
    expect(await user.install(['--force'])).toMatch(/^Installed/);
    expect(user.entries()).toEqual(settled);
  });

  test('of everything in a first installation leaves nothing that passes for ready', async () => {
    for (const moment of await moments(new User())) {
      const user = new User();
      const running = user.start(['runtime', 'install', '--yes']);
      await new Promise((resolve) => setTimeout(resolve, moment));
      user.killProcesses();
      await running.finished;
      const { kind } = await user.status();
      if (kind === 'ready') await user.expectRuns();
      else expect(kind, `killed after ${moment} ms`).toBe('missing');
      await user.install();
      expect(user.entries(), `killed after ${moment} ms`).toEqual(settled);
      await expectHealthy(user, `killed after ${moment} ms`);
    }
  });

  describe.skipIf(missing.strace)('of ktx', () => {
    const kinds = [
      'mkdir,mkdirat',
      'syncfs',
      'fsync',
      'rename,renameat,renameat2',
      'unlink,unlinkat',
    ];
    const trace = join(temporaryDirectory(), 'trace');

    beforeAll(async () => {
      const user = new User();
      await user.install();
      await user.install(['--force'], { through: tracedAlone(trace, kinds.join(',')) });
    });

    test.each([
      ['first', 'mkdir,mkdirat'],
      ['last', 'mkdir,mkdirat'],
      ['first', 'syncfs'],
      ['first', 'fsync'],
      ['first', 'rename,renameat,renameat2'],
      ['last', 'fsync'],
      ['first', 'unlink,unlinkat'],
      ['middle', 'unlink,unlinkat'],
      ['last', 'unlink,unlinkat'],
    ])('at its %s %s leaves a runtime ready', async (which, calls) => {
      const { call, count } = mostFrequent(trace, calls);
      expect(count).toBeGreaterThan(0);
      const when = which === 'first' ? 1 : which === 'last' ? count : Math.ceil(count / 2);
      const user = new User();
      await user.install();
      const killed = await user.ktx(['runtime', 'install', '--force', '--yes'], {
        through: injected(call, `signal=SIGKILL:when=${when}`),
      });
      expect(killed.stdout).toBe('');
      await expectHealthy(user, 'after the kill');
      await user.install();
      await user.install(['--force']);
      expect(user.entries()).toEqual(settled);
      await expectHealthy(user, 'after the next installation');
    });
  });

  test.each(['venv', 'pip install'] as const)(
    'of ktx alone, while uv lives on before `%s`, leaves the old runtime ready',
    async (words) => {
      const user = new User();
      await user.install();
      const running = user.start(['runtime', 'install', '--force', '--yes'], {
        env: { KTX_UV: uvThatStopsBefore(words) },
      });
      await eventually('uv runs', () => uvIsRunning(user));
      running.kill('SIGKILL');
      await running.finished;
      await expectHealthy(user, 'uv lives on');
      expect(await user.install(['--force'])).toMatch(/^Installed/);
      user.killProcesses();
      await expectHealthy(user, 'uv is gone');
      await user.install(['--force']);
      expect(user.entries()).toEqual(settled);
    },
  );
});

function uvIsRunning(user: User): boolean {
  return [...user.processes().values()].some((command) => command.startsWith('sleep'));
}

describe.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)('%s', (signal, code) => {
  test.each(['venv', 'pip install'] as const)(
    `before \`%s\` ends with ${code}, without children, attempt or lock`,
    async (words) => {
      const user = new User();
      await user.install();
      const before = user.entries();
      const running = user.start(['runtime', 'install', '--force', '--yes'], {
        env: { KTX_UV: uvThatStopsBefore(words) },
      });
      await eventually('uv runs', () => uvIsRunning(user));
      running.kill(signal);
      const done = await running.finished;
      expect(done).toMatchObject({ code, signal: null, stdout: '' });
      expect(user.processes()).toEqual(new Map());
      expect(user.entries()).toEqual(before);
      await expectHealthy(user, 'after the signal');
      await user.install(['--force']);
    },
  );
});

test('a second SIGINT ends at once', async () => {
  const user = new User();
  const running = user.start(['runtime', 'install', '--yes'], {
    env: { KTX_UV: uvThatStopsBefore('venv') },
  });
  await eventually('uv runs', () => uvIsRunning(user));
  running.kill('SIGINT');
  running.kill('SIGINT');
  const { code, signal } = await running.finished;
  expect(code === 130 || signal === 'SIGINT').toBe(true);
  user.killProcesses();
  await user.install();
});

test('Python ends with a command that is interrupted', async () => {
  const user = new User();
  await user.install();
  const begun = join(user.home, 'begun');
  const code = `open(${JSON.stringify(begun)}, 'w'); import time; time.sleep(600)`;
  const running = user.start(['exec', '-c', code]);
  await eventually('Python runs', () => existsSync(begun));
  running.kill('SIGINT');
  expect(await running.finished).toMatchObject({ code: 130 });
  await eventually('no process is left', () => user.processes().size === 0);
});

describe('a reader that is gone', () => {
  test.each([
    ['runtime', 'install', '--yes'],
    ['runtime', 'status', '--json'],
    ['exec', '-c', 'print("x" * 1_000_000)'],
  ])('is no failure of `%s %s %s`', async (...args) => {
    const user = new User();
    await user.install();
    const done = await user.ktx(args, { through: ['/bin/sh', '-c', '"$@" | /bin/true', 'sh'] });
    expect(done).toMatchObject({ code: 0, stderr: '' });
  });

  test('does not keep an installation from ending', async () => {
    const user = new User();
    const done = await user.ktx(['runtime', 'install', '--yes'], {
      through: ['/bin/sh', '-c', 'exec "$@" >&-', 'sh'],
    });
    expect(done.stderr).not.toMatch(/^ +at /m);
    await expectHealthy(user, 'stdout was closed');
  });
});
