/** What a shell may complete: commands, options, values, and names that a running Sluice knows. The scripts are in completion.ts. */
import type { Argument, Command, Option } from 'commander';
import * as z from 'zod';
import { counted } from '../contract/counted.ts';
import { callAdmin } from './admin-client.ts';
import { findTarget } from './session.ts';

/** Nobody waits longer for a list of names. */
const NAMES_MS = 1_000;
/** Further ones come with more letters. */
const MAX_NAMES = 100;
/** In place of candidates: the shell completes paths. */
const FILES = ':files';

/** A candidate and what it is, as one line with a tab between them. */
type Line = string;

/** addComplete gives the hidden command `complete`, which the scripts call, its action; for cli.ts. @param program with all commands */
export function addComplete(command: Command, configPath: () => string): void {
  command
    .argument('[words...]', 'the words so far; the last one is completed')
    .action(async (words: string[]) => {
      const lines = await linesFor(command.parent ?? command, words, configPath());
      if (lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`);
    });
}

/** Where the cursor is: in which command, after which words, and perhaps at the value of an option. */
interface Place {
  command: Command;
  /** The beginning of the word that is completed. */
  current: string;
  operands: string[];
  /** The options that were given with a value, by their long names without dashes. */
  values: Map<string, string>;
  pending: Option | null;
  isHelp: boolean;
}

async function linesFor(program: Command, words: string[], configPath: string): Promise<Line[]> {
  const current = words.at(-1) ?? '';
  const place = placeAfter(program, words.slice(0, -1), current);
  const [, flag = '', value] = /^(--[\w-]+)=(.*)$/.exec(current) ?? [];
  const written = optionNamed(place.command, flag);
  if (value !== undefined && written !== null)
    return starting(value, await valuesOf(written)).map((line) =>
      line === FILES ? line : `${flag}=${line}`,
    );
  if (place.pending !== null) return starting(current, valuesOf(place.pending));
  if (current.startsWith('-')) return starting(current, optionsOf(place.command).map(optionLine));
  const inner = place.operands.length === 0 ? commandsOf(place.command) : [];
  if (place.isHelp) return starting(current, inner);
  const argument = argumentAt(place);
  return starting(current, [
    ...inner,
    ...(argument === null ? [] : await namesFor(argument, place, configPath)),
  ]);
}

function placeAfter(program: Command, words: readonly string[], current: string): Place {
  const place: Place = {
    command: program,
    current,
    operands: [],
    values: new Map(),
    pending: null,
    isHelp: false,
  };
  for (const word of words) {
    if (place.pending !== null) {
      place.values.set(place.pending.name(), word);
      place.pending = null;
    } else if (word.startsWith('-')) {
      const [name = '', value] = word.split('=', 2);
      const option = optionNamed(place.command, name);
      if (value !== undefined && option !== null) place.values.set(option.name(), value);
      else if (option?.required || option?.variadic) place.pending = option;
    } else place.isHelp = enter(place, word) || place.isHelp;
  }
  return place;
}

/** Returns whether the word is `help`, after which commands follow. */
function enter(place: Place, word: string): boolean {
  const inner = place.command.commands.find((each) => each.name() === word);
  if (inner !== undefined && place.operands.length === 0) place.command = inner;
  else if (word === 'help' && place.operands.length === 0) return true;
  else place.operands.push(word);
  return false;
}

/** Those of the command and of the ones above it, which may be given anywhere. */
function optionsOf(command: Command): readonly Option[] {
  const help = command.createHelp();
  return [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)];
}

function optionNamed(command: Command, flag: string): Option | null {
  return (
    optionsOf(command).find(({ long, short }) => flag !== '' && (long === flag || short === flag)) ?? null
  );
}

function optionLine({ long, short, description }: Option): Line {
  return `${long ?? short}\t${description}`;
}

function commandsOf(command: Command): Line[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .map((each) => `${each.name()}\t${each.description()}`);
}

function valuesOf({ argChoices, flags }: Option): Line[] {
  if (argChoices !== undefined) return [...argChoices];
  return /<(file|cert)/.test(flags) ? [FILES] : [];
}

function argumentAt({ command, operands }: Place): Argument | null {
  const known = command.registeredArguments;
  const last = known.at(-1);
  return known[operands.length] ?? (last?.variadic ? last : null);
}

/** Candidates for an argument, by its choices or by its name. */
async function namesFor(argument: Argument, place: Place, configPath: string): Promise<Line[]> {
  if (argument.argChoices !== undefined) return [...argument.argChoices];
  const list = NAMES[argument.name()];
  if (list === undefined) return argument.name() === 'file' ? [FILES] : [];
  try {
    return await list(place, configPath);
  } catch {
    // No Sluice, no token, no such call: a shell that completes has nowhere to say so.
    return [];
  }
}

const poolsSchema = z.object({
  items: z.array(
    z.object({ pool: z.string(), backends: z.array(z.object({ id: z.string(), state: z.string() })) }),
  ),
});
const clientsSchema = z.object({ items: z.array(z.object({ clientId: z.string(), mode: z.string() })) });
const keysSchema = z.object({ items: z.array(z.object({ keyId: z.string(), name: z.string().nullable() })) });

const NAMES: Readonly<Record<string, (place: Place, configPath: string) => Promise<Line[]>>> = {
  pool: async (...at) => {
    const { items } = poolsSchema.parse(await get('/api/v1/pools', ...at));
    return items.map(({ pool, backends }) => `${pool}\t${counted(backends.length, 'backend')}`);
  },
  backend: async (place, configPath) => {
    const { items } = poolsSchema.parse(await get('/api/v1/pools', place, configPath));
    const chosen = items.find(({ pool }) => pool === place.operands[0])?.backends ?? [];
    return chosen.map(({ id, state }) => `${id}\t${state}`);
  },
  client: async (place, configPath) => {
    const { items } = clientsSchema.parse(
      await get(
        `/api/v1/clients?limit=${MAX_NAMES}&prefix=${encodeURIComponent(place.current)}`,
        place,
        configPath,
      ),
    );
    return items.map(({ clientId, mode }) => `${clientId}\t${mode}`);
  },
  'key-id': async (place, configPath) => {
    const path = `/api/v1/clients/${encodeURIComponent(place.operands[0] ?? '')}/keys?limit=${MAX_NAMES}`;
    const { items } = keysSchema.parse(await get(path, place, configPath));
    return items.map(({ keyId, name }) => `${keyId}\t${name ?? ''}`);
  },
};

async function get(path: string, { values }: Place, configPath: string): Promise<unknown> {
  const given = { admin: values.get('admin'), token: values.get('token') };
  const target = await findTarget(given, values.get('config') ?? configPath);
  if ('problems' in target) throw new Error(target.problems.join('; '));
  return callAdmin(target, { method: 'GET', path, timeoutMs: NAMES_MS });
}

/** Control characters would break the lines, and steer the terminal. */
function starting(prefix: string, lines: readonly Line[]): Line[] {
  return lines
    .filter((line) => line === FILES || line.startsWith(prefix))
    .map((line) => line.replace(/(?!\t)\p{Cc}/gu, '?'));
}
