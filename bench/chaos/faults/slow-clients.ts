/** Thousands of clients that send or read as slowly as they may, beside honest ones. */
import { fileURLToPath } from 'node:url';
import { spawnChild } from '../../../test/support/child.ts';
import { compile, compilerMissing } from '../../rig/compile.ts';
import { nowMs } from '../../rig/outcomes.ts';
import { atMost, type Fault } from '../fault.ts';
import { rssMiB } from '../resources.ts';
import { calm, noneFailed, type Stage } from '../stage.ts';

const PROGRAM = fileURLToPath(new URL('../slow-clients.ts', import.meta.url));
const OPEN_MS = 60_000;
/** 64 KiB of the answer that a client does not take, and the two connections. */
const MOST_KIB_EACH = 96;

function slow(mode: 'header' | 'body' | 'read'): Fault {
  return {
    name: `slow-${mode}`,
    title: `slow-${mode}, 4,000 connections`,
    missing: mode === 'read' ? compilerMissing : undefined,
    async run(stage) {
      const count = stage.of(4_000, 200);
      const subject = await stage.subject(await stage.backends());
      const load = await stage.load(subject);
      const quiet = await stage.quiet(load);
      const before = rssMiB(subject);
      const shell = 'ulimit -n "$(ulimit -Hn)"; exec "$0" "$@"';
      const words =
        mode === 'read'
          ? [readers(stage), String(subject.port), String(count)]
          : [process.execPath, PROGRAM, String(subject.port), mode, String(count)];
      const crowd = spawnChild('/bin/sh', ['-c', shell, ...words]);
      stage.defer(() => crowd.kill());
      await crowd.waitForLine('open', { timeoutMs: OPEN_MS });
      const from = nowMs();
      await stage.pause(stage.of(15, 2));
      const during = await load.settled(from, nowMs());
      const kibEach = Math.max(0, ((rssMiB(subject) - before) * 1_024) / count);
      return [
        noneFailed(during, 'all honest requests succeed'),
        calm(during, quiet, 2),
        atMost(`memory ≤ ${MOST_KIB_EACH} KiB each`, kibEach, MOST_KIB_EACH, { unit: ' KiB', digits: 1 }),
      ];
    },
  };
}

/** readers builds the program of slow readers. @returns its path */
function readers(stage: Stage): string {
  const { program, remove } = compile('slow-readers.c');
  stage.defer(remove);
  return program;
}

export const slowClients: readonly Fault[] = [slow('header'), slow('body'), slow('read')];
