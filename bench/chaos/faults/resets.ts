/** Clients and backends that reset their connections at every point of an exchange. */
import { makeAttack } from '../../../test/cluster/attack.ts';
import { startRawBackend } from '../../../test/support/backend.ts';
import { atMost, type Fault } from '../fault.ts';
import { filesBack, openFiles } from '../resources.ts';

const TOGETHER = 100;

export const resets: Fault = {
  name: 'resets',
  title: '10,000 random resets on both sides, before, in, after heads, tunnels, streams',
  async run(stage) {
    const attack = makeAttack(stage.random);
    const backends = await Promise.all([1, 2].map(() => startRawBackend(attack.backend)));
    stage.defer(() => Promise.all(backends.map((backend) => backend.close())));
    // Of these backends no probe says that they are well.
    const subject = await stage.subject(backends, { probes: false });
    const before = subject.pids();
    const files = openFiles(subject);
    const clients = stage.of(10_000, 600);
    let started = 0;
    const loop = async () => {
      while (started++ < clients) await attack.client(subject.port);
    };
    await Promise.all(Array.from({ length: TOGETHER }, loop));
    const gone = before.filter((pid) => !subject.pids().includes(pid)).length;
    const closers = backends.map((backend) => ({ kill: () => backend.close() }));
    return [
      atMost('0 exits', gone, 0, { more: `${clients} clients, ${attack.ends} ends on purpose`, exact: true }),
      await filesBack(subject, closers, files),
    ];
  },
};
