import type { JSX } from 'preact';
import type { Problem } from '../../api/answers.ts';
import { agoOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';

const MOST_SHOWN = 10;

/** ProblemList says what is wrong now, in words, as it comes: the worst first. */
export function ProblemList({ problems }: { problems: readonly Problem[] }): JSX.Element {
  if (problems.length === 0)
    return (
      <p class="all-well">
        <Status tone="ok" word="Nothing is wrong." />
      </p>
    );
  return (
    <section class="problems" aria-label="What is wrong now">
      <Problems of={problems.slice(0, MOST_SHOWN)} />
      {problems.length > MOST_SHOWN && (
        <details>
          <summary>{problems.length - MOST_SHOWN} more</summary>
          <Problems of={problems.slice(MOST_SHOWN)} />
        </details>
      )}
    </section>
  );
}

function Problems({ of }: { of: readonly Problem[] }): JSX.Element {
  return (
    <ul>
      {of.map(({ key, severity, text, since }) => (
        <li key={key} class={severity}>
          <Status word={severity} />
          <span>{text}</span>
          {since !== null && <small>{agoOf(since)}</small>}
        </li>
      ))}
    </ul>
  );
}
