/** A backend that echoes WebSocket messages of 1 KiB, and the load for it; both are web-socket-echo.c. */

import { runToEnd } from '../../test/support/child.ts';
import { freePort } from '../../test/support/free-port.ts';
import { makeTempFolder, removeTempFolder } from '../../test/support/temp-folder.ts';
import { compile } from './compile.ts';
import type { LoadCounts } from './load.ts';
import { launch, serverOf, untilServes } from './process.ts';

export interface WebSocketEcho {
  port: number;
  /** load keeps one message under way on each connection. `requests` are messages that came back. */
  load(port: number, connections: number, durationSec: number): Promise<LoadCounts>;
  stop(): Promise<void>;
}

/** startWebSocketEcho also answers GET /tiny, so that a balancer in front of it can be asked whether it serves. */
export async function startWebSocketEcho(): Promise<WebSocketEcho> {
  const { program, remove } = compile('web-socket-echo.c');
  const folder = makeTempFolder('sluice-bench-');
  const port = await freePort();
  const child = launch({ name: 'echo', folder, command: program, args: ['serve', String(port)] });
  const facts = { name: 'echo', folder, port, command: '' };
  await untilServes(child, facts, '/tiny');
  return {
    port,
    async load(target, connections, durationSec) {
      const words = ['load', target, connections, durationSec].map(String);
      const { code, stdout, stderr } = await runToEnd(program, words, {
        timeoutMs: (durationSec + 20) * 1_000,
      });
      if (code !== 0) throw new Error(`web-socket-echo failed (${code}): ${stderr.join('\n')}`);
      return JSON.parse(stdout[0] ?? '') as LoadCounts;
    },
    async stop() {
      await serverOf(child, facts).stop();
      removeTempFolder(folder);
      remove();
    },
  };
}
