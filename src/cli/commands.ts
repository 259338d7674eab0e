/** The commands of this folder: their names, what they do, and how each is loaded. */
import type { Command } from 'commander';

type AddTo = (command: Command, configPath: () => string) => void;

/** COMMANDS are those that no start of Sluice needs. They take longer to load than all the rest, so cli.ts loads each when it is named. */
export const COMMANDS: readonly [name: string, description: string, load: () => Promise<AddTo>][] = [
  [
    'clients',
    'read and change clients, their API keys and buckets on a running Sluice',
    async () => (await import('./clients.ts')).addClients,
  ],
  [
    'status',
    'show what is wrong now, then traffic, pools, workers, routes and limits',
    async () => (await import('./status.ts')).addStatus,
  ],
  [
    'top',
    'show what status shows, live in a terminal, with the heaviest clients',
    async () => (await import('./top/top.ts')).addTop,
  ],
  [
    'explain',
    'say which route, limits and backends a request would get now, and why',
    async () => (await import('./explain.ts')).addExplain,
  ],
  [
    'reload',
    'let a running Sluice read its configuration again; refused: exit 2',
    async () => (await import('./operate.ts')).addReload,
  ],
  [
    'drain',
    'send a backend no new requests until it is enabled again',
    async () => (await import('./operate.ts')).addDrain,
  ],
  [
    'enable',
    'send a drained backend new requests again',
    async () => (await import('./operate.ts')).addEnable,
  ],
  [
    'restart',
    'replace the workers one by one with the code on disk; what needs a restart of the process stays as it is',
    async () => (await import('./operate.ts')).addRestart,
  ],
  [
    'config',
    'show the running configuration, or what a reload would change',
    async () => (await import('./config.ts')).addConfig,
  ],
  [
    'audit',
    'list who changed what, and what has happened, the newest first',
    async () => (await import('./audit.ts')).addAudit,
  ],
  [
    'init',
    'write a commented configuration for the case at hand',
    async () => (await import('./init.ts')).addInit,
  ],
  [
    'completion',
    'print the script that makes bash, zsh or fish complete commands and names',
    async () => (await import('./completion.ts')).addCompletion,
  ],
];
