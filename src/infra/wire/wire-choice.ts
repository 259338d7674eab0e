/** Which wire a process uses. The primary decides once, and tells its workers, the log and the metrics. */
import { handleWires } from './handle-wire.ts';
import { socketWires } from './socket-wire.ts';
import type { WireMaker, WireName } from './wire.ts';

/**
 * The Node.js versions whose inside HandleWire was tested on: `make test-node` runs the tests there and says what may be
 * added. On any other version SocketWire serves.
 */
export const HANDLE_WIRE_VERSIONS: readonly string[] = ['v26.10.0'];

/** Set to `socket`, it keeps to node's documented API. */
const WIRE_ENV = 'SLUICE_WIRE';

/** chooseWire is pure; `version` as in process.version. */
export function chooseWire(version: string, env: NodeJS.ProcessEnv): WireName {
  if (env[WIRE_ENV] === 'socket') return 'socket';
  return HANDLE_WIRE_VERSIONS.includes(version) ? 'handle' : 'socket';
}

/** wiresOf makes the one maker of a process. */
export function wiresOf(name: WireName): WireMaker {
  return name === 'handle' ? handleWires() : socketWires;
}
