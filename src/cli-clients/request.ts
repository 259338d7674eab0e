/** The words behind `sluice clients`, checked and turned into a request. */
import { parseArgs } from 'node:util';

export const CLIENTS_USAGE = `usage: sluice clients ACTION [CLIENT] [options]

  list                      every client, in order of the ids
  get CLIENT                one client
  set CLIENT [--mode limit|unlimited|blocked] [--capacity N --refill-per-second R]
      [--policy-limit POLICY=N/R]... [--no-limits]
                            create it, or change what is given; --policy-limit replaces the limits of all policies
                            but default, --no-limits returns to the policies' own
  delete CLIENT             with its keys
  issue-key CLIENT [--name NAME]
                            print a new API key, this once
  list-keys CLIENT          its keys by id
  revoke-key CLIENT KEY_ID  no worker of any machine accepts it a second later

  --json                    print JSON
  --admin URL               the admin port; default: admin.address of the configuration
  --token TOKEN             its token; default: SLUICE_ADMIN_TOKEN with --admin, else admin.token. Others can see it here
  --config FILE             the configuration; default: CONFIG_PATH, then ./config/local.yaml

CLIENT is a name, an IP address or a CIDR.
`;

type ClientMode = 'limit' | 'unlimited' | 'blocked';

/** ClientChange is the body of a PATCH: what is absent stays. */
export interface ClientChange {
  mode?: ClientMode;
  capacity?: number | null;
  refillPerSecond?: number | null;
  limits?: Record<string, { capacity: number; refillPerSecond: number }>;
}

export type ClientsAction =
  | { name: 'list' }
  | { name: 'get' | 'delete' | 'list-keys'; client: string }
  | { name: 'set'; client: string; change: ClientChange }
  | { name: 'issue-key'; client: string; label: string | null }
  | { name: 'revoke-key'; client: string; keyId: string };

export interface ClientsRequest {
  action: ClientsAction;
  json: boolean;
  /** null: not given. */
  adminUrl: string | null;
  token: string | null;
  configPath: string | null;
}

/** Words and options of each action. */
const ACTIONS: Readonly<Record<ClientsAction['name'], { words: string[]; options: string[] }>> = {
  list: { words: [], options: [] },
  get: { words: ['CLIENT'], options: [] },
  set: {
    words: ['CLIENT'],
    options: ['mode', 'capacity', 'refill-per-second', 'policy-limit', 'no-limits'],
  },
  delete: { words: ['CLIENT'], options: [] },
  'issue-key': { words: ['CLIENT'], options: ['name'] },
  'list-keys': { words: ['CLIENT'], options: [] },
  'revoke-key': { words: ['CLIENT', 'KEY_ID'], options: [] },
};

const OPTIONS = {
  json: { type: 'boolean' },
  admin: { type: 'string' },
  token: { type: 'string' },
  config: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  mode: { type: 'string' },
  capacity: { type: 'string' },
  'refill-per-second': { type: 'string' },
  'policy-limit': { type: 'string', multiple: true },
  'no-limits': { type: 'boolean' },
  name: { type: 'string' },
} as const;
const COMMON: readonly string[] = ['json', 'admin', 'token', 'config', 'help'];
const MODES: readonly string[] = ['limit', 'unlimited', 'blocked'] satisfies ClientMode[];
/** The last of several slashes and equal signs counts: names of policies have neither. */
const POLICY_LIMIT = /^([^=]+)=([^/]+)\/(.+)$/;

type Values = ReturnType<typeof parseWords>['values'];

/** readRequest gives the request, 'help', or a sentence about what cannot be understood. */
export function readRequest(argv: string[]): ClientsRequest | 'help' | { problem: string } {
  try {
    const { values, positionals } = parseWords(argv);
    if (values.help === true || positionals[0] === 'help') return 'help';
    const action = actionOf(positionals, values);
    return {
      action,
      json: values.json ?? false,
      adminUrl: values.admin ?? null,
      token: values.token ?? null,
      configPath: values.config ?? null,
    };
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    // The advice behind parseArgs' first sentence is about something else.
    return { problem: message.split('. ')[0] ?? message };
  }
}

function parseWords(argv: string[]) {
  return parseArgs({ args: argv, allowPositionals: true, options: OPTIONS });
}

function isAction(word: string): word is ClientsAction['name'] {
  return Object.hasOwn(ACTIONS, word);
}

function actionOf([name, ...words]: string[], values: Values): ClientsAction {
  if (name === undefined) throw new Error('an action is missing');
  if (!isAction(name)) throw new Error(`clients knows ${Object.keys(ACTIONS).join(', ')}, not ${name}`);
  const { words: wanted, options } = ACTIONS[name];
  const missing = wanted[words.length];
  if (missing !== undefined) throw new Error(`${name} needs a ${missing}`);
  if (words.length > wanted.length) throw new Error(`unexpected word: ${words[wanted.length]}`);
  const foreign = Object.keys(values).find((key) => !COMMON.includes(key) && !options.includes(key));
  if (foreign !== undefined) throw new Error(`--${foreign} is not for ${name}`);
  const [client = '', keyId = ''] = words;
  if (client === '' && wanted.length > 0) throw new Error(`${name} needs a CLIENT`);
  switch (name) {
    case 'list':
      return { name };
    case 'set':
      return { name, client, change: changeOf(values) };
    case 'issue-key':
      return { name, client, label: values.name ?? null };
    case 'revoke-key':
      return { name, client, keyId };
    default:
      return { name, client };
  }
}

function changeOf(values: Values): ClientChange {
  const { mode, capacity, 'refill-per-second': refill, 'policy-limit': policyLimits } = values;
  const hasLimits = capacity !== undefined || refill !== undefined || policyLimits !== undefined;
  const change: ClientChange = {};
  if (values['no-limits'] === true) {
    if (hasLimits) throw new Error('--no-limits leaves no room for limits');
    Object.assign(change, { capacity: null, refillPerSecond: null, limits: {} });
  }
  if (mode !== undefined) change.mode = modeOf(mode);
  if (capacity !== undefined) change.capacity = numberOf('--capacity', capacity);
  if (refill !== undefined) change.refillPerSecond = numberOf('--refill-per-second', refill);
  if (policyLimits !== undefined) change.limits = Object.fromEntries(policyLimits.map(policyLimitOf));
  return change;
}

function modeOf(text: string): ClientMode {
  if (isMode(text)) return text;
  throw new Error(`--mode must be one of ${MODES.join(', ')}`);
}

function isMode(text: string): text is ClientMode {
  return MODES.includes(text);
}

function policyLimitOf(text: string): [string, { capacity: number; refillPerSecond: number }] {
  const [, policy, capacity, refill] = POLICY_LIMIT.exec(text) ?? [];
  if (policy === undefined || capacity === undefined || refill === undefined) {
    throw new Error('--policy-limit must be like gold=1000/50: POLICY=CAPACITY/REFILL_PER_SECOND');
  }
  const limits = {
    capacity: numberOf('--policy-limit', capacity),
    refillPerSecond: numberOf('--policy-limit', refill),
  };
  return [policy, limits];
}

/** Ranges are the admin port's to check. */
function numberOf(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new Error(`${option} needs a number, not ${text}`);
  return value;
}
