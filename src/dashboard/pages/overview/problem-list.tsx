import type { JSX } from 'preact';
import type { Problem } from '../../api/answers.ts';
import { agoOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';

/** ProblemList says what is wrong now, in words; the errors first. */
export function ProblemList({ problems }: { problems: readonly Problem[] }): JSX.Element {
  if (problems.length === 0)
    return (
      <p class="all-well">
        <Status tone="ok" word="Nothing is wrong." />
      </p>
    );
  const sorted = problems.toSorted((a, b) => a.severity.localeCompare(b.severity));
  return (
    <section aria-label="What is wrong now">
      <ul class="problems">
        {sorted.map(({ code, severity, text, since }) => (
          <li key={`${code} ${text}`} class={severity}>
            <Status word={severity} />
            <span>{text}</span>
            {since !== null && <small>{agoOf(since)}</small>}
          </li>
        ))}
      </ul>
    </section>
  );
}
