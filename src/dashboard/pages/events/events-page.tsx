/** What has happened: live, as this Sluice still knows it, or in the audit, as the database keeps it. */
import type { JSX } from 'preact';
import { hrefOf } from '../../frame/place.ts';
import { Audit } from './audit.tsx';
import { LiveEvents } from './live-events.tsx';

const AUDIT = 'audit';
const VIEWS = [
  { subject: '', word: 'Live' },
  { subject: AUDIT, word: 'Audit' },
];

/** @param subject `audit`, or nothing */
export function EventsPage({ subject }: { subject: string }): JSX.Element {
  return (
    <>
      <div class="actions left">
        {VIEWS.map((view) => (
          <button
            key={view.word}
            type="button"
            aria-pressed={view.subject === subject}
            onClick={() => {
              location.hash = hrefOf('events', view.subject);
            }}
          >
            {view.word}
          </button>
        ))}
        <span class="hint">
          {subject === AUDIT
            ? 'Of all machines that share the database, for as long as audit.retention says.'
            : 'Of this machine: the newest 200 when this tab was opened, and all since then, at most a thousand.'}
        </span>
      </div>
      {subject === AUDIT ? <Audit /> : <LiveEvents />}
    </>
  );
}
