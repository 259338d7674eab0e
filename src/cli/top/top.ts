/** `sluice top`: a running Sluice, live in a terminal, or as plain blocks or lines of JSON where there is none. */
import type { Command } from 'commander';
import { jsonText, printable } from '../../contract/json-text.ts';
import { sectionsOf } from '../screen.ts';
import { addTarget, type ConfigPath, type Session } from '../session.ts';
import { linesOf } from '../table.ts';
import { follow, type Look } from './follow.ts';

/** addTop gives the command `top` its options and its action; for cli.ts. */
export function addTop(command: Command, configPath: ConfigPath): void {
  const open = addTarget(command, configPath);
  command.option('--once', 'print one block and end').action(async ({ once = false }: { once?: boolean }) => {
    const session = await open();
    if (once || session.json || !process.stdout.isTTY || !process.stdin.isTTY)
      return printLooks(session, once);
    // Loaded only here, because it takes longer than all the rest.
    const { showTop } = await import('./view.ts');
    return showTop(session.target);
  });
}

/** A block, or with --json a line, per second until a signal ends the process. */
async function printLooks(session: Session, once: boolean): Promise<void> {
  const ended = new AbortController();
  const onLook = (look: Look): void => {
    if (ended.signal.aborted) return;
    process.stdout.write(session.json ? `${jsonText(JSON.parse(look.raw))}\n` : `${blockOf(look)}\n\n`);
    if (once) ended.abort();
  };
  const onLost = (error: Error): void =>
    void process.stderr.write(`sluice: ${error.message}; trying again\n`);
  await follow(session.target, { onLook, onLost }, ended.signal);
}

function blockOf({ sample, senders }: Look): string {
  const lines = sectionsOf(sample, senders).flatMap((section) => linesOf(section, printable));
  return [new Date().toISOString(), ...lines.map(({ text }) => text)].join('\n');
}
