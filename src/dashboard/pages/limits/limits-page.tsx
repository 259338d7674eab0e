/** Who sends most and who is limited most now, the policies, and live buckets. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { PolicyTraffic, Top } from '../../api/answers.ts';
import { sample } from '../../api/feed.ts';
import { useStore } from '../../api/store.ts';
import { Answer, useAnswer, useConfig } from '../../parts/answer.tsx';
import { Filter } from '../../parts/filter.tsx';
import { countOf, numberOf, rateOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';
import { Buckets } from '../clients/buckets.tsx';
import { ClientDialog } from '../clients/client-dialog.tsx';
import { TopTable } from './top-table.tsx';

const TOP_EVERY_MS = 2_000;

export function LimitsPage(): JSX.Element {
  const [opened, setOpened] = useState<string | null>(null);
  const senders = useAnswer<Top>('/api/v1/top?by=requests&limit=15', TOP_EVERY_MS);
  const limited = useAnswer<Top>('/api/v1/top?by=limited&limit=15', TOP_EVERY_MS);
  return (
    <>
      <div class="columns">
        <section aria-label="Limited most">
          <h2>Limited most</h2>
          <Answer of={limited}>{(top) => <TopTable by="limited" top={top} onOpen={setOpened} />}</Answer>
        </section>
        <section aria-label="Sends most">
          <h2>Sends most</h2>
          <Answer of={senders}>{(top) => <TopTable by="requests" top={top} onOpen={setOpened} />}</Answer>
        </section>
      </div>
      <h2>Policies</h2>
      <Policies />
      <h2>Look into a bucket</h2>
      <BucketSearch />
      {opened !== null && (
        <ClientDialog key={opened} clientId={opened} suggested={opened} onClose={() => setOpened(null)} />
      )}
    </>
  );
}

function BucketSearch(): JSX.Element {
  const [text, setText] = useState('');
  const [wanted, setWanted] = useState('');
  return (
    <>
      <form
        class="fields"
        onSubmit={(event) => {
          event.preventDefault();
          setWanted(text.trim());
        }}
      >
        <Filter label="Client or address" value={text} onInput={setText} placeholder="acme, 203.0.113.7" />
        <button type="submit">Show</button>
      </form>
      {wanted !== '' && <Buckets key={wanted} clientId={wanted} />}
    </>
  );
}

function Policies(): JSX.Element {
  const rates = useStore(sample)?.policies ?? [];
  const rateBy = (name: string): PolicyTraffic | undefined => rates.find(({ policy }) => policy === name);
  return (
    <Answer of={useConfig()}>
      {({ rateLimit }) => (
        <Table
          caption="Policies"
          rows={Object.entries(rateLimit.policies).map(([name, policy]) => ({
            name,
            ...policy,
            rates: rateBy(name),
          }))}
          keyOf={({ name }) => name}
          empty="No policy is configured: nobody is limited."
          columns={[
            { title: 'Policy', wide: true, cell: ({ name }) => name },
            { title: 'Capacity', number: true, cell: ({ capacity }) => numberOf(capacity) },
            { title: 'Refill per s', number: true, cell: ({ refillPerSecond }) => numberOf(refillPerSecond) },
            { title: 'Allowed/s', number: true, cell: (row) => rateOf(row.rates?.allowedPerSec ?? 0) },
            { title: 'Limited/s', number: true, cell: (row) => rateOf(row.rates?.limitedPerSec ?? 0) },
            { title: 'Store away/s', number: true, cell: (row) => rateOf(row.rates?.refusedPerSec ?? 0) },
            { title: 'Mode', wide: true, cell: (row) => modeOf(rateLimit.enabled, row.shadow, row.rates) },
          ]}
        />
      )}
    </Answer>
  );
}

function modeOf(enabled: boolean, shadow: boolean, rates: PolicyTraffic | undefined): JSX.Element {
  if (!enabled) return <Status tone="quiet" word="off" />;
  if (!shadow) return <Status tone="ok" word="enforced" />;
  return (
    <>
      <Status tone="warn" word="shadow" />
      <small>would have refused {countOf(rates?.shadowLastMinute ?? 0)} in the last minute</small>
    </>
  );
}
