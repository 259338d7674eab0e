/** Starts, breaks and mends the backends of a chaos run (backend.ts). */
import { fileURLToPath } from 'node:url';
import { ask } from '../../test/cluster/support.ts';
import { type Child, spawnChild } from '../../test/support/child.ts';
import { freePort } from '../../test/support/free-port.ts';
import type { BackendMode, BackendState } from './backend.ts';

/** The collapsing backend: it serves SLOTS requests at a time, SERVICE_MS each, and more slowly the more wait beyond KNEE. */
export const SLOTS = 4;
export const SERVICE_MS = 10;
export const KNEE = 32;

const PROGRAM = fileURLToPath(new URL('backend.ts', import.meta.url));

export class ChaosBackend {
  readonly name: string;
  readonly port: number;
  #child: Child | null = null;
  #control = 0;

  /** start runs one on a free port. @param name one letter */
  static async start(name: string): Promise<ChaosBackend> {
    const backend = new ChaosBackend(name, await freePort());
    await backend.restart();
    return backend;
  }

  private constructor(name: string, port: number) {
    this.name = name;
    this.port = port;
  }

  /** restart runs it again on its port, after kill(). */
  async restart(): Promise<void> {
    const child = spawnChild(process.execPath, [PROGRAM, this.name, String(this.port)]);
    this.#child = child;
    const { control } = JSON.parse(await child.waitForLine('control')) as { control: number };
    this.#control = control;
  }

  /** behave changes how it answers from now on. @param ms delay of `slow` */
  async behave(mode: BackendMode, ms = 0): Promise<void> {
    await this.#ask(`?mode=${mode}&ms=${ms}`);
  }

  state(): Promise<BackendState> {
    return this.#ask('');
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.signal(signal);
  }

  /** kill ends it without warning, also when it is stopped. */
  async kill(): Promise<void> {
    await this.#child?.kill();
    this.#child = null;
  }

  async #ask(query: string): Promise<BackendState> {
    const { status, text } = await ask(`http://127.0.0.1:${this.#control}/${query}`);
    if (status !== 200) throw new Error(`backend ${this.name}: ${text}`);
    return JSON.parse(text) as BackendState;
  }
}
