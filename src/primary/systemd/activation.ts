/** The listening sockets that systemd has bound for this service (socket activation, sd_listen_fds(3)). */
import { fstatSync } from 'node:fs';
import { LbError } from '../../contract/errors.ts';
import { GivenSocket } from '../workers/given-sockets.ts';

const FIRST_FD = 3;
const VARIABLES = ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES'];

/**
 * activatedSockets returns them; none where the variables are those of another process. It removes the variables, so that no
 * child takes them for its own. Throws LbError listen_failed where a descriptor is no socket.
 */
export function activatedSockets(env: NodeJS.ProcessEnv, pid: number = process.pid): GivenSocket[] {
  const count = env.LISTEN_PID === String(pid) ? Number(env.LISTEN_FDS) || 0 : 0;
  for (const name of VARIABLES) delete env[name];
  return Array.from({ length: count }, (_, index) => {
    const fd = FIRST_FD + index;
    if (!fstatSync(fd, { bigint: false }).isSocket())
      throw new LbError('listen_failed', `descriptor ${fd} that systemd passed (LISTEN_FDS) is no socket`);
    return new GivenSocket(fd);
  });
}
