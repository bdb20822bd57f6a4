// placeholder
import type { Command } from 'commander';
import type { Shell } from './program.js';
export function completionScript(_program: Command, _shell: Shell): string { return ''; }
