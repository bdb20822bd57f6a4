// What programs for Node use where there is no ktx, each doing one job and returning its value.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** An interpreter of its own for each call. */
export function interpreter(python) {
  return async (code) => {
    const { stdout } = await run(python, ['-I', '-c', `print(${code})`]);
    return Number(stdout);
  };
}

/** python-shell, which starts an interpreter for each call too. */
export async function pythonShell(python) {
  const { PythonShell } = await import('python-shell');
  return async (code) => {
    const [line] = await PythonShell.runString(`print(${code})`, { pythonPath: python });
    return Number(line);
  };
}

/** pythonia, a bridge to one interpreter that stays. */
export async function pythonia(python) {
  process.env.PYTHON_BIN = python;
  const bridge = await import('pythonia');
  const builtins = await bridge.python('builtins');
  return {
    call: (code) => builtins.eval(code),
    close: () => bridge.python.exit(),
  };
}

/** A FastAPI server that runs the code of a request's body. */
export async function fastApi(python, program) {
  const server = spawn(python, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = await once(createInterface(server.stdout), 'line');
  const headers = { 'content-type': 'application/json' };
  return {
    call: async (code) => {
      const body = JSON.stringify({ code });
      const response = await fetch(`http://127.0.0.1:${port}/execute`, { method: 'POST', headers, body });
      const { value } = await response.json();
      return value;
    },
    close: async () => {
      server.kill();
      await once(server, 'close');
    },
  };
}
