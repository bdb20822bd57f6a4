// Runs Python in a process of its own, from wherever a package manager keeps the package.
import { PythonRuntime } from 'PACKAGE';

const runtime = await PythonRuntime.ensure();
console.log((await runtime.execute('6*7')).value);
