import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from './wait.ts';

/** startSilentListener returns a port that answers no SYN: a stopped process listens on it and its accept queue is full. */
export async function startSilentListener(t: TestContext): Promise<number> {
  const program =
    "require('node:net').createServer().listen({port:0,host:'127.0.0.1',backlog:1},function(){console.log(this.address().port)})";
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const [line]: Buffer[] = await once(child.stdout, 'data');
  const port = Number(line?.toString());
  child.kill('SIGSTOP');
  const fillers: Socket[] = [];
  t.after(() => {
    for (const filler of fillers) filler.destroy();
  });
  await waitFor('the listen queue to be full', async () => {
    const filler = connect({ port, host: '127.0.0.1' });
    filler.on('error', () => filler.destroy());
    fillers.push(filler);
    // Silence is the only sign of a full queue.
    const connected = once(filler, 'connect').then(() => true);
    return !(await Promise.race([connected, delay(200).then(() => false)]));
  });
  return port;
}
