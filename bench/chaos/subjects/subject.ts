/** The server into which faults are injected: Sluice, or another one with an equivalent configuration. */
import type { SluiceProcess } from '../../../test/support/sluice.ts';

/** What a configuration says, whoever reads it. All times in ms. */
export interface Setup {
  backends: { port: number; weight: number }[];
  workers: number;
  /** Longest wait for the head of an answer, over all tries. */
  answerMs: number;
  /** Longest wait of one try. */
  tryMs: number;
  /** Interval of the probes. */
  probeMs: number;
  /** How long a backend that failed five times in a row gets nothing. */
  ejectionMs: number;
  /** How long a backend that is back takes to get its whole share. */
  slowStartMs: number;
  /** How long it serves on after it was told to end. */
  graceMs: number;
  /** Further ports to listen on. */
  ports?: number[];
  /** Something starts it again whenever it ends. */
  supervised?: boolean;
  /** Something that it can tell of another pid runs it, as systemd does. */
  systemd?: boolean;
  /** false: backends are not probed. */
  probes?: boolean;
  /** Limit of open files of each process. */
  openFiles?: number;
  /** Redis of the limiter; none: no limits. */
  redisUrl?: string;
  /** The limit of concurrency follows latency. */
  adaptive?: boolean;
}

/** What is absent in a server is `–` in the table. */
export interface Subject {
  readonly port: number;
  /** pids of all its processes. */
  pids(): number[];
  /** pids of those that serve, where others manage them. */
  workerPids(): number[];
  /** The process that manages the others; 0: there is none at the moment. */
  primaryPid(): number;
  /** reload applies another setup, and resolves when it is in force. */
  reload(setup: Setup): Promise<void>;
  /** roll replaces all serving processes, and resolves when the old ones are gone. */
  roll(): Promise<void>;
  /** replacePrimary puts another process in the place of the managing one, and resolves when the old ones are gone. */
  replacePrimary?(): Promise<void>;
  /** Resolves with the exit code, once it has ended. */
  stop(): Promise<number | null>;
  /** null: another server, or one under a supervisor. */
  readonly sluice: SluiceProcess | null;
}

export interface SubjectKind {
  readonly name: string;
  /** missing says what is not installed; '' if it can run. */
  missing(): string;
  version(): string;
  start(setup: Setup): Promise<Subject>;
}
