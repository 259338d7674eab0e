/** Two sessions whose owners do anything at any time: nobody hears what must not come, and every stream comes to an end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE } from '../../src/http2/frames.ts';
import { joinSessions, type Scene, turns } from '../http2/session-scene.ts';
import { type CaseResult, runCampaign } from './campaign.ts';
import type { Random } from './random.ts';
import { Play } from './session-actors.ts';

/** Nothing happens for this long. */
const STILL_TURNS = 50;

async function judge(random: Random): Promise<CaseResult> {
  const windows = () => ({
    streamWindowBytes: random.pick([1_000, 5_000, 65_535, 200_000]),
    connectionWindowBytes: random.pick([65_535, 300_000]),
    maxStreams: random.pick([1, 5, 100]),
  });
  const scene = await joinSessions({ client: windows(), server: windows() });
  const play = new Play(random, scene);
  for (const wire of [scene.clientWire, scene.serverWire]) {
    wire.capacityBytes = random.pick([1, 1_000, 20_000, 1 << 20]);
    if (random.oneIn(2)) wire.cut = () => 1 + random.below(random.pick([10, 1_000, 70_000]));
  }
  for (let left = 30 + random.below(400); left > 0; left--) {
    if (random.oneIn(40)) (random.oneIn(2) ? scene.clientWire : scene.serverWire).isDeaf = true;
    if (random.oneIn(10)) hearAll(scene);
    if (random.oneIn(3)) await turns(1);
    play.step();
  }
  const end = await bringToEnd(play);
  return { classes: [end], failures: play.failures };
}

function hearAll({ clientWire, serverWire }: Scene): void {
  clientWire.hear();
  serverWire.hear();
}

/** Ends what is open, and waits until all have heard it. */
async function bringToEnd(play: Play): Promise<string> {
  const { client, server, clientWire, serverWire } = play.scene;
  play.isEnding = true;
  for (const wire of [clientWire, serverWire]) wire.capacityBytes = Math.max(wire.capacityBytes, 20_000);
  clientWire.cut = serverWire.cut = () => Number.POSITIVE_INFINITY;
  hearAll(play.scene);
  const isOver = (): boolean =>
    play.actors.every((actor) => actor.isOver) &&
    client.session.streamCount + server.session.streamCount === 0;
  let progress = -1;
  for (let still = 0; still < 2 * STILL_TURNS && !isOver(); still++) {
    for (const actor of play.actors) {
      if (actor.isOver) continue;
      actor.end();
      actor.resume();
      if (still === STILL_TURNS && actor.hasDiscarded) actor.reset();
    }
    await turns(1);
    const now = play.actors.reduce((sum, actor) => sum + actor.progress, 0);
    if (now !== progress) still = 0;
    progress = now;
  }
  if (!isOver()) {
    const left = play.actors
      .filter((actor) => !actor.isOver)
      .map(({ stream, log }) => `${stream.id}: ${log}`);
    play.fail(`never over: ${left.join('; ')}; ${client.session.streamCount}, ${server.session.streamCount}`);
  }
  for (const actor of play.actors) actor.checkKept();
  for (const { session, closedStreams } of [client, server]) {
    if (new Set(closedStreams).size !== closedStreams.length)
      play.fail('a stream was told to be closed twice');
    if (session.hasQueued) play.fail('something is queued for ever');
  }
  const errors = [client, server].map(({ closedBy }) => closedBy).filter((error) => error instanceof Error);
  for (const error of errors) play.fail(`the connection ended: ${error}`);
  const wasCut = client.closedBy !== undefined || server.closedBy !== undefined;
  client.session.destroy(CODE.NO_ERROR);
  server.session.destroy(CODE.NO_ERROR);
  return wasCut ? 'the connection was ended' : 'all streams ended';
}

test('whatever owners do within events, streams end once, and bytes are right', async () => {
  const { classes, failures, cases } = await runCampaign({
    name: 'sessions',
    title: 'sessions with owners that do anything',
    lanes: 8,
    share: 0.1,
    short: { count: 1_000, sec: 4 },
    run: (random) => judge(random),
  });
  assert.equal(failures.length, 0, 'printed above');
  assert.ok((classes.get('all streams ended') ?? 0) > cases / 4);
});
