/** Chooses the wires and the engine of a process. The primary chooses once, and tells workers, log and metrics. */
import { type DataPath, ENGINES, WIRES, type WireName } from '../../contract/data-path.ts';
import { LbError } from '../../contract/errors.ts';
import { handleProblem, handleWires } from './handle-wire.ts';
import { socketWires } from './socket-wire.ts';
import type { WireMaker } from './wire-maker.ts';

/** HandleWire serves only on these Node.js versions; `make test-node` tests it on others and says which may be added. */
export const HANDLE_WIRE_VERSIONS = ['v24.18.1', 'v24.22.3', 'v26.5.1', 'v26.10.0', 'v26.12.1'];

const WIRE_ENV = 'SLUICE_WIRE';
const ENGINE_ENV = 'SLUICE_ENGINE';
/** Gone since 0.4. An upgrade must not silently move those who set it to private API. */
const GONE_ENV = 'SLUICE_PUBLIC_HTTP_API';
/** `1` allows SLUICE_WIRE=handle on a version that is not in the list. For `make test-node` only. */
const UNTESTED_ENV = 'SLUICE_UNTESTED_WIRE';

/** chooseDataPath throws config_invalid where the environment asks for what does not exist here. @param version as process.version */
export function chooseDataPath(version: string, env: NodeJS.ProcessEnv): DataPath {
  if (env[GONE_ENV]) {
    throw new LbError('config_invalid', `${GONE_ENV} is gone: set ${WIRE_ENV}=socket, or ${ENGINE_ENV}=node`);
  }
  const engine = oneOf(ENGINES, env, ENGINE_ENV) ?? 'wire';
  const asked = oneOf(WIRES, env, WIRE_ENV);
  if (asked === 'socket') return { engine, wire: asked };
  const isTested =
    HANDLE_WIRE_VERSIONS.includes(version) || (asked === 'handle' && env[UNTESTED_ENV] === '1');
  const isAvailable = isTested && handleProblem() === null;
  if (asked === 'handle' && !isAvailable) {
    throw new LbError('config_invalid', `${WIRE_ENV}=handle is not available: ${slowReason(version)}`);
  }
  // Whoever asks for node's engine wants documented API.
  return { engine, wire: asked ?? (engine === 'wire' && isAvailable ? 'handle' : 'socket') };
}

/** slowReason says why HandleWire cannot serve here, and what to do about it. */
export function slowReason(version: string): string {
  const problem = HANDLE_WIRE_VERSIONS.includes(version) ? handleProblem() : null;
  if (problem !== null) return `Node.js gives no access to its handles (${problem})`;
  return `the handle wire was not tested on Node.js ${version}; run ${HANDLE_WIRE_VERSIONS.join(' or ')}`;
}

function oneOf<Name extends string>(
  known: readonly Name[],
  env: NodeJS.ProcessEnv,
  variable: string,
): Name | null {
  const value = env[variable];
  if (value === undefined || value === '') return null;
  const found = known.find((name) => name === value);
  if (found !== undefined) return found;
  throw new LbError('config_invalid', `${variable} is ${known.join(' or ')}, not ${JSON.stringify(value)}`);
}

/** wiresOf is called once per process. */
export function wiresOf(name: WireName): WireMaker {
  return name === 'handle' ? handleWires() : socketWires;
}
