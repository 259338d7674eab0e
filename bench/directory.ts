/**
 * `make bench-directory`: the whole product with very many clients in its database. It measures how long it takes until every
 * worker knows all clients, their memory, the longest stall of any event loop, the latency of the admin port and of requests
 * meanwhile, and the time until a change acts. docs/architecture.md keeps the figures of a release.
 *
 *   node bench/directory.ts [--clients=1000000] [--workers=2] [--embedded]
 */
import { Agent, get } from 'node:http';
import { parseArgs } from 'node:util';
import { startBackend } from '../test/support/backend.ts';
import { type SluiceProcess, startSluice } from '../test/support/sluice.ts';
import { makeTempFolder, removeTempFolder } from '../test/support/temp-folder.ts';
import { waitFor } from '../test/support/wait.ts';
import { blockedAddress, goBack, limitedAddresses } from './rig/directory-data.ts';
import { embeddedWith, type FullDatabase, serverWith } from './rig/directory-database.ts';
import { ms, Timeline } from './rig/loop-timeline.ts';
import { loadAverage, machine, revision } from './rig/record.ts';

const MAX_CLIENTS = 10_000_000;
const CHANGES = 20;
/** So many that every worker gets some: the kernel spreads connections over the workers. */
const CONNECTIONS = 12;
/** Long enough for a garbage collection and for late stalls. */
const SETTLE_MS = 3_000;
const PROBE = new URL('rig/loop-probe.ts', import.meta.url).pathname;

interface Options {
  clients: number;
  workers: number;
  embedded: boolean;
}

interface Run extends Options {
  sluice: SluiceProcess;
  database: FullDatabase;
  probeFolder: string;
  startedAtMs: number;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      clients: { type: 'string', default: '1000000' },
      workers: { type: 'string', default: '2' },
      embedded: { type: 'boolean', default: false },
    },
  });
  const [clients, workers] = [Number(values.clients || '1000000'), Number(values.workers)];
  if (!(clients >= 1_000 && clients <= MAX_CLIENTS) || !(workers >= 1)) {
    console.error(`--clients must be 1000 to ${MAX_CLIENTS}, --workers at least 1`);
    process.exit(2);
  }
  return { clients, workers, embedded: values.embedded };
}

function ask(url: string, address: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = get(url, { agent, headers: { 'x-forwarded-for': address }, timeout: 5_000 }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode ?? 0));
    });
    sent.on('error', reject).on('timeout', () => sent.destroy(new Error('no answer within 5 s')));
  });
}

/** Sends one request after the other. stop() returns the longest time to an answer, in ms. */
function pester(url: string): { stop(): Promise<number> } {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  let going = true;
  let longestMs = 0;
  const done = (async () => {
    while (going) {
      const fromMs = performance.now();
      await ask(url, '192.0.2.1', agent);
      longestMs = Math.max(longestMs, performance.now() - fromMs);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    agent.destroy();
  })();
  return {
    stop: async () => {
      going = false;
      await done;
      return longestMs;
    },
  };
}

/** Milliseconds from the start of a write until the address is refused on every one of many connections. */
async function msUntilBlocked(
  { sluice }: Run,
  address: string,
  write: () => Promise<unknown>,
): Promise<number> {
  const agents = Array.from({ length: CONNECTIONS }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  const askAll = () => Promise.all(agents.map((agent) => ask(sluice.proxyUrl, address, agent)));
  try {
    if ((await askAll()).includes(403)) throw new Error(`${address} was blocked before`);
    const fromMs = performance.now();
    await write();
    const all = async () => (await askAll()).every((status) => status === 403);
    await waitFor(`${address} to be blocked`, all, { everyMs: 1, timeoutMs: 60_000 });
    return performance.now() - fromMs;
  } finally {
    for (const agent of agents) agent.destroy();
  }
}

async function block({ sluice, database }: Run, clientId: string): Promise<void> {
  if (database.other !== null) {
    await database.other.query("update clients set mode = 'blocked' where client_id = $1", [clientId]);
    return;
  }
  const answer = await fetch(`${sluice.adminUrl}/api/v1/clients/${clientId}`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ mode: 'blocked' }),
  });
  if (answer.status !== 200) throw new Error(`PATCH: ${answer.status} ${await answer.text()}`);
}

