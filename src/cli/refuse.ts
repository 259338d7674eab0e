/** The command line or the configuration is wrong; cli.ts has the other exit codes. */
export const REFUSED = 2;

/** refuse says why a command of this folder has done nothing, and makes the exit code 2. */
export function refuse(...lines: string[]): void {
  process.stderr.write(`${lines.join('\n')}\n`);
  process.exitCode = REFUSED;
}
