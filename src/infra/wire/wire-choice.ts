/** How a process serves its clients and reaches its backends. The primary decides once, and tells workers, log and metrics. */
import { type DataPath, ENGINES, WIRES, type WireName } from '../../contract/data-path.ts';
import { LbError } from '../../contract/errors.ts';
import { handleProblem, handleWires } from './handle-wire.ts';
import { socketWires } from './socket-wire.ts';
import type { WireMaker } from './wire.ts';

/**
 * The Node.js versions whose inside HandleWire was tested on: `make test-node` runs the tests there and says what may be
 * added. On any other version SocketWire serves.
 */
export const HANDLE_WIRE_VERSIONS: readonly string[] = [
  'v24.18.1',
  'v24.22.3',
  'v26.5.1',
  'v26.10.0',
  'v26.12.1',
];

const WIRE_ENV = 'SLUICE_WIRE';
const ENGINE_ENV = 'SLUICE_ENGINE';
/** Of 0.3: who set it shall not be moved to private API by an upgrade, in silence. */
const GONE_ENV = 'SLUICE_PUBLIC_HTTP_API';
/** With 1, SLUICE_WIRE=handle is had on a version that is not in the list: how `make test-node` tests it. For nothing else. */
const UNTESTED_ENV = 'SLUICE_UNTESTED_WIRE';

/**
 * chooseDataPath decides by the version of Node.js (as in process.version) and by what the environment asks for. Throws
 * config_invalid where that is not to be had.
 */
export function chooseDataPath(version: string, env: NodeJS.ProcessEnv): DataPath {
  if (env[GONE_ENV]) {
    throw new LbError('config_invalid', `${GONE_ENV} is gone: set ${WIRE_ENV}=socket, or ${ENGINE_ENV}=node`);
  }
  const engine = oneOf(ENGINES, env[ENGINE_ENV], ENGINE_ENV) ?? 'wire';
  const asked = oneOf(WIRES, env[WIRE_ENV]);
  if (asked === 'socket') return { engine, wire: asked };
  const isTested =
    HANDLE_WIRE_VERSIONS.includes(version) || (asked === 'handle' && env[UNTESTED_ENV] === '1');
  const isToBeHad = isTested && handleProblem() === null;
  if (asked === 'handle' && !isToBeHad) {
    throw new LbError('config_invalid', `${WIRE_ENV}=handle is not to be had: ${slowReason(version)}`);
  }
  // Whoever asks for node's engine asks for documented API.
  return { engine, wire: asked ?? (engine === 'wire' && isToBeHad ? 'handle' : 'socket') };
}

/** slowReason is why connections go by SocketWire although nobody asked for it, and what to do about it; for the log. */
export function slowReason(version: string): string {
  const problem = HANDLE_WIRE_VERSIONS.includes(version) ? handleProblem() : null;
  if (problem !== null) return `node keeps its handles to itself (${problem})`;
  return `not on Node.js ${version}, run ${HANDLE_WIRE_VERSIONS.join(' or ')}`;
}

function oneOf<Name extends string>(
  known: readonly Name[],
  value: string | undefined,
  variable = WIRE_ENV,
): Name | null {
  if (value === undefined || value === '') return null;
  const found = known.find((name) => name === value);
  if (found !== undefined) return found;
  throw new LbError('config_invalid', `${variable} is ${known.join(' or ')}, not ${JSON.stringify(value)}`);
}

/** wiresOf makes the one maker of a process. */
export function wiresOf(name: WireName): WireMaker {
  return name === 'handle' ? handleWires() : socketWires;
}
