/** What the subjects of nginx and HAProxy share: a configuration from a template, and reloads by a signal. */
import { chmodSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePort } from '../../../test/support/free-port.ts';
import { makeTempFolder, removeTempFolder } from '../../../test/support/temp-folder.ts';
import { waitFor } from '../../../test/support/wait.ts';
import { fillTemplate } from '../../rig/templates.ts';
import { findProgram, versionOf } from '../../rig/tools.ts';
import { launchServer, othersOf, primaryOf } from './launched.ts';
import type { Setup, Subject, SubjectKind } from './subject.ts';

const ROLL_MS = 30_000;
const ATTEMPTS = 3;
const AGAIN_MS = 5_000;
const STOP_MS = 15_000;

export interface PeerProgram {
  name: string;
  versionOption: string;
  /** The signals for another configuration and for a graceful end. */
  reloadSignal: NodeJS.Signals;
  stopSignal: NodeJS.Signals;
  args(folder: string, config: string): string[];
  /** values fills the template of the same name beside this file. @param ports all of them, the main one first */
  values(setup: Setup, ports: number[]): Record<string, string | number>;
}

/** peerSubject makes a subject of a program. */
export function peerSubject(program: PeerProgram): SubjectKind {
  const { name } = program;
  return {
    name,
    missing: () => (findProgram(name) === null ? `${name} is not installed` : ''),
    version: () => versionOf(findProgram(name) ?? name, [program.versionOption]),
    start: (setup) => start(program, setup),
  };
}

async function start(program: PeerProgram, setup: Setup): Promise<Subject> {
  const { name, reloadSignal, stopSignal } = program;
  const folder = makeTempFolder('sluice-chaos-');
  // An nginx started by root serves as another user.
  chmodSync(folder, 0o755);
  const [port, config] = [await freePort(), join(folder, `${name}.conf`)];
  const configure = (next: Setup) => {
    const template = new URL(`${name}.conf`, import.meta.url);
    fillTemplate(template, config, program.values(next, [port, ...(next.ports ?? [])]));
  };
  configure(setup);
  const child = launchServer(findProgram(name) ?? name, program.args(folder, config), folder, setup);
  await waitFor(`${name} to accept`, () => accepts(port)).catch(async (error) => {
    await child.kill();
    throw new Error(child.describe(), { cause: error });
  });
  const workers = () => othersOf(child, setup);
  const signalled = async (until: (old: number[]) => boolean, what: string) => {
    const old = workers();
    // HAProxy loses a signal that comes while it is starting anew for the last one.
    for (let attempt = 1; ; attempt += 1) {
      process.kill(primaryOf(child, setup), reloadSignal);
      const done = waitFor(`${name}: ${what}\n${child.describe()}`, () => until(old), {
        timeoutMs: attempt === ATTEMPTS ? ROLL_MS : AGAIN_MS,
      });
      if (attempt === ATTEMPTS) return void (await done);
      if (await done.catch(() => false)) return;
    }
  };
  return {
    port,
    sluice: null,
    pids: () => child.groupPids(),
    workerPids: workers,
    primaryPid: () => primaryOf(child, setup),
    reload(next) {
      configure(next);
      return signalled((old) => workers().some((pid) => !old.includes(pid)), 'a new worker');
    },
    roll: () => signalled((old) => !workers().some((pid) => old.includes(pid)), 'the old workers to be gone'),
    async stop() {
      const end = setup.supervised === true ? child.kill() : child.stop(stopSignal, STOP_MS);
      const { code } = await end.catch(() => ({ code: null }));
      removeTempFolder(folder);
      return code;
    },
  };
}

/** Whether somebody listens. Answers depend on the backends, which some faults have broken already. */
function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => resolve(true));
    socket.on('connect', () => socket.destroy());
    socket.on('error', () => resolve(false));
  });
}