/** Runs a step while both ports get requests, then prints what the probes of all processes measured. */
async function step(run: Run, what: string, work: () => Promise<string>): Promise<void> {
  const { sluice, probeFolder, startedAtMs } = run;
  const fromMs = Date.now();
  const [proxy, admin] = [pester(sluice.proxyUrl), pester(`${sluice.adminUrl}/livez`)];
  const told = await work();
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const [proxyMs, adminMs] = [await proxy.stop(), await admin.stop()];
  console.log(
    `${what}: ${told}; longest answer of the proxy ${ms(proxyMs)}, of the admin port ${ms(adminMs)}`,
  );
  const isStart = what === 'start';
  for (const line of new Timeline(probeFolder).tell(isStart ? 0 : fromMs, startedAtMs)) console.log(line);
}

/** Rarely, because reading the probes' files takes CPU time from the measured processes. */
async function untilInformed(run: Run, sinceMs: number, count = run.workers): Promise<string> {
  const informed = () => new Timeline(run.probeFolder).fullSetAtMs(count, sinceMs);
  const atMs = await waitFor('every worker to have all clients', informed, {
    timeoutMs: 120_000,
    everyMs: 500,
  });
  return ms(atMs - sinceMs);
}

async function measure(run: Run): Promise<void> {
  const { sluice, database, clients, startedAtMs } = run;
  await step(run, 'start', async () => {
    const told = `every worker has all clients after ${await untilInformed(run, startedAtMs)}`;
    const status = await ask(sluice.proxyUrl, blockedAddress(clients), new Agent());
    if (status !== 403) throw new Error(`a blocked client got ${status}`);
    return told;
  });
  await step(run, `${CHANGES} changes, one after the other`, async () => {
    const seen: number[] = [];
    for (const address of limitedAddresses(clients, CHANGES)) {
      seen.push(await msUntilBlocked(run, address, () => block(run, address)));
    }
    return `seen by all after ${seen
      .sort((a, b) => a - b)
      .map(Math.round)
      .join(' ')} ms`;
  });
  await step(run, 'a killed worker', async () => {
    const sinceMs = Date.now();
    process.kill(sluice.workerPids()[0] ?? 0, 'SIGKILL');
    return `its replacement has all clients after ${await untilInformed(run, sinceMs, 1)}`;
  });
  const { other } = database;
  if (other === null) return;
  const many = Math.floor(clients / 20);
  await step(run, `${many} clients changed at once`, async () => {
    const address = limitedAddresses(clients, CHANGES * 2).at(-1) ?? '';
    let writeMs = 0;
    const seenMs = await msUntilBlocked(run, address, async () => {
      const fromMs = performance.now();
      await other.query(
        `update clients set mode = 'blocked' where client_id = $1 or client_id in (select client_id from clients limit ${many})`,
        [address],
      );
      writeMs = performance.now() - fromMs;
    });
    return `written in ${ms(writeMs)}, one of them is seen ${ms(seenMs - writeMs)} later`;
  });
  await step(run, 'a restored backup', async () => {
    await goBack(other);
    return `every worker has all clients anew after ${await untilInformed(run, Date.now())}`;
  });
}

async function main(words: Options): Promise<void> {
  const { clients, workers, embedded } = words;
  const { cpuModel, cpuCount, node, kernel } = machine();
  console.log(
    `${clients} clients, ${workers} workers, ${embedded ? 'PGlite' : 'PostgreSQL'}; ${cpuModel}, ${cpuCount} CPUs, ` +
      `load ${loadAverage()}, Linux ${kernel}, Node ${node}, ${JSON.stringify(revision())}`,
  );
  const database = await (embedded ? embeddedWith(clients) : serverWith(clients));
  const probeFolder = makeTempFolder('sluice-probe-');
  const backend = await startBackend((_request, response) => void response.end('ok'));
  try {
    const startedAtMs = Date.now();
    const sluice = await startSluice({
      config: {
        workers,
        trustedProxies: ['127.0.0.0/8'],
        pools: { app: { backends: [{ url: backend.url }] } },
        database: database.config,
        log: { access: { enabled: false } },
        rateLimit: {
          enabled: true,
          policies: { default: { capacity: 1_000_000, refillPerSecond: 1_000_000 } },
        },
      },
      env: { NODE_OPTIONS: `--import=${PROBE}`, LOOP_PROBE_FOLDER: probeFolder },
    });
    try {
      console.log(`ready line after ${ms(Date.now() - startedAtMs)}`);
      await measure({ ...words, sluice, database, probeFolder, startedAtMs });
    } finally {
      await sluice.stop('SIGTERM', 30_000);
    }
  } finally {
    await backend.close();
    await database.close();
    removeTempFolder(probeFolder);
  }
}

await main(readOptions());
