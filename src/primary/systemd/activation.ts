/** The listening sockets that a process is started with: by systemd (socket activation, sd_listen_fds(3)), or by the primary that it replaces. */
import { fstatSync } from 'node:fs';
import { FIRST_INHERITED_FD } from '../../contract/descriptors.ts';
import { LbError } from '../../contract/errors.ts';
import { HeldSocket } from '../workers/held-socket.ts';

const FIRST_ACTIVATED_FD = 3;
/** The environment variable with the number of sockets that a primary passes on. */
export const PASSED_SOCKETS = 'SLUICE_PASSED_SOCKETS';
const VARIABLES = ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', PASSED_SOCKETS];

/**
 * activatedSockets returns them; none where the variables are those of another process. It removes the variables, so that no
 * child takes them for its own. Throws LbError listen_failed where a descriptor is no socket.
 */
export function activatedSockets(env: NodeJS.ProcessEnv): HeldSocket[] {
  const passed = Number(env[PASSED_SOCKETS]) || 0;
  const activated = env.LISTEN_PID === String(process.pid) ? Number(env.LISTEN_FDS) || 0 : 0;
  const [firstFd, count] = passed > 0 ? [FIRST_INHERITED_FD, passed] : [FIRST_ACTIVATED_FD, activated];
  for (const name of VARIABLES) delete env[name];
  return Array.from({ length: count }, (_, index) => {
    const fd = firstFd + index;
    if (!fstatSync(fd, { bigint: false }).isSocket())
      throw new LbError('listen_failed', `descriptor ${fd} that this process was started with is no socket`);
    return new HeldSocket(fd);
  });
}
