/** Every process may open 256 files, and there are more clients than that: at once, and again and again. */
import { nowMs } from '../../rig/outcomes.ts';
import { atMost, type Fault } from '../fault.ts';
import { noneFailed } from '../stage.ts';

const OPEN_FILES = 256;
const CLIENTS = 704;
const BURST_CLIENTS = 300;
const BURSTS = 10;

export const descriptors: Fault = {
  name: 'descriptors',
  title: '704 clients at once, 256 descriptors per process',
  async run(stage) {
    const backends = await stage.backends();
    const subject = await stage.subject(backends, { openFiles: OPEN_FILES });
    const before = subject.pids();
    // Each client has a connection for one request, and all come within half a second.
    const crowd = await stage.load(subject, {
      ...{ connections: CLIENTS, ratePerSec: CLIENTS * 2, mostSec: 0.5 },
      ...{ openFirst: true, requestsPerConnection: 1 },
    });
    await stage.pause(1);
    const served = await crowd.stop();
    const load = await stage.load(subject);
    const from = nowMs();
    await stage.pause(stage.of(4, 1));
    const after = await load.settled(from, nowMs());
    const gone = before.filter((pid) => !subject.pids().includes(pid)).length;
    return [
      noneFailed(served, '0 failed'),
      atMost('0 exits', gone, 0, { exact: true }),
      noneFailed(after, '0 failed afterwards'),
    ];
  },
};

export const bursts: Fault = {
  name: 'bursts',
  title: `${BURST_CLIENTS} new clients at once, ${BURSTS} times, ${OPEN_FILES} descriptors per process`,
  async run(stage) {
    const backends = await stage.backends();
    const subject = await stage.subject(backends, { openFiles: OPEN_FILES });
    let [due, failed] = [0, 0];
    for (let i = 0; i < stage.of(BURSTS, 3); i++) {
      const crowd = await stage.load(subject, {
        ...{ connections: BURST_CLIENTS, ratePerSec: BURST_CLIENTS * 100, mostSec: 0.01 },
        ...{ openFirst: true, requestsPerConnection: 1 },
      });
      await stage.pause(0.5);
      const served = await crowd.stop();
      due += served.due;
      failed += served.failed;
    }
    return [atMost('0 failed', failed, 0, { unit: ` of ${due}`, exact: true })];
  },
};
